//! What a report says to do does something: it ends where nothing else is wrong, or where another
//! report goes on.

use super::tests::{checkpoint, of_dtype, report, slot, variable};
use super::*;
use warmstart_graph::{Role, Shape};

fn options() -> RestoreOptions {
    RestoreOptions::new()
}

/// The help of a report, without the prefix of its lines.
fn helps(plan: &RestorePlan) -> String {
    let text = report(plan);
    text.split_once("\nhelp: ").map_or(String::new(), |(_, helps)| helps.replace("\nhelp: ", "\n"))
}

/// Where no name is like another, one rename is said in full, and not that tensors may be left.
#[test]
fn names_that_have_nothing_in_common_are_not_the_end() {
    let saved = checkpoint(&[("tokens", &[2, 3]), ("zebra", &[2, 3])]);
    let variables = [variable("offset", &[2, 3]), variable("limit", &[2, 3])];
    let plan = saved.plan_for(&variables, &options());
    assert!(plan.suggestions().is_empty(), "{plan}");
    assert_eq!(
        helps(&plan),
        "no name is like another, and nothing says which tensor is meant for which variable: \
         `.rename(\"tokens\", \"offset\")` takes `tokens` [2, 3] for `offset` [2, 3], if that is meant"
    );
    let renamed = saved.plan_for(&variables, &options().rename("tokens", "offset"));
    assert_eq!(renamed.restored().count(), 1, "{renamed}");
    // A matrix that lies the other way round is one more step.
    let turned = [variable("offset", &[3, 2]), variable("limit", &[5])];
    let plan = saved.plan_for(&turned, &options());
    assert!(helps(&plan).contains("takes `tokens` [2, 3] for `offset` [3, 2]"), "{plan}");
    // Nothing fits.
    let plan = saved.plan_for(&[variable("offset", &[5])], &options());
    let other = "this looks like the checkpoint of another model, or of one of another size: the only weight \
                 that is asked for is not there, by its name or by its shape. Name the checkpoint of \
                 this model, or build the model that was saved";
    assert_eq!(helps(&plan), other);
}

/// Where the file holds no weights, none is renamed, and that is said.
#[test]
fn a_checkpoint_without_weights_is_told() {
    let saved = checkpoint(&[("global_step", &[]), ("count", &[])]);
    let variables = [variable("fc1/weight", &[2, 3]), variable("fc1/bias", &[3])];
    let plan = saved.plan_for(&variables, &options());
    let help = "no weight is in this checkpoint, only `global_step`, `count`: name the checkpoint \
                that holds the weights";
    assert_eq!(helps(&plan), help);
    // A weight may be a number.
    let plan = saved.plan_for(&[variable("zebra", &[])], &options());
    assert!(helps(&plan).contains("takes `global_step` [] for `zebra` []"), "{plan}");
}

/// The same name in another scope, of another shape.
#[test]
fn a_name_within_a_scope_is_close_whatever_its_shape() {
    let saved = checkpoint(&[("my_var", &[1])]);
    let plan = saved.plan_for(&[variable("another_scope/my_var", &[5])], &options());
    let close = "close to `another_scope/my_var` in this checkpoint: `my_var`, of another shape";
    assert_eq!(helps(&plan), close);
    let saved = checkpoint(&[("a/long/scope/my_var", &[5])]);
    let options = options().ignore("another").allow_unexpected();
    let plan = saved.plan_for(&[variable("my_var", &[5]), variable("w", &[5])], &options);
    assert!(!report(&plan).contains("of another shape"), "{plan}");
}

