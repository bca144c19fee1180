//! Rules about values: which matrices are stored transposed, what has extents of 1 more or fewer, and
//! what has to be cast.
//!
//! Values that differ by extents of 1 are reshaped; kernels whose dimensions lie in another order
//! are left, and the report says which order it is (`report/shapes.rs`).

use super::doubts::pattern;
use super::names::{bare, runs};
use super::problem::grown;
use super::trial::Trials;
use crate::restore::matching::{Change, Outcome, transposed};
use crate::restore::rules::{Allowed, Rule, SEPARATORS};
use crate::tensor::FileDType;
use std::collections::{BTreeMap, BTreeSet};
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

/// Variables whose names agree with a tensor's, by what their values would need.
#[derive(Default)]
struct Sorted<'a> {
    /// Matrices that lie the other way round in the file.
    turned: Vec<&'a Variable>,
    /// Those that lie as they do there.
    straight: Vec<&'a Variable>,
    /// Square ones, which may lie either way, but for tables.
    square: Vec<&'a Variable>,
    /// Square tables of rows, which lie the same way everywhere.
    square_tables: Vec<&'a Variable>,
    /// Tables with more or fewer rows, which lie as they do in the model, and what a rule reshapes or resizes.
    grown_tables: Vec<&'a Variable>,
    /// What differs by extents of 1 only.
    folded: Vec<&'a Variable>,
    /// What a reshaping must not reach.
    other: Vec<&'a Variable>,
    /// Whether something has to be cast.
    cast: bool,
    /// Whether all matrices that lie as they do in the file are tables.
    straight_are_tables: bool,
}

