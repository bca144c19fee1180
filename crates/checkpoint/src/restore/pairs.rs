//! The tensors of two checkpoints, side by side.

use crate::checkpoint::Checkpoint;
use crate::restore::matching::{Change, change_of_shape, uses};
use crate::restore::rules::{Allowed, Rule, RuleUse, apply, other_output};
use crate::tensor::TensorEntry;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use warmstart_graph::{DType, Initializer, Role, Variable};

/// The tensors of two checkpoints, side by side. What comes of [`Checkpoint::pairs`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Pairs<'a> {
    /// Those of one name.
    pub both: Vec<Pair<'a>>,
    /// Those of the first that the second has no name for.
    pub only_first: Vec<&'a TensorEntry>,
    /// Those of the second that the first has no name for.
    pub only_second: Vec<&'a TensorEntry>,
    /// Those of the first that rules leave out.
    pub ignored_first: Vec<&'a TensorEntry>,
    /// Those of the second that rules leave out.
    pub ignored_second: Vec<&'a TensorEntry>,
    /// The rules, each with what it touched. The tensors of the second are the variables that those
    /// about values speak of.
    pub rules: Vec<RuleUse>,
}

/// Two tensors of one name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pair<'a> {
    /// That of the first checkpoint.
    pub first: &'a TensorEntry,
    /// That of the second.
    pub second: &'a TensorEntry,
    /// How their values are to be held against each other, if their shapes, or rules about them,
    /// allow it.
    pub values: Option<Compared>,
    /// Whether they are of different dtypes or shapes, and no rule says that they may be.
    pub differ: bool,
}

/// How the values of two tensors are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compared {
    /// Element by element, in their order.
    InOrder,
    /// The first one is transposed.
    Transposed,
    /// In their order, as far as both have rows.
    CommonRows,
}

impl Checkpoint {
    /// Pairs the tensors with those of another checkpoint, under rules that make these names and
    /// values those of the other, as a restore would: the other's tensors are taken for the
    /// variables. Reads no values.
    pub fn pairs<'a>(&'a self, other: &'a Checkpoint, rules: &[Rule]) -> Pairs<'a> {
        // Rules ask for names only, so any dtype does.
        let variable = |tensor: &TensorEntry| {
            let (name, shape) = (tensor.name.as_str(), tensor.shape.clone());
            Variable::new(name, shape, DType::F32, Initializer::Zeros, Role::Trainable)
        };
        let variables: Vec<Variable> = other.tensors().iter().map(variable).collect();
        let variables: Vec<&Variable> = variables.iter().collect();
        let names = self.tensors().iter().map(|tensor| tensor.name.as_str());
        let applied = apply(rules, names, &variables);
        let places: HashMap<&str, usize> =
            other.tensors().iter().enumerate().map(|(at, t)| (t.name.as_str(), at)).collect();
        // As in a restore, names that differ by `:0` are taken as equal where none is exactly equal.
        let exact: HashSet<&str> = applied.names.iter().flatten().map(|name| &**name).collect();
        let place = |name: &str| {
            let other = || {
                let twin = other_output(name);
                places.get(&*twin).filter(|_| !exact.contains(&*twin))
            };
            places.get(name).or_else(other).copied()
        };
        let (mut both, mut only_first, mut ignored_first) = (Vec::new(), Vec::new(), Vec::new());
        // The tensors that each of the second's may be made of.
        let mut found: Vec<SmallVec<[usize; 1]>> = vec![SmallVec::new(); other.tensors().len()];
        for ((index, first), names) in self.tensors().iter().enumerate().zip(&applied.names) {
            let (mut alone, paired) = (!names.is_empty(), both.len());
            for name in names {
                let Some(at) = place(name) else { continue };
                alone = false;
                found[at].push(index);
                if !applied.allowed[at].ignored {
                    both.push(pair(first, &other.tensors()[at], &applied.allowed[at]));
                }
            }
            if alone {
                only_first.push(first);
            } else if both.len() == paired {
                ignored_first.push(first);
            }
        }
        let second = || other.tensors().iter().zip(&applied.allowed);
        let ignored_second =
            second().filter(|(_, allowed)| allowed.ignored).map(|(tensor, _)| tensor).collect();
        let without = |found: &SmallVec<_>, allowed: &Allowed| found.is_empty() && !allowed.ignored;
        let alone = second().zip(&found).filter(|((_, allowed), found)| without(found, allowed));
        let only_second = alone.map(|((tensor, _), _)| tensor).collect();
        let value = |at: usize| {
            let second = &other.tensors()[at];
            let source = match found[at][..] {
                [first] => {
                    let TensorEntry { shape, dtype, .. } = &self.tensors()[first];
                    Some((shape, *dtype == second.dtype))
                }
                _ => None,
            };
            (&second.shape, source)
        };
        let rules = uses(&applied, value);
        Pairs { both, only_first, only_second, ignored_first, ignored_second, rules }
    }
}

