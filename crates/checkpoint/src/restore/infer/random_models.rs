//! Random models, and the same models under other names: what property tests ask inference to mend.

use super::tests::{slot, tensor, variable};
use crate::restore::saved::Saved;
use crate::tensor::TensorEntry;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use warmstart_graph::{Role, Variable};

const SCOPES: [&str; 8] =
    ["encoder", "decoder", "block_0", "block_1", "block_2", "attention", "mlp", "embed"];
/// What scopes are called in the file beside those above, which may be what the model calls others: words
/// that have nothing in common with them, and some that have.
const FRESH: [&str; 8] = ["backbone", "net", "tower", "trunk", "enc", "blocks", "stem", "mlp_2"];
const PREFIXES: [&str; 7] = [
    "module.",
    "_orig_mod.",
    "model.",
    "module.model.",
    "_orig_mod.module.",
    "x.y.",
    "state_dict.",
];
const EXTRA: [&str; 4] = ["ema/decay", "queue/rows", "auxiliary/head/w", "num_batches_tracked"];

/// What layers hold, each with its parts.
const LAYERS: [&[&str]; 4] = [&["weight", "bias"], &["gamma", "beta"], &["table"], &["weight"]];
const NORM: usize = 1;

/// A layer: its scope, of any depth, and which of [`LAYERS`] it is.
pub(super) type Layer = (Vec<&'static str>, usize);

/// What parts of names libraries call otherwise: dense layers, and what normalizes.
pub(super) const PARTS: [(&str, &str); 3] =
    [("weight", "kernel"), ("gamma", "weight"), ("beta", "bias")];

/// How one name is misspelled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slip {
    Swapped,
    Dropped,
    Doubled,
}

/// A model, and what became of it in the file.
#[derive(Clone, Debug)]
pub(super) struct Changes {
    pub layers: Vec<Layer>,
    /// Whether there is an optimizer.
    pub slots: bool,
    /// Scopes with other names, each by the path that it has in the model.
    pub scopes: Vec<(Vec<&'static str>, &'static str)>,
    /// Which of [`PARTS`] are called otherwise.
    pub parts: [bool; PARTS.len()],
    /// A name with another letter more, one fewer, or two exchanged.
    pub slip: Option<(String, Slip)>,
    pub separator: bool,
    pub prefix: Option<&'static str>,
    /// Whether matrices are stored transposed: none, all, or those in one of the outermost scopes.
    pub transposed: Option<Option<&'static str>>,
    /// How many tensors no variable waits for.
    pub extra: usize,
    /// Variables that the file does not hold.
    pub missing: BTreeSet<String>,
    /// Whether layers of one kind have one shape.
    pub repeats: bool,
}

/// A file, what it says of its tensors, a model, and the tensor of each variable.
pub(super) struct Case {
    pub file: Vec<TensorEntry>,
    pub saved: BTreeMap<String, Saved>,
    pub model: Vec<Variable>,
    pub truth: Vec<Option<String>>,
}

/// Layers in scopes of which none is called as another.
fn layers() -> impl Strategy<Value = Vec<Layer>> {
    let layer = (prop::collection::vec(prop::sample::select(&SCOPES[..]), 0..4), 0..LAYERS.len());
    let layer = layer.prop_map(|(mut scope, kind)| {
        if kind == NORM {
            scope.push("norm");
        } else if scope.is_empty() {
            scope.push("head");
        }
        (scope, kind)
    });
    prop::collection::vec(layer, 1..8).prop_map(|mut layers| {
        let mut taken = HashSet::new();
        layers.retain(|(scope, _)| taken.insert(scope.clone()));
        layers
    })
}

/// Random changes; of models whose shapes repeat if `repeats` says so.
pub(super) fn changes(repeats: bool) -> impl Strategy<Value = Changes> {
    let which = any::<prop::sample::Index>;
    let of_names = (
        prop::collection::vec((which(), which(), 0..FRESH.len() + SCOPES.len()), 0..4),
        any::<[bool; PARTS.len()]>(),
        prop::option::weighted(0.3, (which(), 0..3_usize)),
        any::<bool>(),
        prop::option::of(prop::sample::select(&PREFIXES[..])),
    );
    let of_values = (
        prop::option::of(prop::option::of(which())),
        0..3_usize,
        prop::collection::vec(which(), 0..2),
    );
    (layers(), prop::bool::weighted(0.25), of_names, of_values).prop_map(
        move |(layers, slots, of_names, of_values)| {
            let (scopes, parts, slip, separator, prefix) = of_names;
            let (transposed, extra, missing) = of_values;
            let names = weights(&layers);
            let mut renamed: Vec<(Vec<&'static str>, &'static str)> = Vec::new();
            for (layer, depth, fresh) in scopes {
                let scope = &layer.get(&layers).0;
                let path = scope[..=depth.index(scope.len())].to_vec();
                let new = FRESH.iter().chain(&SCOPES).nth(fresh).copied().unwrap_or("net");
                let taken = |(old, other): &(Vec<_>, _)| *old == path || *other == new;
                // What normalizes is called so, or nothing tells its weight from others.
                if path.last() != Some(&"norm") && !renamed.iter().any(taken) {
                    renamed.push((path, new));
                }
            }
            while !are_apart(&layers, &renamed) {
                renamed.pop();
            }
            let slip = slip.map(|(name, kind)| {
                let kind = [Slip::Swapped, Slip::Dropped, Slip::Doubled][kind];
                (name.get(&names).clone(), kind)
            });
            let outermost = |layer: prop::sample::Index| layer.get(&layers).0[0];
            let transposed = transposed.map(|within| within.map(outermost));
            let missing = missing.iter().map(|name| name.get(&names).clone()).collect();
            Changes {
                slots,
                scopes: renamed,
                parts,
                slip,
                separator,
                prefix,
                transposed,
                extra,
                missing,
                repeats,
                layers,
            }
        },
    )
}

