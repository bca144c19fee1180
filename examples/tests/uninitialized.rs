//! The example on variables without a value prints what the README says.

use std::process::Command;

#[test]
fn nothing_runs_on_a_variable_without_a_value() {
    let output = Command::new(env!("CARGO_BIN_EXE_uninitialized")).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    for part in [
        "2 variables that this run reads have no value; nothing was run",
        "`encoder/weight` f32 [3, 4]: uninitialized (never initialized); read by matmul at",
        "`encoder/bias` f32 [4]: uninitialized (never initialized); read by add at",
        "uninitialized.rs:",
        "session.initialize_missing(seed)",
        "initialized (glorot_uniform, seed 7)",
        "assigned",
        "`initialize_all` would overwrite 1 value that no initializer can make again: `encoder/bias`",
    ] {
        assert!(printed.contains(part), "`{part}` is not in:\n{printed}");
    }
}
