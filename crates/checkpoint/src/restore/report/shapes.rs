//! What a [`RestoreReport`] says about shapes that differ.

use crate::printable::printable;
use crate::restore::infer::{glob_of, is_table};
use crate::restore::matching::Outcome;
use crate::restore::report::{RestoreReport, VariableOutcome, is_weight};
use crate::restore::rules::{EVERYTHING, Rule, SEPARATORS, without_output};
use crate::restore::suggestion::Allowance;
use crate::restore::wording::{SHOWN, Wording, one_of, rule_text};
use crate::tensor::TensorEntry;
use std::collections::{HashMap, HashSet};
use warmstart_graph::{Glob, Role, Shape, Variable};

impl RestoreReport {
    /// What to do about variables of another shape in the file.
    pub(crate) fn help_with_shapes(&self, words: &dyn Wording) -> Option<String> {
        let shapes = |v: &VariableOutcome| matches!(v.outcome, Outcome::ShapeMismatch { .. });
        if self.allow_mismatched_shape || !self.variables.iter().any(shapes) {
            return None;
        }
        let needless = self.variables.iter().filter(|v| match &v.outcome {
            Outcome::ShapeMismatch { shape, .. } => *shape == v.variable.shape,
            _ => false,
        });
        let mut needless = needless.map(|v| &v.variable);
        if let Some(variable) = needless.next()
            && let Some(rule) = self.turning()(variable)
        {
            let (rule, name) = (rule_text(words, rule), printable(&variable.name));
            let more = match needless.count() {
                0 => String::new(),
                n => format!(" (and {n} more)"),
            };
            return Some(format!(
                "`{name}`{more} has its shape in the file as it lies there: take `{rule}` away, or \
                 let its glob match only what is stored transposed"
            ));
        }
        let mut help = "give the variables the shapes of the file".to_owned();
        // Where nothing else is restored, to leave them as they are is no restore.
        let allow = words.allow(&[Allowance::MismatchedShape]);
        if let Some(allow) = allow.filter(|_| self.restored().next().is_some()) {
            help.push_str(&format!(", or leave them as they are: `{allow}`"));
        }
        help.extend(self.what_fits_shapes(words).map(|fits| format!("; {fits}")));
        Some(help)
    }

    /// Layers of which a part is restored, beside a value of another shape that is not.
    pub(crate) fn note_of_parts_of_layers(&self, words: &dyn Wording) -> Option<String> {
        let scope = |name: &'_ str| name.rfind(SEPARATORS).map(|at| name[..at].to_owned());
        let is_slot = |v: &VariableOutcome| matches!(v.variable.role, Role::Slot { .. });
        let mut restored: HashMap<String, &str> = HashMap::new();
        for variable in self.restored().filter(|v| !matches!(v.role, Role::Slot { .. })) {
            if let Some(scope) = scope(&variable.name) {
                restored.entry(scope).or_insert(&variable.name);
            }
        }
        let mut layers: Vec<(String, &str)> = Vec::new();
        for v in self.variables.iter().filter(|v| !is_slot(v)) {
            if let (Outcome::ShapeMismatch { .. }, Some(scope)) =
                (&v.outcome, scope(&v.variable.name))
                && restored.contains_key(&scope)
                && !layers.iter().any(|(known, _)| *known == scope)
            {
                layers.push((scope, &v.variable.name));
            }
        }
        // A scope that all lie in is the model's, unless that is a single layer.
        let weights = || self.variables.iter().filter(|v| is_weight(&v.variable));
        let is_within =
            |name: &str| layers.iter().any(|(known, _)| scope(name).as_ref() == Some(known));
        if layers.len() == 1
            && weights().count() > 2
            && weights().all(|v| is_within(&v.variable.name))
        {
            return None;
        }
        let (first, without) = layers.first()?;
        let more = match layers.len() - 1 {
            0 => String::new(),
            1 => "; so it is with one more layer".to_owned(),
            n => format!("; so it is with {n} more layers"),
        };
        let scopes: Vec<&str> = layers.iter().map(|(scope, _)| scope.as_str()).collect();
        let rule = self.rule_for_layers(&scopes).and_then(|rule| words.rule(&rule));
        let rule = rule.map_or_else(String::new, |rule| {
            let them = if layers.len() == 1 { "the whole layer" } else { "these layers" };
            format!("; `{rule}` leaves {them} out")
        });
        Some(format!(
            "a part of a layer is restored: `{}` is, and `{}` begins anew beside it{more}{rule}",
            printable(restored.get(first)?),
            printable(without)
        ))
    }