#[test]
fn tables_that_have_grown_are_resized_or_told() {
    let names: Vec<String> = (0..6).map(|n| format!("table_{n}")).collect();
    for count in [2, 4, 6] {
        let tensors: Vec<(&str, &[usize])> =
            names[..count].iter().map(|name| (name.as_str(), &[4, 2][..])).collect();
        let variables: Vec<Variable> =
            names[..count].iter().map(|name| variable(name, &[5, 2])).collect();
        let saved = checkpoint(&tensors);
        let plan = saved.plan_for(&variables, &options());
        let (text, help) = (report(&plan), helps(&plan));
        // Each of a few, or whatever has another number of rows. To leave all would be no restore.
        let rules = if count > 4 { 1 } else { count };
        assert_eq!(help.matches(".resize_rows(").count(), rules, "{text}");
        assert_eq!(help.contains(r#"`.resize_rows("**", 0)` takes the rows"#), count > 4, "{text}");
        assert!(!help.contains("allow_mismatched_shape") && !text.contains("nothing"), "{text}");
        let globs: Vec<&str> =
            if count > 4 { vec!["**"] } else { names.iter().map(|n| &**n).collect() };
        let globs = globs.into_iter().take(rules);
        let resized = globs.fold(options(), |options, glob| options.resize_rows(glob, 0));
        assert!(saved.plan_for(&variables, &resized).closes());
        let left = saved.plan_for(&variables, &options().allow_mismatched_shape());
        assert!(
            report(&left).contains("this checkpoint has nothing that fits any of the"),
            "{left}"
        );
    }
    // Beside others, they may be left, and a note says what else there is.
    let saved = checkpoint(&[("table", &[4, 2]), ("w", &[3])]);
    let variables = [variable("table", &[5, 2]), variable("w", &[3])];
    let plan = saved.plan_for(&variables, &options());
    assert!(helps(&plan).contains("leave them as they are: `.allow_mismatched_shape()`"), "{plan}");
    let left = saved.plan_for(&variables, &options().allow_mismatched_shape());
    let note = "note: variables of another shape in the file keep what they have; \
                `.resize_rows(\"table\", 0)` takes the rows that both have, and seed 0 for others";
    assert!(left.closes() && report(&left).contains(note), "{left}");
}

/// What has grown by rows is resized, whatever else has another shape; and that is told apart.
#[test]
fn tables_are_resized_beside_what_no_rule_makes_fit() {
    let saved =
        checkpoint(&[("emb/weight", &[20, 16]), ("head/weight", &[16, 20]), ("fc", &[16, 16])]);
    let variables = [
        variable("emb/weight", &[24, 16]),
        variable("head/weight", &[16, 24]),
        variable("fc", &[16, 16]),
    ];
    let plan = saved.plan_for(&variables, &options());
    let fits = "`.resize_rows(\"emb/weight\", 0)` takes the rows that both have, and seed 0 for others; for \
                `head/weight` no rule is offered";
    assert!(helps(&plan).contains(fits), "{plan}");
    let resized = options().resize_rows("emb/weight", 0).allow_mismatched_shape();
    assert!(saved.plan_for(&variables, &resized).closes());
    let left = saved.plan_for(&variables, &options().allow_mismatched_shape());
    assert!(left.closes() && report(&left).contains(fits), "{left}");

    // A bias goes with its weight, which does not fit.
    let saved = checkpoint(&[
        ("emb/weight", &[20, 16]),
        ("head/weight", &[16, 20]),
        ("head/bias", &[20]),
        ("flat", &[2, 3, 4]),
        ("fc", &[16, 16]),
    ]);
    let more = [variable("head/bias", &[24]), variable("flat", &[6, 4])];
    let plan = saved.plan_for(&[&variables[..], &more].concat(), &options());
    let fits = "for others; `.reshape(\"flat\")` takes the same elements in their order; for \
                `head/weight` and one more no rule is offered";
    assert!(helps(&plan).contains(fits), "{plan}");
}

/// Old rows would multiply what new units of the layer before make.
#[test]
fn rows_that_a_widened_layer_feeds_are_not_offered() {
    let layers = |units: usize| {
        let shapes =
            [("fc1/weight", [3, units]), ("fc2/weight", [units, 8]), ("fc3/weight", [8, 2])];
        shapes.map(|(name, shape)| (name, shape.to_vec()))
    };
    let saved = layers(8);
    let saved = checkpoint(&saved.each_ref().map(|(name, shape)| (*name, &shape[..])));
    let wider = layers(12);
    let variables = wider.each_ref().map(|(name, shape)| variable(name, shape));
    let plan = saved.plan_for(&variables, &options());
    assert!(helps(&plan).contains("leave them as they are"), "{plan}");
    assert!(!helps(&plan).contains("resize_rows"), "{plan}");
}

/// What an accumulation of gradients or a scaling of the loss keeps begins as in a new run.
#[test]
fn what_was_added_to_an_optimizer_loses_nothing() {
    let saved = checkpoint(&[("w", &[2]), ("w/adam/m", &[2]), ("w/adam/v", &[2])]);
    let mut variables = vec![variable("w", &[2]), slot(Some("w"), "m"), slot(Some("w"), "v")];
    variables.extend([
        slot(Some("w"), "gradient_accumulator"),
        slot(None, "accumulated_batches"),
        slot(None, "loss_scale"),
        slot(None, "good_steps"),
    ]);
    let plan = saved.plan_for(&variables, &options());
    let help = "the checkpoint was saved without what is missing, and has all other slots: the sums and \
                the count of adam's accumulation begin at 0, and the loss scale of adam begins as it is \
                declared, and nothing is lost: `.allow_missing()` and then \
                `session.initialize_missing(seed)` say that this is meant";
    assert_eq!(helps(&plan), help);
    assert!(saved.plan_for(&variables, &options().allow_missing()).closes());
    // Moments that are missing are.
    let without = checkpoint(&[("w", &[2])]);
    let plan = without.plan_for(&variables, &options());
    assert!(helps(&plan).contains("training would restart its moments"), "{plan}");
    // An optimizer without any loses none.
    let plan = without.plan_for(&[&variables[..1], &variables[3..]].concat(), &options());
    assert!(helps(&plan).contains("and nothing is lost"), "{plan}");
    // Nor may some sums lie beside a count that begins anew, or moments of another shape be passed over.
    let sums = [
        ("w", &[2][..]),
        ("w/adam/m", &[2]),
        ("w/adam/v", &[2]),
        ("w/adam/gradient_accumulator", &[2]),
    ];
    let plan = checkpoint(&sums).plan_for(&variables, &options());
    assert!(!helps(&plan).contains("nothing is lost"), "{plan}");
    let other = checkpoint(&[("w", &[2]), ("w/adam/m", &[3]), ("w/adam/v", &[2])]);
    let plan = other.plan_for(&variables, &options().allow_mismatched_shape());
    assert!(!helps(&plan).contains("nothing is lost"), "{plan}");
}

/// Rules about values match the names of variables, whatever was renamed before.
#[test]
fn a_mistyped_glob_of_values_is_told_after_renames() {
    let saved = checkpoint(&[("fc1.weight", &[3, 4]), ("fc1.bias", &[3])]);
    let variables = [variable("fc1/weight", &[4, 3]), variable("fc1/bias", &[3])];
    let near = "did you mean `.transpose(\"**/weight\")` for `.transpose(\"**/wieght\")`?";
    let plan = saved.plan_for(&variables, &options().separator('.', '/').transpose("**/wieght"));
    assert!(helps(&plan).contains(near), "{plan}");
    // The name of a variable is meant, and not that of its tensor.
    let plan = saved.plan_for(&variables, &options().separator('.', '/').transpose("fc1.wieght"));
    let near = "did you mean `.transpose(\"fc1/weight\")` for `.transpose(\"fc1.wieght\")`?";
    assert!(helps(&plan).contains(near), "{plan}");
}

/// Trained values beside new ones of one layer.
#[test]
fn a_part_of_a_layer_is_told() {
    let saved = checkpoint(&[
        ("body/kernel", &[2, 4]),
        ("body/bias", &[4]),
        ("out/kernel", &[4, 3]),
        ("out/bias", &[3]),
    ]);
    let variables = [
        variable("body/kernel", &[2, 4]),
        variable("body/bias", &[4]),
        variable("out/kernel", &[5, 3]),
        variable("out/bias", &[3]),
    ];
    let allowed = || options().allow_mismatched_shape();
    let plan = saved.plan_for(&variables, &allowed());
    let note = "note: a part of a layer is restored: `out/bias` is, and `out/kernel` begins anew beside it; \
                `.ignore(\"out/**\")` leaves the whole layer out";
    assert!(plan.closes() && report(&plan).contains(note), "{plan}");
    let plan = saved.plan_for(&variables, &allowed().ignore("out/**"));
    assert!(plan.closes() && !report(&plan).contains("a part of a layer"), "{plan}");
    // Nothing would be left that is restored.
    let plan = saved.plan_for(&variables[2..], &allowed().allow_unexpected());
    let note = "note: a part of a layer is restored: `out/bias` is, and `out/kernel` begins anew beside it\n";
    assert!(plan.closes() && report(&plan).contains(note), "{plan}");
    // A scope that all lie in is no layer.
    let flat = checkpoint(&[("net/w1", &[2, 4]), ("net/w2", &[4, 3]), ("net/w3", &[3, 3])]);
    let in_one =
        [variable("net/w1", &[2, 4]), variable("net/w2", &[4, 5]), variable("net/w3", &[3, 3])];
    let plan = flat.plan_for(&in_one, &allowed());
    assert!(plan.closes() && !report(&plan).contains("a part of a layer"), "{plan}");
    // A whole layer of another size is none in part, nor are variables that lie in no scope.
    let mut other = variables.clone();
    other[3].shape = Shape::from([5]);
    let plan = saved.plan_for(&other, &allowed());
    assert!(plan.closes() && !report(&plan).contains("a part of a layer"), "{plan}");
    let saved = checkpoint(&[("kernel", &[4, 3]), ("bias", &[3])]);
    let plan = saved.plan_for(&[variable("kernel", &[5, 3]), variable("bias", &[3])], &allowed());
    assert!(plan.closes() && !report(&plan).contains("a part of a layer"), "{plan}");
}

#[test]
fn dimensions_that_were_joined_are_told() {
    let saved = checkpoint(&[("heads", &[2, 3, 4]), ("flat", &[6]), ("w", &[3])]);
    let variables = [variable("heads", &[6, 4]), variable("flat", &[2, 3]), variable("w", &[3])];
    let plan = saved.plan_for(&variables, &options());
    let rules =
        "`.reshape(\"heads\")` and `.reshape(\"flat\")` take the same elements in their order";
    assert!(helps(&plan).contains(rules), "{plan}");
    assert!(saved.plan_for(&variables, &options().reshape("heads").reshape("flat")).closes());
    // As many elements do not make it the same value.
    let other = [variable("heads", &[3, 8]), variable("flat", &[6]), variable("w", &[3])];
    let plan = saved.plan_for(&other, &options());
    assert!(!helps(&plan).contains("reshape"), "{plan}");
}

/// Several tensors for a variable are not none.
#[test]
fn what_is_ambiguous_is_not_nothing() {
    let saved = checkpoint(&[("a/w", &[2]), ("b/w", &[2])]);
    let plan = saved.plan_for(&[variable("b/w", &[2])], &options().rename_scope("a", "b"));
    assert!(!report(&plan).contains("nothing for"), "{plan}");
    assert_eq!(helps(&plan), "`.ignore(\"a/w\")` before the rename leaves a tensor out");
}

/// A dtype that differs cannot be allowed, only cast.
#[test]
fn nothing_is_allowed_that_would_not_do() {
    let saved = of_dtype("I32", &[("w", &[2]), ("v", &[3])]);
    let mut variables = [variable("w", &[5]), variable("v", &[3]), variable("absent", &[4])];
    variables[1].dtype = warmstart_graph::DType::I32;
    let plan = saved.plan_for(&variables, &options());
    let help = "`.cast(\"**\")` casts whole numbers and floats to what the variables are";
    assert_eq!(helps(&plan), help);
    let plan = saved.plan_for(&variables, &options().cast("**"));
    let allowed = options().cast("**").allow_missing().allow_mismatched_shape();
    assert!(helps(&plan).contains("`.allow_missing().allow_mismatched_shape()`"), "{plan}");
    assert!(saved.plan_for(&variables, &allowed).closes());
}

/// Counters of another program's checkpoint are no weights: with them alone, nothing is restored.
#[test]
fn whole_numbers_of_others_are_state() {
    let model = of_dtype("I32", &[("batches", &[]), ("global_step", &[])]);
    let roles = model.variables().unwrap();
    assert!(roles.iter().all(|variable| variable.role == Role::State), "{roles:?}");
    let model = checkpoint(&[("global_step", &[]), ("w", &[2])]);
    let roles: Vec<Role> = model.variables().unwrap().into_iter().map(|v| v.role).collect();
    assert_eq!(roles, [Role::State, Role::Trainable]);
    let saved = checkpoint(&[("global_step", &[]), ("other", &[7])]);
    let options = options().allow_missing().allow_unexpected();
    let plan = saved.plan_for(&model.variables().unwrap(), &options);
    assert!(!plan.closes(), "{plan}");
}

/// A matrix that fits as it is, and a rule that turns it.
#[test]
fn a_rule_that_turns_what_fits_is_named() {
    let saved = checkpoint(&[("a/w", &[4, 3]), ("b/w", &[3, 4])]);
    let variables = [variable("a/w", &[4, 3]), variable("b/w", &[4, 3])];
    let plan = saved.plan_for(&variables, &options().transpose("*/w"));
    let line = "a/w  f32 [4, 3], but f32 [4, 3] in the file, and `.transpose(\"*/w\")` turns it";
    assert!(report(&plan).contains(line), "{plan}");
    let help = "`a/w` has its shape in the file as it lies there: take `.transpose(\"*/w\")` away, or \
                let its glob match only what is stored transposed";
    assert_eq!(helps(&plan), help);
    assert!(saved.plan_for(&variables, &options().transpose("b/w")).closes());
    // Nor is it made to fit by rows.
    let variables = [variable("a/w", &[5, 3]), variable("b/w", &[4, 3])];
    let plan = saved.plan_for(&variables, &options().transpose("*/w"));
    assert!(!report(&plan).contains("resize_rows"), "{plan}");
}

#[test]
fn scopes_of_an_assignment_map_end_with_a_slash() {
    let saved = checkpoint(&[("enc/w", &[4]), ("enc/b", &[3])]);
    let variables = [variable("encoder/w", &[4]), variable("encoder/b", &[3])];
    for from in ["enc", "enc/"] {
        let plan = saved.plan_for(&variables, &options().assignment_map([(from, "encoder")]));
        let help = r#"a scope ends with `/` in an assignment map: `.assignment_map([("enc/", "encoder/")])`"#;
        assert!(helps(&plan).starts_with(help), "{plan}");
    }
    let plan = saved.plan_for(&variables, &options().assignment_map([("enc/", "encoder/")]));
    assert!(plan.closes(), "{plan}");
    let plan = saved.plan_for(&variables, &options().assignment_map([("x", "y")]));
    assert!(!helps(&plan).contains("a scope ends"), "{plan}");
}
