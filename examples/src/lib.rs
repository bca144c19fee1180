//! Small programs: one per question a user asks.