    /// A rule that leaves out layers with their slots, and nothing else, if any weight is left then.
    fn rule_for_layers(&self, scopes: &[&str]) -> Option<Rule> {
        if scopes.len() > SHOWN {
            return None;
        }
        let separator = self
            .variables
            .iter()
            .find_map(|v| v.variable.name.chars().find(|c| SEPARATORS.contains(c)));
        let text = format!("{}{}{EVERYTHING}", one_of(scopes), separator?);
        let glob = Glob::new(&text).ok()?;
        let is_theirs = |variable: &Variable| {
            let name = match &variable.role {
                Role::Slot { variable: Some(owner), .. } => owner,
                _ => &variable.name,
            };
            name.rfind(SEPARATORS).is_some_and(|at| scopes.contains(&&name[..at]))
        };
        let mut wanted = self.variables.iter().filter(|v| v.outcome != Outcome::Ignored);
        let fits = wanted.all(|v| is_theirs(&v.variable) == glob.is_match(&v.variable.name));
        let leaves_some = self.restored().any(|v| is_weight(v) && !glob.is_match(&v.name));
        (fits && leaves_some).then_some(Rule::Ignore(text))
    }

    /// The rules that make values of another shape fit, what they do, and which values they do not make fit.
    pub(crate) fn what_fits_shapes(&self, words: &dyn Wording) -> Option<String> {
        // A matrix that a rule turns fits turned, or not at all.
        let turned_by = self.turning();
        let differ = self.variables.iter().filter_map(|v| match &v.outcome {
            Outcome::ShapeMismatch { shape, .. } => Some((&*v.variable, shape)),
            _ => None,
        });
        let differ: Vec<(&Variable, &Shape)> = differ.collect();
        let rows = |(variable, shape): &(&Variable, &Shape)| {
            let row = |shape: &Shape| shape.split_first().map(|(_, row)| row.to_vec());
            row(shape).is_some()
                && row(shape) == row(&variable.shape)
                && turned_by(variable).is_none()
        };
        // Of dimensions that were joined or split. With extents of 1 more or fewer, a rule is suggested.
        let joined = |(variable, shape): &(&Variable, &Shape)| {
            let (ours, file) = (&variable.shape, *shape);
            (joins(file, ours) || joins(ours, file))
                && extents(file) != extents(ours)
                && turned_by(variable).is_none()
        };
        let (with_rows, others): (Vec<_>, Vec<_>) = differ.into_iter().partition(rows);
        let (with_joined, others): (Vec<_>, Vec<_>) = others.into_iter().partition(joined);
        // A bias alone of a layer whose weight does not fit would be a part of that layer.
        let layers: HashSet<&str> = others.iter().filter_map(|(v, _)| layer(v)).collect();
        let in_part = |(variable, _): &(&Variable, &Shape)| {
            variable.shape.rank() < 2 && layer(variable).is_some_and(|own| layers.contains(own))
        };
        // So would rows be that belong to what a layer before makes, if that begins anew.
        let wider = |(v, shape): &(&Variable, &Shape)| Some((*shape.last()?, *v.shape.last()?));
        let widened: Vec<(&str, (usize, usize))> =
            others.iter().filter_map(|other| Some((&*other.0.name, wider(other)?))).collect();
        let place = |name: &str| self.variables.iter().position(|v| v.variable.name == name);
        let is_fed_by = |(v, shape): &(&Variable, &Shape)| {
            let rows = (shape[0], v.shape[0]);
            let mut same = widened.iter().filter(|(_, change)| *change == rows);
            same.any(|(name, _)| v.shape.rank() < 2 || place(name) < place(&v.name))
        };
        let apart = |value: &(&Variable, &Shape)| in_part(value) || is_fed_by(value);
        let (parts, with_rows): (Vec<_>, Vec<_>) = with_rows.into_iter().partition(apart);
        let left = variables_of(&[others, parts].concat());
        let (with_rows, with_joined) = (variables_of(&with_rows), variables_of(&with_joined));
        type Make = fn(String) -> Rule;
        let (resize, reshape): (Make, Make) =
            (|glob| Rule::ResizeRows { glob, seed: 0 }, Rule::Reshape);
        let fits = [
            (&with_rows, &with_joined, resize, "the rows that both have, and seed 0 for others"),
            (&with_joined, &with_rows, reshape, "the same elements in their order"),
        ];
        let mut fitting = Vec::new();
        for (wanted, spared, rule, what) in fits.into_iter().filter(|(all, ..)| !all.is_empty()) {
            let globs = globs_of(wanted, &[&spared[..], &left].concat()).unwrap_or_default();
            let rules = globs.into_iter().map(|glob| words.rule(&rule(glob)));
            let rules: Vec<String> = rules.flatten().map(|rule| format!("`{rule}`")).collect();
            if rules.is_empty() {
                continue;
            }
            let take = if rules.len() == 1 { "takes" } else { "take" };
            fitting.push(format!("{} {take} {what}", rules.join(" and ")));
        }
        if let (Some(first), false) = (left.first(), fitting.is_empty()) {
            let name = printable(&first.name);
            fitting.push(match left.len() - 1 {
                0 => format!("for `{name}` no rule is offered"),
                1 => format!("for `{name}` and one more no rule is offered"),
                n => format!("for `{name}` and {n} more no rule is offered"),
            });
        }
        (!fitting.is_empty()).then(|| fitting.join("; "))
    }

