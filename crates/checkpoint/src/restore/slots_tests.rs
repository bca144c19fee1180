use super::*;

/// Each role as `owner optimizer slot`.
fn roles(names: &[&str]) -> Vec<Option<String>> {
    let (scalar, vector) = (Shape::from([0; 0]), Shape::from([3]));
    let scalars = ["iteration", "learning_rate", "power", "counter", "step"];
    let shape = |name: &&str| match scalars.iter().any(|end| name.ends_with(end)) {
        true => &scalar,
        false => &vector,
    };
    roles_by_name(names.iter().map(|name| (*name, shape(name))))
        .into_iter()
        .map(|role| {
            Some(match role? {
                Role::Slot { variable, optimizer, slot } => {
                    format!("{} {optimizer} {slot}", variable.unwrap_or_default())
                }
                other => format!("{other:?}"),
            })
        })
        .collect()
}

#[track_caller]
fn check(names: &[(&str, &str)]) {
    let (all, expected): (Vec<&str>, Vec<&str>) = names.iter().copied().unzip();
    for ((name, expected), found) in all.iter().zip(expected).zip(roles(&all)) {
        assert_eq!(found.as_deref().unwrap_or(""), expected, "{name}");
    }
}

#[test]
fn of_each_program() {
    check(&[
        ("beta1_power", " Adam beta1_power"),
        ("dense/kernel", ""),
        ("dense/kernel/Adam", "dense/kernel Adam m"),
        ("dense/kernel/Adam_1", "dense/kernel Adam v"),
        ("global_step", ""),
    ]);
    check(&[
        ("fc1/kernel:0", ""),
        ("fc1/kernel/optimizer/m", "fc1/kernel optimizer m"),
        ("Adam/m/fc1/kernel", "fc1/kernel Adam m"),
        ("learning_rate", ""),
    ]);
    check(&[
        ("save_counter", ""),
        ("adam/iteration", "State"),
        ("adam/learning_rate", "State"),
        ("adam/sequential_fc1_kernel_momentum", "sequential/fc1/kernel adam momentum"),
        ("adam/sequential_fc1_kernel_velocity", "sequential/fc1/kernel adam velocity"),
        ("sequential/fc1/kernel", ""),
    ]);
    check(&[
        ("model.fc1.weight", ""),
        ("optimizer.state.0.exp_avg", "optimizer.state.0 optimizer exp_avg"),
        ("optimizer.state.0.step", "optimizer.state.0 optimizer step"),
        ("state.11.momentum_buffer", "state.11 optimizer momentum_buffer"),
    ]);
    check(&[
        ("model.fc1.weight", ""),
        ("optim.state.fc1.weight.exp_avg", "model.fc1.weight optim exp_avg"),
        ("optimizer_states.0.state.3.step", "optimizer_states.0.state.3 optimizer_states.0 step"),
        ("state.fc1.weight.step", "model.fc1.weight optimizer step"),
        ("state.fc1.weight.of", ""),
        ("state.fc2.weight.step", ""),
    ]);
    check(&[
        ("bert/pooler/kernel", ""),
        ("bert/pooler/kernel/adam_m", "bert/pooler/kernel Adam m"),
        ("Adam/bert/pooler/kernel/v", "bert/pooler/kernel Adam v"),
        ("bert/pooler/kernel_slot_vr", "bert/pooler/kernel Adafactor vr"),
    ]);
    check(&[
        ("params/fc1/kernel", ""),
        ("opt_state/0/mu/params/fc1/kernel", "params/fc1/kernel opt_state mu"),
    ]);
    check(&[("w", ""), ("w/adam/m", "w adam m")]);
}

/// Scopes of any name are told by what is in them alone; so are optimizers by what they keep.
#[test]
fn pytorchs_states_are_known_by_their_slots() {
    check(&[
        ("net.fc1.weight", ""),
        ("opt.state.0.exp_avg", "opt.state.0 optimizer exp_avg"),
        ("opt.state.1.step", "opt.state.1 optimizer step"),
        ("opt.state.0.of", ""),
        ("state.0.row_var", "state.0 optimizer row_var"),
        ("cell.state.0.step", ""),
        ("cell.state.0.sum", ""),
    ]);
    let keeps = [
        (&["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"][..], Some("Adam, AdamW or RAdam")),
        (&["step", "exp_avg", "exp_avg_sq", "mu_product"], Some("NAdam")),
        (&["step", "exp_avg", "exp_inf"], Some("Adamax")),
        (&["step", "square_avg", "acc_delta"], Some("Adadelta")),
        (&["step", "square_avg", "momentum_buffer"], Some("RMSprop")),
        (&["momentum_buffer"], Some("SGD with momentum, or Muon")),
        (&["step", "sum"], Some("Adagrad")),
        (&["step"], None),
    ];
    for (slots, kept_by) in keeps {
        assert_eq!(pytorch_optimizer(slots.iter().copied()), kept_by);
    }
}

#[test]
fn what_belongs_to_no_tensor_of_the_checkpoint_is_no_slot() {
    check(&[
        // No variable of this name; or two that would be written the same.
        ("Adam/m/fc1/kernel", ""),
        ("encoder/momentum", ""),
        ("a/b_c", ""),
        ("a_b/c", ""),
        ("adam/a_b_c_momentum", ""),
        ("fc/kernel", ""),
        ("fc/kernel/beta1_power", ""),
        // Layers that are called so, and a state of something else.
        ("encoder.state.0.weight", ""),
        ("state.0.weight", ""),
        ("counter", ""),
        ("adam", ""),
    ]);
}

/// That time does not grow with the square of a name's length shows in that this test ends.
#[test]
fn a_name_may_have_any_number_of_parts() {
    let name = format!("adam/{}w", "m/".repeat(500_000));
    assert_eq!(roles(&[&name, "w"]), [None, None]);
}

#[test]
fn averages_are_the_same_by_any_name() {
    assert_eq!(canonical("Adam", "m"), canonical("adam", "momentum"));
    assert_eq!(canonical("optim", "step"), canonical("optimizer_states.0", "step"));
    assert_eq!(canonical("adam", "v"), canonical("Adam", "velocity"));
    assert_ne!(canonical("adam", "m"), canonical("adam", "v"));
    // Two optimizers of one program are two.
    for other in ["adamw", "adam1", "opt_adam"] {
        assert_ne!(canonical("adam", "m"), canonical(other, "m"));
    }
    assert_ne!(canonical("opt_adam", "m"), canonical("opt_adamw", "m"));
    assert_ne!(canonical("SGD", "momentum"), canonical("sgd", "m"));
}
