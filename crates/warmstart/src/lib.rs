//! A GPU training runtime for small models, with checkpoints as its heart.