    /// The rules that take the rows which both have of tables with more or fewer of them here, and of their
    /// slots, and what these take for granted. (Of other matrices, rows are what a layer makes: a head with
    /// another number of classes rather begins anew.)
    pub(crate) fn rules_for_tables(&self) -> Option<(Vec<Rule>, String)> {
        let turned_by = self.turning();
        let (mut tables, mut others) = (Vec::new(), Vec::new());
        for VariableOutcome { variable, outcome } in self.variables.iter() {
            let Outcome::ShapeMismatch { tensor, shape } = outcome else { continue };
            let name = match &variable.role {
                Role::Slot { variable: Some(owner), .. } => owner,
                _ => &variable.name,
            };
            let is_resized = shape.rank() > 1
                && shape.rank() == variable.shape.rank()
                && shape[1..] == variable.shape[1..]
                && turned_by(variable).is_none();
            match is_resized && is_table(name, Some(tensor)) {
                true => tables.push((&**variable, shape)),
                false => others.push(&**variable),
            }
        }
        let (Variable { name, shape, .. }, in_file) = tables.first()?;
        let more = match tables.len() - 1 {
            0 => String::new(),
            1 => "; one more is resized".to_owned(),
            n => format!("; {n} more are resized"),
        };
        let (own, in_file) = (shape[0], in_file[0]);
        let what = match own < in_file {
            true => format!("the first {own} are taken, and the others stay in the file"),
            false => "these are taken, and seed 0 for the others".to_owned(),
        };
        let note = format!("`{name}` has {own} rows, and {in_file} in the file: {what}{more}");
        let rules = globs_of(&variables_of(&tables), &others)?.into_iter();
        Some((rules.map(|glob| Rule::ResizeRows { glob, seed: 0 }).collect(), note))
    }

    /// Finds the rule that has a matrix transposed. Globs are compiled once, for all variables.
    pub(crate) fn turning<'a>(&'a self) -> impl Fn(&Variable) -> Option<&'a Rule> {
        let turning = self.rules.iter().filter_map(|used| match &used.rule {
            rule @ Rule::Transpose(glob) => Some((Glob::new(glob).ok()?, rule)),
            _ => None,
        });
        let turning: Vec<(Glob, &Rule)> = turning.collect();
        move |variable| {
            let matrix = variable.shape.rank() == 2;
            let mut turning = turning.iter().filter(|_| matrix);
            turning.find(|(glob, _)| glob.is_match(&variable.name)).map(|(_, rule)| *rule)
        }
    }

    /// What to do about values whose dimensions lie in another order, as those of kernels do in PyTorch
    /// and TensorFlow: no rule turns them.
    pub(crate) fn help_with_order(&self) -> Option<String> {
        let mut mismatched = self.variables.iter().filter_map(|v| match &v.outcome {
            Outcome::ShapeMismatch { shape, .. } if !self.allow_mismatched_shape => {
                Some((&*v.variable, shape, Order::between(shape, &v.variable.shape)?))
            }
            _ => None,
        });
        let mut left: HashMap<&Shape, Vec<&str>> = HashMap::new();
        for TensorEntry { name, shape, .. } in &self.unexpected {
            left.entry(shape).or_default().push(name);
        }
        let asked =
            |variable: &&Variable| !self.allow_missing && !left.contains_key(&variable.shape);
        let mut missing = self.missing().filter(asked).filter_map(|variable| {
            let mut orders = Order::of_kernels(&variable.shape).into_iter();
            orders.find_map(|order| {
                let (file, names) = left.get_key_value(&order.before(&variable.shape)?)?;
                let related = names.iter().any(|name| are_related(name, &variable.name));
                related.then_some((variable, *file, order))
            })
        });
        let more = |count: usize, so: &str| match count {
            0 => String::new(),
            1 => format!(" (and so {so} one more)"),
            n => format!(" (and so {} {n} more)", so.replace("is", "are").replace("does", "do")),
        };
        let (which, order) =
            if let Some((Variable { name, shape, .. }, file, order)) = mismatched.next() {
                let more = more(mismatched.count(), "is");
                (format!("`{name}` is {shape}, and {file} in the file{more}"), order)
            } else {
                let (Variable { name, shape, .. }, file, order) = missing.next()?;
                let more = more(missing.count(), "does");
                (format!("`{name}` asks for {shape}{more}, and {file} is left in the file"), order)
            };
        let mut help = format!("{which}: the same extents in another order, which no rule mends");
        match order.axes {
            Some(axes) => {
                let axes: Vec<String> = axes.iter().map(usize::to_string).collect();
                let inner = match axes.len() {
                    3 => "width",
                    4 => "height, width",
                    _ => "depth, height, width",
                };
                help.push_str(&format!(
                    ". PyTorch's kernels are out, in, {inner}, TensorFlow's {inner}, in, out: turn them \
                     before they are saved, with `numpy.transpose(kernel, ({}))`",
                    axes.join(", ")
                ));
            }
            None => help.push_str(": permute it before it is saved"),
        }
        Some(help)
    }
}

