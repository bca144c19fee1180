//! What a test could not show here.

use std::io::Write;

/// Says that something was left out, and why. What `eprintln!` writes the test harness shows only of tests
/// that fail; this it does not hold back.
pub fn left_out(what: &str, why: &str) {
    // Who cannot be told anything is not told this.
    let _ = writeln!(std::io::stderr(), "left out: {what}, as {why}");
}
