//! Small programs: one per question a user asks. Each is a file in `src/bin`; `make demo` runs
//! `digits`.