/// The scope that a variable is in, or the one that a slot belongs to.
fn layer(variable: &Variable) -> Option<&str> {
    let name = match &variable.role {
        Role::Slot { variable: Some(owner), .. } => owner,
        _ => &variable.name,
    };
    name.rfind(SEPARATORS).map(|at| &name[..at])
}

fn variables_of<'a>(all: &[(&'a Variable, &Shape)]) -> Vec<&'a Variable> {
    all.iter().map(|(variable, _)| *variable).collect()
}

/// Globs of these variables, and of none of the others: one by one where they are few.
fn globs_of(wanted: &[&Variable], spared: &[&Variable]) -> Option<Vec<String>> {
    const LISTED: usize = 4;
    if wanted.len() <= LISTED {
        return Some(wanted.iter().map(|variable| Glob::escape(&variable.name)).collect());
    }
    match spared {
        [] => Some(vec![EVERYTHING.to_owned()]),
        spared => glob_of(wanted, spared).map(|glob| vec![glob]),
    }
}

/// Whether dimensions that stand next to one another are joined to those of another shape.
fn joins(from: &Shape, to: &Shape) -> bool {
    let mut from = from.iter();
    let joined = to.iter().all(|&extent| {
        let mut product: usize = 1;
        while product < extent
            && let Some(next) = from.next()
        {
            product = product.saturating_mul(*next);
        }
        product == extent
    });
    joined && from.all(|extent| *extent == 1)
}

/// The extents of a shape but those of 1, whatever their order.
pub(crate) fn extents(shape: &Shape) -> Vec<usize> {
    let mut extents: Vec<usize> = shape.iter().copied().filter(|extent| *extent != 1).collect();
    extents.sort_unstable();
    extents
}

/// Whether a tensor may be the value of a variable of another name: what shapes alone say is chance.
fn are_related(tensor: &str, variable: &str) -> bool {
    const KERNELS: [&str; 4] = ["filter", "kernel", "w", "weight"];
    let end = |name| without_output(name).rsplit(SEPARATORS).next();
    let is_kernel =
        |name| end(name).is_some_and(|end| KERNELS.contains(&end) || end.ends_with("_kernel"));
    end(tensor) == end(variable) || (is_kernel(tensor) && is_kernel(variable))
}

/// How the dimensions of a file's value come to lie in a variable's order.
struct Order {
    /// The file's dimension for each of the variable's, if it is an order that kernels are known to have.
    axes: Option<Vec<usize>>,
}

impl Order {
    /// The orders from PyTorch's kernels to TensorFlow's, and back; those of each channel's own kernel
    /// among them. What a variable is comes first: it has few rows and columns, and many channels.
    fn of_kernels(variable: &Shape) -> Vec<Order> {
        let rank = variable.rank();
        let Some(inner) = rank.checked_sub(2).filter(|inner| (1..=3).contains(inner)) else {
            return Vec::new();
        };
        let last = |channels: [usize; 2]| (2..rank).chain(channels).collect::<Vec<usize>>();
        let first = |channels: [usize; 2]| channels.into_iter().chain(0..inner).collect();
        let last = [last([1, 0]), last([0, 1])];
        let first = [first([rank - 1, rank - 2]), first([rank - 2, rank - 1])];
        let extent =
            |extents: &[usize]| extents.iter().fold(1, |all: usize, e| all.saturating_mul(*e));
        let all = match extent(&variable[..inner]) <= extent(&variable[2..]) {
            true => [last, first],
            false => [first, last],
        };
        all.into_iter().flatten().map(|axes| Order { axes: Some(axes) }).collect()
    }