fn pair<'a>(first: &'a TensorEntry, second: &'a TensorEntry, allowed: &Allowed) -> Pair<'a> {
    let values = match change_of_shape(&second.shape, &first.shape, allowed) {
        Ok(Some(Change::Transposed { .. })) => Some(Compared::Transposed),
        Ok(Some(Change::ResizedRows { .. })) => Some(Compared::CommonRows),
        Ok(_) => Some(Compared::InOrder),
        Err(()) => None,
    };
    let dtypes = first.dtype == second.dtype || allowed.cast;
    Pair { first, second, values, differ: values.is_none() || !dtypes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn written(directory: &Path, name: &str, tensors: &[(&str, &str, &[usize])]) -> PathBuf {
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for (name, dtype, shape) in tensors {
            let begin = end;
            end += shape.iter().product::<usize>() * if *dtype == "F64" { 8 } else { 4 };
            let entry = serde_json::json!({
                "dtype": dtype, "shape": shape, "data_offsets": [begin, end],
            });
            header.insert((*name).to_owned(), entry);
        }
        let header = serde_json::to_vec(&header).unwrap();
        let length = (header.len() as u64).to_le_bytes();
        let file = directory.join(name);
        std::fs::write(&file, [&length[..], &header, &vec![0; end]].concat()).unwrap();
        file
    }

    #[test]
    fn a_trailing_output_makes_no_other_name() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name, names: &[&str]| {
            let tensors: Vec<(&str, &str, &[usize])> =
                names.iter().map(|name| (*name, "F32", &[1][..])).collect();
            Checkpoint::open(written(directory.path(), name, &tensors)).unwrap()
        };
        let (a, b) = (open("a", &["w:0", "b", "x", "y"]), open("b", &["w", "b:0", "x", "x:0"]));
        let found = a.pairs(&b, &[]);
        let names = |pair: &Pair<'_>| (pair.first.name.to_string(), pair.second.name.to_string());
        let mut both: Vec<(String, String)> = found.both.iter().map(names).collect();
        both.sort();
        let expected = [("b", "b:0"), ("w:0", "w"), ("x", "x")];
        assert_eq!(both, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(found.only_first[0].name, "y");
        assert_eq!(found.only_second[0].name, "x:0");
    }

    #[test]
    fn rules_make_one_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name, tensors: &[_]| {
            Checkpoint::open(written(directory.path(), name, tensors)).unwrap()
        };
        let a = open(
            "a",
            &[
                ("m.w", "F32", &[2, 3]),
                ("m.flat", "F32", &[6]),
                ("m.table", "F32", &[4, 2]),
                ("m.wide", "F64", &[1]),
                ("m.more", "F32", &[1]),
            ],
        );
        let b = open(
            "b",
            &[
                ("w", "F32", &[3, 2]),
                ("flat", "F32", &[2, 3]),
                ("table", "F32", &[5, 2]),
                ("wide", "F32", &[1]),
                ("new", "F32", &[1]),
            ],
        );
        let names = |tensors: &[&TensorEntry]| -> Vec<String> {
            tensors.iter().map(|tensor| tensor.name.to_string()).collect()
        };
        assert_eq!(a.pairs(&b, &[]).both.len(), 0);
        let strip = Rule::StripPrefix("m.".into());
        let found = a.pairs(&b, std::slice::from_ref(&strip));
        assert!(found.both.len() == 4 && found.both.iter().all(|pair| pair.differ));
        assert_eq!(
            (names(&found.only_first), names(&found.only_second)),
            (vec!["m.more".into()], vec!["new".into()])
        );
        let rules = [
            strip,
            Rule::Transpose("w".into()),
            Rule::Reshape("flat".into()),
            Rule::ResizeRows { glob: "table".into(), seed: 1 },
            Rule::Cast("**".into()),
            Rule::Ignore("{more,new}".into()),
        ];
        let found = a.pairs(&b, &rules);
        let values: Vec<_> = found.both.iter().map(|pair| pair.values).collect();
        use Compared::{CommonRows, InOrder, Transposed};
        assert_eq!(values, [Transposed, InOrder, CommonRows, InOrder].map(Some));
        assert!(found.both.iter().all(|pair| !pair.differ));
        assert!(found.only_first.is_empty() && found.only_second.is_empty());
        assert_eq!(
            (names(&found.ignored_first), names(&found.ignored_second)),
            (vec!["m.more".into()], vec!["new".into()])
        );
        assert!(found.rules.iter().all(|used| used.touched > 0));
        // What a rule matches and does not need is not touched; what has no pair may need it, but for a rule
        // about whatever there is.
        let rules = ["{w,wide,new}", "{new,wide}", "{flat,wide}"];
        let [transpose, cast, reshape] = rules.map(str::to_owned);
        let rules = [
            Rule::StripPrefix("m.".into()),
            Rule::Transpose(transpose),
            Rule::Cast(cast),
            Rule::Reshape(reshape),
            Rule::Cast("flat".into()),
            Rule::Cast("**".into()),
        ];
        let found = a.pairs(&b, &rules);
        let counts: Vec<_> = found.rules.iter().map(|used| (used.touched, used.matched)).collect();
        assert_eq!(counts, [(5, 0), (2, 3), (2, 2), (1, 2), (0, 1), (1, 5)]);
    }
}
