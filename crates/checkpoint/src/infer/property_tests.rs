//! Random models under random changes of their names are mended where only one mending is
//! possible, and what is suggested for whatever else is what a plan then does.

use super::tests::{code, inferred, tensor, variable};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SCOPES: [&str; 8] =
    ["encoder", "decoder", "block_0", "block_1", "block_2", "attention", "mlp", "embed"];
const PARTS: [&str; 4] = ["weight", "bias", "scale_up", "table"];
const FRESH: [&str; 5] = ["backbone", "net", "tower", "h", "trunk"];

/// Names of variables, none twice and none the scope of another.
fn model() -> impl Strategy<Value = Vec<String>> {
    let name = (prop::collection::vec(prop::sample::select(&SCOPES[..]), 1..4), 0..PARTS.len())
        .prop_map(|(scopes, part)| format!("{}/{}", scopes.join("/"), PARTS[part]));
    prop::collection::btree_set(name, 2..14).prop_map(|names| names.into_iter().collect())
}

#[derive(Clone, Debug)]
struct Changes {
    scopes: Vec<(usize, usize)>,
    part: Option<usize>,
    separator: bool,
    prefix: Option<&'static str>,
    transpose: bool,
}

fn changes() -> impl Strategy<Value = Changes> {
    let prefix =
        prop::sample::select(vec![None, Some("module."), Some("_orig_mod."), Some("x.y.")]);
    let scopes = prop::collection::btree_map(0..SCOPES.len(), 0..FRESH.len(), 0..3);
    let part = prop::option::of(0..PARTS.len());
    (scopes, part, any::<bool>(), prefix, any::<bool>()).prop_map(
        |(scopes, part, separator, prefix, transpose)| {
            // No two scopes become one.
            let mut taken = BTreeSet::new();
            let scopes = scopes.into_iter().filter(|(_, to)| taken.insert(*to)).collect();
            Changes { scopes, part, separator, prefix, transpose }
        },
    )
}

impl Changes {
    /// The name that a variable has in the file.
    fn name(&self, variable: &str) -> String {
        let mut parts: Vec<&str> = variable.split('/').collect();
        for &(from, to) in &self.scopes {
            if parts[0] == SCOPES[from] {
                parts[0] = FRESH[to];
                break;
            }
        }
        let last = parts.len() - 1;
        if self.part.is_some_and(|part| parts[last] == PARTS[part]) {
            parts[last] = "kernel";
        }
        let separator = if self.separator { "." } else { "/" };
        let prefix = self.prefix.unwrap_or("").replace('.', separator);
        format!("{prefix}{}", parts.join(separator))
    }
}

/// How many cases there are; far more if `WARMSTART_TEST_LONG` is set.
fn cases(usually: u32) -> u32 {
    if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 100 * usually } else { usually }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200), failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_has_one_mending_is_mended(names in model(), changes in changes()) {
        // Every shape is unlike every other, turned or not.
        let (mut file, mut model) = (Vec::new(), Vec::new());
        for (index, name) in names.iter().enumerate() {
            let matrix = [index + 2, index + 40];
            let in_file = changes.name(name);
            if name.ends_with("bias") {
                file.push(tensor(&in_file, &matrix[..1]));
                model.push(variable(name, &matrix[..1]));
            } else {
                let turned = changes.transpose && name.ends_with("weight");
                let stored = if turned { [matrix[1], matrix[0]] } else { matrix };
                file.push(tensor(&in_file, &stored));
                model.push(variable(name, &matrix));
            }
        }
        let (all, passes) = inferred(&file, &model, &BTreeMap::new());
        let same = |(t, v): (&TensorEntry, &Variable)| t.name == v.name && t.shape == v.shape;
        if file.iter().zip(&model).all(same) {
            prop_assert!(all.is_empty());
        } else {
            prop_assert_eq!(all.len(), 1, "{:#?}", all);
            prop_assert_eq!(all[0].restores, all[0].of, "{:?}: {:?}", changes, code(&all[0]));
            let scopes = changes.scopes.iter().filter(|(from, _)| {
                names.iter().any(|name| name.split('/').next() == Some(SCOPES[*from]))
            });
            let most = scopes.count()
                + usize::from(changes.part.is_some())
                + usize::from(changes.separator)
                + usize::from(changes.prefix.is_some())
                + usize::from(changes.transpose);
            prop_assert!(all[0].rules.len() <= most, "{:?}: {:?}", changes, code(&all[0]));
        }
        prop_assert!(passes < 60, "{}", passes);
    }

    /// Where shapes repeat, names tell what belongs together; if they do not, nothing is picked.
    #[test]
    fn what_is_picked_is_what_was_meant(names in model(), changes in changes()) {
        let shape = |name: &str| match name.rsplit('/').next() {
            Some("weight") => vec![8, 8],
            Some("table") => vec![5, 8],
            _ => vec![8],
        };
        let file: Vec<TensorEntry> =
            names.iter().map(|name| tensor(&changes.name(name), &shape(name))).collect();
        let model: Vec<Variable> = names.iter().map(|name| variable(name, &shape(name))).collect();
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        let unchanged = file.iter().zip(&model).all(|(tensor, v)| tensor.name == v.name);
        prop_assert!(!unchanged || all.is_empty());
        if let [one] = all.as_slice() {
            let variables: Vec<&Variable> = model.iter().collect();
            let matching = crate::matching::Matching::new(&file, &variables, &one.rules);
            for (tensor, outcome) in file.iter().zip(&matching.outcomes) {
                if let Outcome::Restored { tensor: found, .. } = outcome {
                    prop_assert_eq!(found, &tensor.name, "{:?}: {:?}", &changes, code(one));
                }
            }
        }
    }

    /// Few names and few shapes, so that much fits by accident; `inferred` holds what is suggested
    /// to what it says.
    #[test]
    fn whatever_is_suggested_is_what_a_plan_does(
        file in prop::collection::btree_map("[ab](/[ab]){0,2}(/w|\\.w|:0)?", 0..4usize, 0..10),
        model in prop::collection::btree_map("[bc](/[ab]){0,2}(/w|\\.w)?", 0..4usize, 0..10),
    ) {
        const SHAPES: [&[usize]; 4] = [&[2, 3], &[3, 2], &[2, 2], &[2]];
        let file: Vec<TensorEntry> = file.iter().map(|(n, s)| tensor(n, SHAPES[*s])).collect();
        let model: Vec<Variable> = model.iter().map(|(n, s)| variable(n, SHAPES[*s])).collect();
        let (all, _) = inferred(&file, &model, &BTreeMap::new());
        prop_assert!(all.len() <= 4);
        let rules: BTreeSet<String> = all.iter().map(code).collect();
        prop_assert_eq!(rules.len(), all.len());
    }
}
