//! Rules about values: which matrices are stored transposed, what has extents of 1 more or fewer, and
//! what has to be cast.
//!
//! Values that differ by extents of 1 are reshaped; kernels whose dimensions lie in another order
//! are left, and the report says which order it is (`report/shapes.rs`).

use super::names::{bare, runs};
use super::problem::grown;
use super::trial::Trials;
use crate::restore::matching::{Change, Outcome, transposed};
use crate::restore::rules::{Allowed, Rule, SEPARATORS};
use crate::tensor::FileDType;
use std::collections::{BTreeSet, HashSet};
use warmstart_graph::{Glob, Role, Shape, Variable};

/// Names that a glob lists at most.
const LISTED: usize = 8;
/// Outer scopes that it lists at most.
const SCOPES: usize = 4;

pub(super) struct Values {
    pub rules: Vec<Rule>,
    pub notes: Vec<String>,
    /// If square matrices may as well be transposed.
    pub turning: Option<Turning>,
}

/// That square matrices may as well be transposed.
#[derive(Clone, Debug)]
pub(super) struct Turning {
    /// What a rule has to match that does so.
    pub glob: String,
    /// The note where they are left.
    pub left: String,
    /// The note where they are transposed.
    pub turned: String,
}

/// The rules that mend what is mismatched though names agree.
pub(super) fn values(trials: &Trials<'_>, outcomes: &[Outcome], allowed: &[Allowed]) -> Values {
    let mut cast = false;
    // By the names that tensors have, too: `embedding.weight` is a table, whatever it is called here.
    let mut named_tables: HashSet<&str> = HashSet::new();
    let mut turned: Vec<&Variable> = Vec::new();
    let mut straight: Vec<&Variable> = Vec::new();
    let mut square: Vec<&Variable> = Vec::new();
    // Those of which only extents of 1 differ, and those that are another shape altogether.
    let mut folded: Vec<&Variable> = Vec::new();
    // Tables with more or fewer rows, which lie as they do in the model.
    let mut tables: Vec<&Variable> = Vec::new();
    let mut other: Vec<&Variable> = Vec::new();
    for ((&variable, outcome), allowed) in trials.asked.variables.iter().zip(outcomes).zip(allowed)
    {
        if is_table(&variable.name) || outcome.tensor().is_some_and(is_table) {
            named_tables.insert(&variable.name);
        }
        let shape = match outcome {
            Outcome::ShapeMismatch { shape, .. } => shape,
            Outcome::DTypeMismatch { dtype, shape, .. } => {
                let fits = same(variable, shape)
                    || transposed(&variable.shape, shape)
                    || ones_apart(&variable.shape, shape);
                if allowed.cast || !castable(*dtype, variable) {
                    continue;
                }
                // Once it is cast, a reshaping that reaches it would scramble it.
                if !fits {
                    other.push(variable);
                    continue;
                }
                cast = true;
                shape
            }
            Outcome::Restored { changes, .. } => {
                let as_it_is = |change: &Change| matches!(change, Change::Cast { .. });
                if !changes.iter().all(as_it_is) {
                    continue;
                }
                &variable.shape
            }
            _ => continue,
        };
        match (&variable.shape[..], allowed.transpose) {
            ([_, _], true) => {}
            ([a, b], false) if a == b && same(variable, shape) => square.push(variable),
            ([_, _], false) if same(variable, shape) => straight.push(variable),
            ([_, _], false) if transposed(&variable.shape, shape) => turned.push(variable),
            _ if same(variable, shape) => {}
            _ if ones_apart(&variable.shape, shape) => folded.push(variable),
            _ => {
                // Where rows are as long as columns, it may be a layer of another size, turned.
                let square = variable.shape.first() == variable.shape.get(1);
                let table = grown(&variable.shape, shape) && !square;
                tables.extend(table.then_some(variable));
                other.push(variable);
            }
        }
    }
    straight.extend(folded.iter().filter(|variable| variable.shape.rank() == 2));
    other.extend(&turned);
    let mut values = Values { rules: Vec::new(), notes: Vec::new(), turning: None };
    let is_table = |variable: &&Variable| named_tables.contains(variable.name.as_str());
    let (square_tables, square): (Vec<&Variable>, Vec<&Variable>) =
        square.into_iter().partition(is_table);
    let spared = [&straight[..], &tables].concat();
    // Where all other matrices but tables lie the other way round, square ones of their kind are likely to.
    let ends: BTreeSet<String> = turned.iter().map(|variable| end(variable)).collect();
    let siblings = square.iter().copied().filter(|variable| ends.contains(&end(variable)));
    let along = match !turned.is_empty() && straight.iter().all(is_table) {
        true => glob_of(
            &turned.iter().copied().chain(siblings).collect::<Vec<_>>(),
            &[&spared[..], &square_tables].concat(),
        ),
        false => None,
    };
    if let Some(glob) = along.or_else(|| glob_of(&turned, &spared)) {
        if let Ok(caught) = Glob::new(&glob) {
            let (caught, left): (Vec<&Variable>, Vec<&Variable>) = square
                .into_iter()
                .chain(square_tables)
                .partition(|variable| caught.is_match(&variable.name));
            values.notes.extend(note(&caught, "transposed as its siblings are"));
            values.notes.extend(note(&left, LEFT));
        }
        values.rules.push(Rule::Transpose(glob));
    } else if trials.asked.pytorch {
        // Names agree after a separator, and yet its `weight` lies the other way round than ours.
        if straight.iter().all(is_table) {
            straight.extend(square_tables.iter().chain(&tables));
            values.notes.extend(note(&square, LEFT));
            values.turning = turning(&square, &straight);
        }
    } else if straight.is_empty() && renamed(trials, outcomes) {
        // PyTorch's `weight` lies the other way round than Keras' `kernel`.
        values.notes.extend(note(&[&square[..], &square_tables].concat(), LEFT));
    }
    values.rules.extend(glob_of(&folded, &other).map(Rule::Reshape));
    if cast {
        values.rules.push(Rule::Cast("**".to_owned()));
    }
    values
}

