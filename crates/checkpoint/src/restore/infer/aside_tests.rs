//! Names that the model has for something else.

use super::aside::MOST as MOST_MOVED;
use super::tests::{Named, code, inferred, slot, suggested, tensor, tensors, variable, variables};
use super::*;
use crate::restore::matching::{Matching, Outcome};
use crate::restore::saved::Saved;
use std::collections::BTreeMap;
use warmstart_graph::{Role, Variable};

/// The suggestion that gives each variable the tensor at its place, the names on both sides being given.
#[track_caller]
pub(super) fn mended(names: &[(&str, &str, &[usize])]) -> Suggestion {
    let file: Vec<Named<'_>> = names.iter().map(|&(name, _, shape)| (name, shape)).collect();
    let model: Vec<Named<'_>> = names.iter().map(|&(_, name, shape)| (name, shape)).collect();
    one_for_all(&tensors(&file), &variables(&model), &BTreeMap::new())
}

#[track_caller]
fn one_for_all(
    file: &[TensorEntry],
    model: &[Variable],
    saved: &BTreeMap<String, Saved>,
) -> Suggestion {
    let (mut all, passes) = inferred(file, model, saved);
    assert_eq!(all.len(), 1, "{all:#?}");
    assert!(passes <= SEARCHING + FINISHING, "{passes}");
    let one = all.remove(0);
    assert_eq!(one.restores, one.of, "{one:#?}");
    let model: Vec<&Variable> = model.iter().collect();
    let found = Matching::new(file, &model, &one.rules).outcomes;
    for ((outcome, tensor), variable) in found.iter().zip(file).zip(&model) {
        let Outcome::Restored { tensor: from, .. } = outcome else {
            panic!("{outcome:?}: {one:?}")
        };
        assert_eq!(*from, tensor.name, "{}: {}", variable.name, code(&one));
    }
    one
}

#[test]
fn scopes_that_each_have_the_name_of_the_next_are_renamed_from_the_end() {
    let one = mended(&[
        ("stem/w", "tower/w", &[3, 4]),
        ("stem/b", "tower/b", &[4]),
        ("tower/w", "trunk/w", &[5, 6]),
        ("tower/b", "trunk/b", &[6]),
    ]);
    let expected = r#".rename_scope("tower", "trunk").rename_scope("stem", "tower")"#;
    assert_eq!(code(&one), expected);
    let note = "`tower/w` does not have the shape of the variable `tower/w`, and is taken for \
                `trunk/w`; so it is with 1 more";
    assert!(one.notes.iter().any(|other| other == note), "{one:#?}");
}

#[test]
fn one_of_two_exchanged_scopes_waits_aside() {
    let one = mended(&[
        ("gen/fc1/w", "disc/fc1/w", &[3, 4]),
        ("gen/fc1/b", "disc/fc1/b", &[4]),
        ("gen/fc2/w", "disc/fc2/w", &[4, 9]),
        ("disc/fc1/w", "gen/fc1/w", &[5, 6]),
        ("disc/fc1/b", "gen/fc1/b", &[6]),
        ("disc/fc2/w", "gen/fc2/w", &[6, 1]),
    ]);
    let expected = r#".rename_scope("disc", "disc_aside").rename_scope("gen", "disc").rename_scope("disc_aside", "gen")"#;
    assert_eq!(code(&one), expected);
}

#[test]
fn of_scopes_in_a_circle_none_waits_where_a_prefix_keeps_them_apart() {
    let one = mended(&[
        ("module.net.enc.weight", "net/dec/weight", &[3, 4]),
        ("module.net.enc.bias", "net/dec/bias", &[4]),
        ("module.net.dec.weight", "net/mid/weight", &[5, 6]),
        ("module.net.dec.bias", "net/mid/bias", &[6]),
        ("module.net.mid.weight", "net/enc/weight", &[7, 8]),
        ("module.net.mid.bias", "net/enc/bias", &[8]),
    ]);
    assert_eq!(one.rules.len(), 4, "{}", code(&one));
}

#[test]
fn within_other_scopes_circles_of_three_have_one_that_waits() {
    let one = mended(&[
        ("net/enc/kernel", "net/dec/weight", &[4, 3]),
        ("net/enc/bias", "net/dec/bias", &[4]),
        ("net/dec/kernel", "net/mid/weight", &[6, 5]),
        ("net/dec/bias", "net/mid/bias", &[6]),
        ("net/mid/kernel", "net/enc/weight", &[8, 7]),
        ("net/mid/bias", "net/enc/bias", &[8]),
        ("head/kernel", "head/weight", &[2, 2]),
    ]);
    assert_eq!(one.rules.len(), 5, "{}", code(&one));
}

/// Biases of one size say nothing, and weights all.
#[test]
fn what_would_fit_as_it_is_goes_with_its_scope() {
    let one = mended(&[
        ("gen/fc/w", "disc/fc/w", &[3, 8]),
        ("gen/fc/b", "disc/fc/b", &[8]),
        ("disc/fc/w", "gen/fc/w", &[5, 8]),
        ("disc/fc/b", "gen/fc/b", &[8]),
    ]);
    assert_eq!(one.rules.len(), 3, "{}", code(&one));
    let told = one.notes.iter().any(|note| note.contains("which would fit as it is, gets"));
    assert!(told, "{one:#?}");
}