/// Whether no two scopes of the model become one.
fn are_apart(layers: &[Layer], renamed: &[(Vec<&'static str>, &'static str)]) -> bool {
    let paths = layers.iter().flat_map(|(scope, _)| (1..=scope.len()).map(|end| &scope[..end]));
    let paths: BTreeSet<&[&str]> = paths.collect();
    let in_file = |path: &[&'static str]| -> Vec<&'static str> {
        let part = |at: usize| {
            let new = renamed.iter().find(|(old, _)| *old == path[..=at]);
            new.map_or(path[at], |(_, new)| new)
        };
        (0..path.len()).map(part).collect()
    };
    let in_file: BTreeSet<Vec<&str>> = paths.iter().map(|path| in_file(path)).collect();
    in_file.len() == paths.len()
}

/// Names of the variables of layers.
fn weights(layers: &[Layer]) -> Vec<String> {
    let names = |(scope, kind): &Layer| {
        let scope = scope.join("/");
        LAYERS[*kind].iter().map(move |part| format!("{scope}/{part}"))
    };
    layers.iter().flat_map(names).collect()
}

impl Changes {
    /// The name that a variable has in the file.
    pub fn name(&self, variable: &str) -> String {
        let model: Vec<&str> = variable.split('/').collect();
        let mut parts: Vec<String> = Vec::new();
        for at in 0..model.len() {
            let scope = self.scopes.iter().find(|(old, _)| *old == model[..=at]);
            parts.push(scope.map_or(model[at], |(_, new)| new).to_owned());
        }
        let last = parts.len() - 1;
        let other =
            PARTS.iter().zip(self.parts).find(|((from, _), on)| *on && *from == model[last]);
        if let Some(((_, to), _)) = other {
            parts[last] = (*to).to_owned();
        }
        if let Some((name, slip)) = &self.slip
            && name == variable
        {
            parts[last] = slip.of(&parts[last]);
        }
        self.written(&parts.join("/"))
    }

    /// As the file writes a name.
    fn written(&self, name: &str) -> String {
        let separator = if self.separator { "." } else { "/" };
        let prefix = self.prefix.unwrap_or("").replace('.', separator);
        format!("{prefix}{}", name.replace('/', separator))
    }

    /// How many rules would undo it at most.
    pub fn rules(&self) -> usize {
        let holds = |part: &str| self.layers.iter().any(|(_, kind)| LAYERS[*kind].contains(&part));
        let parts = PARTS.iter().zip(self.parts).filter(|((from, _), on)| *on && holds(from));
        // A value may take one rule, and what its optimizer keeps for it another. What only some layers
        // call otherwise may be renamed in all, and back in those.
        let slots = usize::from(self.slots);
        // Of scopes in a circle one is moved twice.
        self.scopes.len() * 3 / 2
            + (2 + slots) * parts.count()
            + (1 + slots) * usize::from(self.slip.is_some())
            + usize::from(self.separator)
            + usize::from(self.prefix.is_some())
            + usize::from(self.transposed.is_some())
    }

    /// The model and the file.
    pub fn case(&self) -> Case {
        let mut case =
            Case { file: Vec::new(), saved: BTreeMap::new(), model: Vec::new(), truth: Vec::new() };
        for (index, name) in weights(&self.layers).iter().enumerate() {
            let shape = match (name.rsplit('/').next(), self.repeats) {
                (Some("weight"), true) => vec![6, 8],
                (Some("table"), true) => vec![5, 8],
                (Some("bias" | "gamma" | "beta"), true) => vec![8],
                (Some("weight" | "table"), false) => vec![index + 2, index + 60],
                _ => vec![index + 2],
            };
            let within = self.transposed.is_some_and(|within| {
                within.is_none_or(|scope| name.split('/').next() == Some(scope))
            });
            let mut stored = shape.clone();
            if within && name.ends_with("/weight") {
                stored.reverse();
            }
            let in_file = (!self.missing.contains(name)).then(|| self.name(name));
            case.model.push(variable(name, &shape));
            case.file.extend(in_file.as_ref().map(|name| tensor(name, &stored)));
            case.truth.push(in_file.clone());
            for which in ["m", "v"].iter().filter(|_| self.slots) {
                case.model.push(slot(name, "adam", which, &shape));
                let slot_in_file = in_file.as_ref().map(|name| {
                    let separator = if self.separator { "." } else { "/" };
                    format!("{name}{separator}adam{separator}{which}")
                });
                if let (Some(owner), Some(name)) = (&in_file, &slot_in_file) {
                    let role = Role::Slot {
                        variable: Some(owner.as_str().into()),
                        optimizer: "adam".into(),
                        slot: (*which).into(),
                    };
                    case.saved.insert(name.clone(), Saved { initializer: None, role });
                    case.file.push(tensor(name, &stored));
                }
                case.truth.push(slot_in_file);
            }
        }
        for (index, name) in EXTRA.iter().take(self.extra).enumerate() {
            let shape = if self.repeats { vec![8] } else { vec![index + 1000] };
            case.file.push(tensor(&self.written(name), &shape));
        }
        case.file.sort_by(|a, b| a.name.cmp(&b.name));
        case
    }
}

impl Slip {
    fn of(self, word: &str) -> String {
        let (head, tail) = word.split_at(1);
        match self {
            Slip::Swapped => format!("{head}{}{}{}", &tail[1..2], &tail[..1], &tail[2..]),
            Slip::Dropped => format!("{head}{}", &tail[1..]),
            Slip::Doubled => format!("{head}{}{tail}", &tail[..1]),
        }
    }
}