/// How square matrices may be transposed, unless the model has them under PyTorch's names, and is
/// likely to have them as PyTorch does.
fn turning(square: &[&Variable], spared: &[&Variable]) -> Option<Turning> {
    if square.iter().any(|variable| variable.name.contains('.')) {
        return None;
    }
    let turned =
        "transposed, since PyTorch has `[out, in]` where most models here have `[in, out]`";
    let (left, turned) = (note(square, LEFT)?, note(square, turned)?);
    Some(Turning { glob: glob_of(square, spared)?, left, turned })
}

/// Whether a matrix is by its name a table of rows, which lies the same way everywhere.
pub(crate) fn is_table(name: &str) -> bool {
    const WORDS: [&str; 5] = ["embed", "lookup", "table", "wpe", "wte"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Whether a variable comes from a tensor that is called otherwise at its end.
fn renamed(trials: &Trials<'_>, outcomes: &[Outcome]) -> bool {
    let end = |name: &str| name.rsplit(SEPARATORS).next().map(|end| bare(end).to_owned());
    trials.asked.variables.iter().zip(outcomes).any(|(variable, outcome)| match outcome {
        Outcome::Restored { tensor, .. } => {
            variable.shape.rank() == 2 && end(tensor) != end(&variable.name)
        }
        _ => false,
    })
}

fn same(variable: &Variable, shape: &Shape) -> bool {
    variable.shape == *shape
}

/// Whether two shapes differ by nothing but extents of 1, which leave elements where they are.
pub(super) fn ones_apart(a: &Shape, b: &Shape) -> bool {
    let extents = |shape: &Shape| -> Vec<usize> {
        shape.iter().copied().filter(|extent| *extent != 1).collect()
    };
    a != b && extents(a) == extents(b)
}

fn castable(dtype: FileDType, variable: &Variable) -> bool {
    dtype.source().is_some_and(|from| from.casts_to(variable.dtype))
}

/// What is done to square matrices that no rule reaches.
const LEFT: &str = "left as it is";

/// What is taken for granted about square matrices.
fn note(square: &[&Variable], done: &str) -> Option<String> {
    let (first, more) = square.split_first()?;
    let name = &first.name;
    Some(match more.len() {
        0 => format!(
            "`{name}` is square: its shape cannot tell whether it is transposed; it is {done}"
        ),
        n => {
            let done = done.replace("its", "their").replace("it is", "they are");
            format!(
                "`{name}` and {n} more are square: their shapes cannot tell whether they are \
                 transposed; they are {done}"
            )
        }
    })
}

/// A glob of all of one list that matches nothing of the other.
pub(crate) fn glob_of(wanted: &[&Variable], spared: &[&Variable]) -> Option<String> {
    if wanted.is_empty() {
        return None;
    }
    let fits = |glob: &str, wanted: &[&Variable]| {
        Glob::new(glob).is_ok_and(|glob| {
            wanted.iter().all(|variable| glob.is_match(&variable.name))
                && !spared.iter().any(|variable| glob.is_match(&variable.name))
        })
    };
    let ends: BTreeSet<String> = wanted.iter().map(|variable| end(variable)).collect();
    if ends.len() > 4 && fits("**", wanted) {
        return Some("**".to_owned());
    }
    let mut globs = Vec::new();
    for ending in ends {
        let of: Vec<&Variable> = wanted.iter().copied().filter(|v| end(v) == ending).collect();
        if fits(&ending, &of) {
            globs.push(ending);
            continue;
        }
        // As few as will do, and whatever the number of a layer is rather than each.
        let few = |most: usize, glob: &dyn Fn(&Variable, Numbers) -> Option<String>| {
            [Numbers::Any, Numbers::Each].into_iter().find_map(|numbers| {
                let globs: Option<BTreeSet<String>> =
                    of.iter().map(|variable| glob(variable, numbers)).collect();
                let globs: Vec<String> = globs?.into_iter().collect();
                (globs.len() <= most && fits(&braced(&globs), &of)).then_some(globs)
            })
        };
        let scopes = (1..=3).find_map(|depth| {
            few(SCOPES, &|variable, numbers| scoped(variable, depth, &ending, numbers))
        });
        let names = || few(LISTED, &|variable, numbers| Some(numbers.glob(&variable.name)));
        globs.extend(scopes.or_else(names)?);
    }
    Some(braced(&globs)).filter(|glob| fits(glob, wanted))
}

/// One glob for several.
fn braced(globs: &[String]) -> String {
    match globs {
        [one] => one.clone(),
        many => {
            let common = |deep: &str| {
                let bare = many.iter().map(|glob| glob.strip_prefix(deep));
                Some(format!("{deep}{{{}}}", bare.collect::<Option<Vec<&str>>>()?.join(",")))
            };
            let common = common("**/").or_else(|| common("**."));
            common.unwrap_or_else(|| format!("{{{}}}", many.join(",")))
        }
    }
}

/// A glob of names that end as a variable's does. A slot's end begins with its variable's.
fn end(variable: &Variable) -> String {
    let name = &variable.name;
    let owner = match &variable.role {
        Role::Slot { variable: Some(owner), .. } if name.starts_with(owner.as_str()) => owner,
        _ => name,
    };
    match owner.rfind(SEPARATORS) {
        None => Glob::escape(name),
        Some(at) => format!("**{}", Glob::escape(&name[at..])),
    }
}

/// Which numbers a glob of names matches: those of the names, or any.
#[derive(Clone, Copy)]
enum Numbers {
    Any,
    Each,
}

impl Numbers {
    fn glob(self, name: &str) -> String {
        match self {
            Numbers::Each => Glob::escape(name),
            Numbers::Any => runs(name)
                .map(|(run, number)| if number { "*".to_owned() } else { Glob::escape(run) })
                .collect(),
        }
    }
}

/// The same within a variable's outer scopes.
fn scoped(variable: &Variable, depth: usize, ending: &str, numbers: Numbers) -> Option<String> {
    let (at, separator) = variable.name.match_indices(SEPARATORS).nth(depth - 1)?;
    Some(format!("{}{separator}{ending}", numbers.glob(&variable.name[..at])))
}