#[test]
fn single_names_go_on_with_their_slots() {
    let pairs = [("net/a", "net/b", [3, 4]), ("net/b", "net/c", [5, 6])];
    let one = mended(&pairs.each_ref().map(|(file, model, shape)| (*file, *model, &shape[..])));
    assert_eq!(code(&one), r#".rename("net/b", "net/c").rename_component("a", "b")"#);

    mended_with_slots(
        &pairs.each_ref().map(|(file, model, shape)| (*file, *model, &shape[..])),
        false,
    );
}

/// As [`mended`], with an optimizer's slots, of a file that has its matrices the other way round if they are
/// turned.
#[track_caller]
pub(super) fn mended_with_slots(names: &[(&str, &str, &[usize])], turned: bool) -> Suggestion {
    let (mut file, mut model, mut saved) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (old, new, shape) in names {
        let mut stored = shape.to_vec();
        if turned {
            stored.reverse();
        }
        file.push(tensor(old, &stored));
        model.push(variable(new, shape));
        for which in ["m", "v"] {
            model.push(slot(new, "adam", which, shape));
            let Variable { name, role, .. } = slot(old, "adam", which, shape);
            file.push(tensor(&name, &stored));
            saved.insert(name.to_string(), Saved { initializer: None, role });
        }
    }
    assert!(saved.values().all(|saved| matches!(saved.role, Role::Slot { .. })));
    one_for_all(&file, &model, &saved)
}

/// A variable of another size is no reason to look elsewhere.
#[test]
fn what_has_grown_stays_where_it_is() {
    let shapes: [Named<'_>; 2] = [("enc/w", &[3, 4]), ("dec/w", &[5, 6])];
    assert!(suggested(&shapes, &[("enc/w", &[3, 5]), ("dec/w", &[5, 6])]).is_empty());
    assert!(suggested(&shapes, &[("enc/w", &[3, 5]), ("dec/w", &[5, 7])]).is_empty());
}

/// Layers whose sizes were exchanged, and a layer that was taken out: a bias of the right size does not make
/// one layer another, as long as its weights stay where they are.
#[test]
fn a_bias_does_not_leave_its_weights() {
    let layers = |widths: &[usize]| {
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        for (at, pair) in widths.windows(2).enumerate() {
            all.push((format!("fc{}/w", at + 1), pair.to_vec()));
            all.push((format!("fc{}/b", at + 1), vec![pair[1]]));
        }
        all
    };
    for model in [&[784, 64, 128, 10][..], &[784, 128, 10]] {
        let (file, model) = (layers(&[784, 128, 64, 10]), layers(model));
        let named = |all: &[(String, Vec<usize>)]| -> Vec<TensorEntry> {
            all.iter().map(|(name, shape)| tensor(name, shape)).collect()
        };
        let variables: Vec<Variable> =
            model.iter().map(|(name, shape)| variable(name, shape)).collect();
        let (all, _) = inferred(&named(&file), &variables, &BTreeMap::new());
        let exchanges = |rule: &Rule| rule.to_string().contains("/b");
        let wrong = all.iter().find(|one| one.rules.iter().any(exchanges));
        assert!(wrong.is_none(), "{all:#?}");
    }
}

/// One rule for all blocks, not one for each.
#[test]
fn what_repeated_blocks_have_in_common_is_renamed_at_once() {
    for (blocks, names, expected) in [
        (
            12,
            ["tower", "trunk"],
            r#".rename_component("tower", "trunk").rename_component("stem", "tower")"#,
        ),
        (
            40,
            ["tower", "stem"],
            r#".rename_component("stem", "stem_aside").rename_component("tower", "stem").rename_component("stem_aside", "tower")"#,
        ),
    ] {
        let mut all: Vec<(String, String, Vec<usize>)> = Vec::new();
        for block in 0..blocks {
            let name = |part: &str, end| format!("layers/{block}/{part}/{end}");
            for (old, new, shape) in
                [("stem", names[0], [3, 4]), ("tower", names[1], [5, 6]), ("out", "out", [6, 3])]
            {
                all.push((name(old, "w"), name(new, "w"), shape.to_vec()));
                all.push((name(old, "b"), name(new, "b"), shape[1..].to_vec()));
            }
        }
        let all: Vec<(&str, &str, &[usize])> =
            all.iter().map(|(old, new, shape)| (&**old, &**new, &shape[..])).collect();
        assert_eq!(code(&mended(&all)), expected);
    }
}

/// Single names, each with the shape of the next: as many as may be are moved one by one, and of one more
/// none is; nor is it where two blocks have the same of them.
#[test]
fn of_very_many_names_none_is_moved() {
    let some = [(1, MOST_MOVED, true), (1, MOST_MOVED + 1, false), (2, MOST_MOVED + 1, false)];
    for (blocks, names, is_moved) in some.into_iter().chain([(1, 3000, false)]) {
        let letter = |at: usize| (b'a' + (at % 26) as u8) as char;
        let mut all: Vec<(String, String, [usize; 2])> = Vec::new();
        for (block, at) in (0..blocks).flat_map(|block| (0..=names).map(move |at| (block, at))) {
            let name = |at: usize| {
                let part = format!("net/{}{}", letter(at), letter(at / 26)).repeat(1 + at / 676);
                format!("block{block}/{part}")
            };
            all.push((name(at), name(at + 1), [at + 2, at + 5000]));
        }
        let file: Vec<TensorEntry> =
            all.iter().map(|(name, _, shape)| tensor(name, shape)).collect();
        let model: Vec<Variable> =
            all.iter().map(|(_, name, shape)| variable(name, shape)).collect();
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        let mends = all.iter().any(|one| one.restores == one.of);
        assert_eq!(mends, is_moved, "{blocks} blocks, {names} names: {all:#?}");
    }
}
