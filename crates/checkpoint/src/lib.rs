//! Where weights come from and go to: open, plan, restore straight into device memory, and save durably.