    /// The order that makes a file's shape a variable's; nothing if they are the same, or differ
    /// otherwise.
    fn between(file: &Shape, variable: &Shape) -> Option<Order> {
        let sorted = |shape: &Shape| {
            let mut extents = shape.to_vec();
            extents.sort_unstable();
            extents
        };
        if file == variable || variable.rank() < 3 || sorted(file) != sorted(variable) {
            return None;
        }
        let mut known = Order::of_kernels(variable).into_iter();
        let known = known.find(|order| order.before(variable).as_ref() == Some(file));
        Some(known.unwrap_or(Order { axes: None }))
    }

    /// The file's shape that this order makes a variable's.
    fn before(&self, variable: &Shape) -> Option<Shape> {
        let mut file = vec![0; variable.rank()];
        for (extent, axis) in variable.iter().zip(self.axes.as_ref()?) {
            file[*axis] = *extent;
        }
        Some(Shape::from(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(file: &[usize], variable: &[usize]) -> Option<Option<Vec<usize>>> {
        Order::between(&Shape::from(file), &Shape::from(variable)).map(|order| order.axes)
    }

    #[test]
    fn the_order_of_a_kernels_dimensions() {
        let known = |order: &[usize]| Some(Some(order.to_vec()));
        // Two dimensions, one, and three, to TensorFlow's order and back.
        assert_eq!(axes(&[64, 3, 7, 5], &[7, 5, 3, 64]), known(&[2, 3, 1, 0]));
        assert_eq!(axes(&[7, 5, 3, 64], &[64, 3, 7, 5]), known(&[3, 2, 0, 1]));
        assert_eq!(axes(&[64, 3, 7], &[7, 3, 64]), known(&[2, 1, 0]));
        assert_eq!(axes(&[64, 3, 7, 5, 9], &[7, 5, 9, 3, 64]), known(&[2, 3, 4, 1, 0]));
        // A kernel for each channel.
        assert_eq!(axes(&[32, 1, 3, 3], &[3, 3, 32, 1]), known(&[2, 3, 0, 1]));
        assert_eq!(axes(&[3, 3, 32, 1], &[32, 1, 3, 3]), known(&[2, 3, 0, 1]));
        // As many in as out.
        assert_eq!(axes(&[3, 3, 64, 64], &[64, 64, 3, 3]), known(&[3, 2, 0, 1]));
        assert_eq!(axes(&[64, 64, 3, 3], &[3, 3, 64, 64]), known(&[2, 3, 1, 0]));
        // Of which nothing is known; and no order at all.
        assert_eq!(axes(&[2, 3, 4], &[2, 4, 3]), Some(None));
        assert_eq!(axes(&[2, 3, 4], &[2, 3, 4]), None);
        assert_eq!(axes(&[2, 3, 4], &[2, 3, 5]), None);
        assert_eq!(axes(&[2, 3], &[3, 2]), None);
    }

    #[test]
    fn dimensions_that_are_joined_stand_next_to_one_another() {
        let joined = |from: &[usize], to: &[usize]| joins(&Shape::from(from), &Shape::from(to));
        assert!(joined(&[2, 3, 4], &[6, 4]) && joined(&[2, 3, 4], &[2, 12]));
        assert!(joined(&[2, 3], &[6]) && joined(&[2, 1, 3, 1], &[6]) && joined(&[1], &[]));
        assert!(!joined(&[6, 4], &[2, 3, 4]) && !joined(&[4, 6], &[3, 8]));
        assert!(!joined(&[2, 3, 4], &[8, 3]) && !joined(&[0, 4], &[0]) && !joined(&[2], &[2, 3]));
    }

    /// What NumPy's `transpose` makes of a shape.
    #[test]
    fn axes_are_those_of_numpy() {
        let file = [64, 3, 7, 5];
        for order in Order::of_kernels(&Shape::from(file)) {
            let axes = order.axes.clone().unwrap();
            let variable: Vec<usize> = axes.iter().map(|axis| file[*axis]).collect();
            assert_eq!(order.before(&Shape::from(variable)), Some(Shape::from(file)));
        }
    }
}