impl<'a> Sorted<'a> {
    fn of(trials: &Trials<'a>, outcomes: &[Outcome], allowed: &[Allowed]) -> Sorted<'a> {
        let mut sorted = Sorted { straight_are_tables: true, ..Sorted::default() };
        let variables = trials.asked.variables.iter();
        for ((&variable, outcome), allowed) in variables.zip(outcomes).zip(allowed) {
            sorted.add(variable, outcome, allowed);
        }
        sorted.other.extend(&sorted.turned);
        sorted
    }

    fn add(&mut self, variable: &'a Variable, outcome: &Outcome, allowed: &Allowed) {
        let shape = match outcome {
            Outcome::ShapeMismatch { shape, .. } => shape,
            Outcome::DTypeMismatch { dtype, shape, .. } => {
                let fits = same(variable, shape)
                    || transposed(&variable.shape, shape)
                    || ones_apart(&variable.shape, shape);
                if allowed.cast || !castable(*dtype, variable) {
                    return;
                }
                // Once it is cast, a reshaping that reaches it would scramble it.
                if !fits {
                    self.other.push(variable);
                    return;
                }
                self.cast = true;
                shape
            }
            Outcome::Restored { changes, .. } => {
                let is_cast = |change: &Change| matches!(change, Change::Cast { .. });
                let is_turned = |change: &Change| matches!(change, Change::Transposed { .. });
                if !changes.iter().all(is_cast) {
                    // What a rule reshapes or resizes would fit no more if it were transposed.
                    let spared = variable.shape.rank() == 2 && !changes.iter().any(is_turned);
                    self.grown_tables.extend(spared.then_some(variable));
                    return;
                }
                &variable.shape
            }
            _ => return,
        };
        let table = is_table(&variable.name, outcome.tensor());
        match (&variable.shape[..], allowed.transpose) {
            ([_, _], true) => {}
            ([a, b], false) if a == b && same(variable, shape) => match table {
                true => self.square_tables.push(variable),
                false => self.square.push(variable),
            },
            ([_, _], false) if same(variable, shape) => {
                self.straight.push(variable);
                self.straight_are_tables &= table;
            }
            ([_, _], false) if transposed(&variable.shape, shape) => self.turned.push(variable),
            _ if same(variable, shape) => {}
            _ if ones_apart(&variable.shape, shape) => {
                self.folded.push(variable);
                if variable.shape.rank() == 2 {
                    self.straight.push(variable);
                    self.straight_are_tables &= table;
                }
            }
            _ => {
                // Where rows are as long as columns, it may be a layer of another size, turned.
                let square = variable.shape.first() == variable.shape.get(1);
                let table = grown(&variable.shape, shape) && !square;
                self.grown_tables.extend(table.then_some(variable));
                self.other.push(variable);
            }
        }
    }

    /// What has to be transposed: with square matrices of its kind, where all other matrices but tables lie
    /// the other way round, and without tables, where a glob can tell them apart.
    fn turned(&self) -> Option<String> {
        let spared = [&self.straight[..], &self.grown_tables].concat();
        let and_tables = [&spared[..], &self.square_tables].concat();
        // `w2` is a sibling of `w1` and `w3`, and `fc2_w` of `fc1_w`.
        let stem = |variable: &Variable| pattern(&end(variable));
        let stems: BTreeSet<String> = self.turned.iter().map(|variable| stem(variable)).collect();
        let siblings = self.square.iter().filter(|variable| stems.contains(&stem(variable)));
        let with_siblings: Vec<&Variable> = self.turned.iter().chain(siblings).copied().collect();
        let along = self.straight_are_tables && with_siblings.len() > self.turned.len();
        let along = along.then(|| glob_of(&with_siblings, &and_tables)).flatten();
        along
            .or_else(|| glob_of(&self.turned, &and_tables))
            .or_else(|| glob_of(&self.turned, &spared))
    }
}

/// The rules that mend what is mismatched though names agree.
pub(super) fn values(trials: &Trials<'_>, outcomes: &[Outcome], allowed: &[Allowed]) -> Values {
    let sorted = Sorted::of(trials, outcomes, allowed);
    let mut values = Values { rules: Vec::new(), notes: Vec::new(), turning: None };
    let all_square = [&sorted.square[..], &sorted.square_tables].concat();
    if let Some(glob) = sorted.turned() {
        if let Ok(caught) = Glob::new(&glob) {
            let (caught, left): (Vec<&Variable>, Vec<&Variable>) =
                all_square.into_iter().partition(|variable| caught.is_match(&variable.name));
            values.notes.extend(note(&caught, "transposed as its siblings are"));
            values.notes.extend(note(&left, LEFT));
        }
        values.rules.push(Rule::Transpose(glob));
    } else if trials.asked.pytorch {
        // Names agree after a separator, and yet its `weight` lies the other way round than ours.
        if sorted.straight_are_tables {
            let spared = [&sorted.straight[..], &sorted.square_tables, &sorted.grown_tables];
            values.notes.extend(note(&sorted.square, LEFT));
            values.turning = turning(&sorted.square, &spared.concat());
        }
    } else if sorted.straight.is_empty() && renamed(trials, outcomes) {
        // PyTorch's `weight` lies the other way round than Keras' `kernel`.
        values.notes.extend(note(&all_square, LEFT));
    }
    values.rules.extend(glob_of(&sorted.folded, &sorted.other).map(Rule::Reshape));
    if sorted.cast {
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

/// Whether a matrix is a table of rows, which lies the same way everywhere: by the variable's name, or by
/// what its tensor is called at the end. (Scopes further out say nothing: `time_embed.2.weight` is a layer.)
pub(crate) fn is_table(variable: &str, tensor: Option<&str>) -> bool {
    const WORDS: [&str; 5] = ["embed", "lookup", "table", "wpe", "wte"];
    let says_so = |name: &str| {
        let name = name.to_ascii_lowercase();
        WORDS.iter().any(|word| name.contains(word))
    };
    let end = |name: &str| name.rsplit(SEPARATORS).take(2).any(says_so);
    says_so(variable) || tensor.is_some_and(end)
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
    let mut ends: BTreeMap<String, Vec<&Variable>> = BTreeMap::new();
    for &variable in wanted {
        ends.entry(end(variable)).or_default().push(variable);
    }
    if ends.len() > 4 && fits("**", wanted) {
        return Some("**".to_owned());
    }
    let mut globs = Vec::new();
    for (ending, of) in ends {
        if fits(&ending, &of) {
            globs.push(ending);
            continue;
        }
        // Whatever the number of a layer is rather than each, where that takes fewer.
        let few = |most: usize, glob: &dyn Fn(&Variable, Numbers) -> Option<String>| {
            let globs = |numbers| {
                of.iter().map(|variable| glob(variable, numbers)).collect::<Option<BTreeSet<_>>>()
            };
            let (each, any) = (globs(Numbers::Each)?, globs(Numbers::Any)?);
            let fewer = (any.len() < each.len()).then_some(any);
            let mut sets = fewer.into_iter().chain([each]).map(Vec::from_iter);
            sets.find(|globs: &Vec<String>| globs.len() <= most && fits(&braced(globs), &of))
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
