//! What to compute: graphs, variables, initializers, gradients and optimizers. No GPU, no I/O.
