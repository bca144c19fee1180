//! `warmstart diff`: how two checkpoints differ.

use crate::Answer;
use crate::elements::Elements;
use crate::error::Failure;
use crate::latest::choice;
use crate::plan::{flags_of, print_file, print_flags, print_notes, promise};
use crate::rules::{self, RulesFile, toml_of};
use crate::text::{self, GOOD, HEADING, counted, styled};
use crate::wording::flag_allowing;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use warmstart_checkpoint::{
    Checkpoint, CheckpointError, Compared, Pairs, RestoreOptions, Rule, RuleUse, Suggestion,
    TensorEntry,
};
use warmstart_graph::words::counted_as;

/// Damaged checkpoints of a directory that are told one by one.
const DAMAGED: usize = 5;

/// Compare two checkpoints
///
/// Compares names, shapes and dtypes, and with --values every element. Where names differ, rules
/// that make those of A the names of B are suggested, as flags of `plan` and `convert`, and for a
/// file that --rules takes: under it A is compared as a restore would take it into B. What the file
/// allows, such as `allow_unexpected = true`, is listed and is no difference. What rides beside the
/// tensors, such as the step, is not compared.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  warmstart diff step-500.safetensors step-1000.safetensors --values
  warmstart diff pytorch.safetensors runs/mine
  warmstart diff pytorch.safetensors runs/mine --rules rules.toml --values

A file of rules says `rules = [{ strip_prefix = \"module.\" }, { transpose = \"**/weight\" }]`. The relative difference is that of two elements divided by the larger of them. NaN equals NaN.

Exit codes: 0 the same, 1 different, 2 error, or --rules leave nothing to compare")]
pub struct Arguments {
    /// A file, or a directory, which opens its newest checkpoint that is whole by its header
    a: PathBuf,
    /// The same
    b: PathBuf,
    /// Compare the values of tensors of the same name and shape
    #[arg(long)]
    values: bool,
    /// Rules that make A what B is, as a TOML file
    #[arg(long, value_name = "FILE.toml")]
    rules: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<Answer, Failure> {
    let a = Checkpoint::open(&arguments.a)?;
    let b = Checkpoint::open(&arguments.b)?;
    let file = arguments.rules.as_deref().map(rules::read).transpose()?;
    let file = file.unwrap_or_default();
    let rules: Vec<Rule> = file.rules.iter().cloned().map(Rule::from).collect();
    let pairs = a.pairs(&b, &rules);
    check(&pairs.rules, &a, &b)?;
    let under = Under::of(&pairs, &file);
    let Pairs { both, only_first: only_a, only_second: only_b, rules: uses, .. } = &pairs;
    let kinds: Vec<_> =
        both.iter().filter(|pair| pair.differ).map(|pair| (pair.first, pair.second)).collect();
    let mut values = Vec::new();
    if arguments.values {
        for pair in both {
            if let Some(how) = pair.values {
                let difference = compare((&a, pair.first), (&b, pair.second), how)?;
                values.push((pair.second.name.as_str(), difference));
            }
        }
    }
    let (suggestions, allowed) = match only_a.is_empty() || only_b.is_empty() {
        true => (Vec::new(), Vec::new()),
        false => inferred(&a, &b, &rules),
    };
    let unequal = values.iter().filter(|(_, difference)| !difference.is_none()).count();
    let differing = only_a.len() + only_b.len() + kinds.len();
    let same = differing == under.allowed && unequal == 0;
    if same && under.compared == 0 && arguments.rules.is_some() {
        return Err(Failure::new("the rules leave no tensor to compare, so nothing can be said")
            .help("ignore or allow less, or compare without --rules"));
    }
    if arguments.json {
        let listed =
            |tensors: &[&TensorEntry]| tensors.iter().map(|t| json_of(t)).collect::<Vec<_>>();
        let named = |tensors: &[&TensorEntry]| {
            tensors.iter().map(|tensor| tensor.name.to_string()).collect::<Vec<_>>()
        };
        let kinds = kinds.iter().map(|(a, b)| json!({ "a": json_of(a), "b": json_of(b) }));
        let values = values.iter().map(|(name, difference)| difference.to_json(name));
        let ways = suggestions.len();
        let more = Suggestion::may_be_more(&suggestions);
        let suggestions = suggestions.iter().zip(&allowed).map(|(suggestion, plan)| {
            let flags = flags_of(suggestion);
            let file: Vec<String> = suggestion.rules.iter().map(toml_of).collect();
            let Suggestion { restores, of, notes, .. } = suggestion;
            json!({
                "restores": restores, "of": of, "flags": flags, "toml": file, "notes": notes,
                "plan_also": plan, "alternatives": ways - 1, "may_be_more": more,
            })
        });
        let value = json!({
            "a": a.file().display().to_string(),
            "b": b.file().display().to_string(),
            "choice_a": choice(&arguments.a, &a),
            "choice_b": choice(&arguments.b, &b),
            "same": same,
            "only_a": listed(only_a),
            "only_b": listed(only_b),
            "different_kind": kinds.collect::<Vec<_>>(),
            "values": arguments.values.then(|| values.collect::<Vec<_>>()),
            "allowed": under.allowed,
            "ignored_a": named(&pairs.ignored_first),
            "ignored_b": named(&pairs.ignored_second),
            "rows_not_compared": under.rows,
            "under": uses.iter().map(|used| toml_of(&used.rule)).collect::<Vec<_>>(),
            "rules": suggestions.collect::<Vec<_>>(),
        });
        text::print_json(out, &value)?;
        return Ok(same.into());
    }
    for (letter, checkpoint) in [("a", &a), ("b", &b)] {
        let step = checkpoint.step().map_or_else(String::new, |step| format!(", step {step}"));
        let tensors = counted(checkpoint.tensors().len(), "tensor");
        writeln!(out, "{letter}  {}: {tensors}{step}", checkpoint.file().display())?;
    }
    let mut opened = vec![(&arguments.a, &a), (&arguments.b, &b)];
    opened.dedup_by_key(|(path, _)| *path);
    for (path, checkpoint) in opened {
        let damaged = checkpoint.damaged();
        let more = damaged.len().saturating_sub(DAMAGED);
        let newer = counted_as(more, "more newer checkpoint is", "more newer checkpoints are");
        let more = (more > 0).then(|| format!("{newer} damaged"));
        let damaged = damaged.iter().take(DAMAGED).map(ToString::to_string);
        for note in choice(path, checkpoint).into_iter().chain(damaged).chain(more) {
            writeln!(out, "{} {note}", styled(HEADING, "note:"))?;
        }
    }
    for (title, tensors, allowed) in
        [("only in a", only_a, file.allow_unexpected), ("only in b", only_b, file.allow_missing)]
    {
        let title = &if allowed { format!("{title}, which is allowed") } else { title.to_owned() };
        let lines = tensors
            .iter()
            .map(|t| vec![t.name.to_string(), t.dtype.to_string(), t.shape.to_string()]);
        section(out, title, &["name", "dtype", "shape"], &[], lines.collect())?;
    }
    let rows = kinds.iter().map(|(a, b)| {
        vec![
            a.name.to_string(),
            format!("{} {}", a.dtype, a.shape),
            format!("{} {}", b.dtype, b.shape),
        ]
    });
    section(out, "of another dtype or shape", &["name", "a", "b"], &[], rows.collect())?;
    let rows = values.iter().filter(|(_, difference)| !difference.is_none());
    let rows: Vec<Vec<String>> = rows.map(|(name, difference)| difference.row(name)).collect();
    let header = ["name", "elements", "of", "largest difference", "relative"];
    section(out, "of other values", &header, &[1, 2, 3, 4], rows)?;
    if !suggestions.is_empty() {
        let casts = |one: &Suggestion| one.rules.iter().any(|rule| matches!(rule, Rule::Cast(_)));
        let convert = match suggestions.iter().any(casts) {
            false => "`plan`, `convert` and --rules",
            true => "`plan` and --rules (`convert` has --dtype in place of casts)",
        };
        writeln!(out, "\nRules that make names of a those of b, for {convert}:")?;
        for (way, (suggestion, plan)) in (1..).zip(suggestions.iter().zip(&allowed)) {
            let promise = promise(suggestion, way, &suggestions, uses);
            // The file is told after the flags; where there are none, it says what they would.
            if print_flags(out, suggestion, &promise)? {
                print_plan(out, plan.as_deref())?;
                print_file(out, suggestion, "")?;
            } else {
                print_file(out, suggestion, &format!(", {promise}"))?;
                print_plan(out, plan.as_deref())?;
            }
            print_notes(out, suggestion)?;
        }
    }
    under.print(&pairs, out)?;
    if same {
        let how = match arguments.rules {
            Some(_) => "the same under these rules:",
            None => "the same:",
        };
        let what = match arguments.values {
            true => "names, dtypes, shapes and values",
            false => "names, dtypes and shapes; --values compares the values too",
        };
        writeln!(out, "{} {what}", styled(GOOD, how))?;
    } else if !values.is_empty() {
        let equal = values.len() - unequal;
        writeln!(out, "\n{} of equal values", counted(equal, "tensor"))?;
    }
    Ok(same.into())
}

/// What rules leave out of the comparison.
struct Under {
    /// Pairs of tensors that were compared.
    compared: usize,
    /// Tensors and pairs that differ and may.
    allowed: usize,
    /// Rows that only one of two tables has.
    rows: usize,
}

impl Under {
    fn of(pairs: &Pairs<'_>, file: &RulesFile) -> Under {
        let other_shape = pairs.both.iter().filter(|pair| pair.values.is_none()).count();
        let other_shape = if file.allow_mismatched_shape { other_shape } else { 0 };
        let only_a = if file.allow_unexpected { pairs.only_first.len() } else { 0 };
        let only_b = if file.allow_missing { pairs.only_second.len() } else { 0 };
        let tables = pairs.both.iter().filter(|pair| pair.values == Some(Compared::CommonRows));
        let rows = |tensor: &TensorEntry| tensor.shape.first().copied().unwrap_or(0);
        Under {
            compared: pairs.both.len() - other_shape,
            allowed: other_shape + only_a + only_b,
            rows: tables.map(|pair| rows(pair.first).abs_diff(rows(pair.second))).sum(),
        }
    }

    /// Nothing that was not compared is passed over in silence.
    fn print(&self, pairs: &Pairs<'_>, out: &mut dyn Write) -> Result<(), Failure> {
        let (of_a, of_b) = (pairs.ignored_first.len(), pairs.ignored_second.len());
        let mut parts = Vec::new();
        if of_a + of_b > 0 {
            parts.push(format!("ignored: {} of a, {of_b} of b", counted(of_a, "tensor")));
        }
        if self.rows > 0 {
            parts.push(format!("not compared: {} that one alone has", counted(self.rows, "row")));
        }
        if self.allowed > 0 {
            parts.push(format!("allowed to differ: {}", counted(self.allowed, "tensor")));
        }
        match parts.is_empty() {
            true => Ok(()),
            false => Ok(writeln!(out, "\n{}", parts.join("\n"))?),
        }
    }
}

/// Refuses rules that do nothing, or nothing that can be done.
fn check(uses: &[RuleUse], a: &Checkpoint, b: &Checkpoint) -> Result<(), Failure> {
    for (at, used) in uses.iter().enumerate() {
        let RuleUse { rule, matched, problem, .. } = used;
        let shown = toml_of(rule);
        match problem {
            Some(problem) => {
                return Err(Failure::new(format!("`{shown}` cannot be applied: {problem}")));
            }
            None if used.does_nothing() && *matched > 0 => {
                let matches = counted(*matched, "tensor");
                let problem =
                    format!("it matches {matches} of b, and none that takes part needs it");
                return Err(Failure::new(format!("`{shown}` changes nothing: {problem}"))
                    .help("take it away"));
            }
            None if used.does_nothing() => {
                let failure = Failure::new(format!("`{shown}` touches no name"));
                // Those about values speak of names of b.
                let of_values = matches!(
                    rule,
                    Rule::Transpose(_) | Rule::Cast(_) | Rule::Reshape(_) | Rule::ResizeRows { .. }
                );
                let of_a = if of_values { &[] } else { a.tensors() };
                let tensors = of_a.iter().chain(b.tensors());
                let names: Vec<&str> = tensors.map(|tensor| tensor.name.as_str()).collect();
                let order =
                    "rules are applied in order, each to the names that the one before leaves";
                let near = RuleUse::near(uses, at, &names).map(|rule| toml_of(&rule));
                return Err(failure.help(match near {
                    Some(near) => format!("did you mean `{near}`? {order}"),
                    None => format!("{order}; take it away"),
                }));
            }
            None => {}
        }
    }
    Ok(())
}

/// Rules to add under which `a` could be restored into what `b` holds, and the flags that a restore
/// needs beside each: `None` if it would not do whatever is allowed.
fn inferred(
    a: &Checkpoint,
    b: &Checkpoint,
    rules: &[Rule],
) -> (Vec<Suggestion>, Vec<Option<String>>) {
    // What only makes a suggestion is no reason to fail.
    let variables = b.variables().unwrap_or_default();
    let options = rules.iter().cloned().fold(RestoreOptions::new(), RestoreOptions::rule);
    let mut suggestions = a.plan_for(&variables, &options).suggestions().to_vec();
    // A comparison is not to allow what a restore has to.
    let allowed = suggestions.iter_mut().map(|suggestion| {
        let allowed = suggestion.allow.replace(Vec::new())?;
        let flags: Vec<_> = allowed.iter().map(flag_allowing).collect();
        Some(flags.join(" "))
    });
    let allowed = allowed.collect();
    (suggestions, allowed)
}

/// What a restore needs beside a suggestion.
fn print_plan(out: &mut dyn Write, flags: Option<&str>) -> Result<(), Failure> {
    match flags {
        Some("") => {}
        Some(flags) => writeln!(out, "  `plan` needs {flags} too")?,
        None => writeln!(out, "  `plan` does not fit with them yet, and says what is still wrong")?,
    }
    Ok(())
}

fn section(
    out: &mut dyn Write,
    title: &str,
    header: &[&str],
    right: &[usize],
    rows: Vec<Vec<String>>,
) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let heading = styled(HEADING, &format!("{} {title}", counted(rows.len(), "tensor")));
    Ok(writeln!(out, "\n{heading}\n{}", text::table(header, right, rows))?)
}

fn json_of(tensor: &TensorEntry) -> Value {
    json!({ "name": tensor.name, "dtype": tensor.dtype.name(), "shape": tensor.shape })
}

/// How the values of two tensors differ.
enum Difference {
    /// The elements are not known as numbers here. Bytes tell whether they are equal, if both have
    /// the same dtype.
    Bytes {
        equal: bool,
    },
    Numbers(Numbers),
}

#[derive(Default)]
struct Numbers {
    elements: u64,
    unequal: u64,
    /// Elements of which one is NaN and the other is not: no difference can be told.
    one_nan: u64,
    absolute: f64,
    relative: f64,
}

fn compare(
    (a, of_a): (&Checkpoint, &TensorEntry),
    (b, of_b): (&Checkpoint, &TensorEntry),
    how: Compared,
) -> Result<Difference, CheckpointError> {
    let elements_of_a = match how {
        Compared::Transposed => Elements::transposed(a, of_a),
        _ => Elements::of(a, of_a),
    };
    let (Some(mut a), Some(mut b)) = (elements_of_a, Elements::of(b, of_b)) else {
        let in_order = how == Compared::InOrder && of_a.dtype == of_b.dtype;
        let equal = in_order && equal_bytes((a, of_a), (b, of_b))?;
        return Ok(Difference::Bytes { equal });
    };
    let whole_numbers = a.dtype() == b.dtype() && !a.dtype().is_float();
    let mut found = Numbers::default();
    loop {
        let (of_a, of_b) = (a.next_piece()?, b.next_piece()?);
        // Of two tables of rows, one may have fewer.
        if of_a.is_empty() || of_b.is_empty() {
            return Ok(Difference::Numbers(found));
        }
        for (at, (&x, &y)) in of_a.iter().zip(&of_b).enumerate() {
            // Whole numbers of 64 bits may be too large to tell apart as floats.
            let told_apart = whole_numbers && a.whole_number(at) != b.whole_number(at);
            found.add(x, y, told_apart);
        }
    }
}

/// Whether two tensors of one dtype and shape have the same bytes.
fn equal_bytes(
    (a, of_a): (&Checkpoint, &TensorEntry),
    (b, of_b): (&Checkpoint, &TensorEntry),
) -> Result<bool, CheckpointError> {
    let (Some(mut a), Some(mut b)) = (a.reader(&of_a.name), b.reader(&of_b.name)) else {
        return Ok(false);
    };
    let (mut from_a, mut from_b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let (n, m) = (a.read(&mut from_a)?, b.read(&mut from_b)?);
        if from_a[..n] != from_b[..m] || n == 0 {
            return Ok(n == m && n == 0);
        }
    }
}

impl Numbers {
    fn add(&mut self, a: f64, b: f64, told_apart: bool) {
        self.elements += 1;
        if !told_apart && (a == b || (a.is_nan() && b.is_nan())) {
            return;
        }
        self.unequal += 1;
        let difference = (a - b).abs();
        if difference.is_nan() {
            self.one_nan += 1;
            return;
        }
        self.absolute = self.absolute.max(difference);
        // Of an infinity and a number the quotient would be NaN.
        let larger = a.abs().max(b.abs());
        let relative = if larger.is_infinite() { f64::INFINITY } else { difference / larger };
        self.relative = self.relative.max(relative);
    }
}

impl Difference {
    fn is_none(&self) -> bool {
        match self {
            Difference::Bytes { equal } => *equal,
            Difference::Numbers(numbers) => numbers.unequal == 0,
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let cells = match self {
            Difference::Bytes { .. } => ["other bytes", "", "", ""].map(str::to_owned),
            Difference::Numbers(n) => {
                let nan =
                    if n.one_nan > 0 { format!(" ({} NaN)", n.one_nan) } else { String::new() };
                let unequal = format!("{}{nan}", n.unequal);
                [unequal, n.elements.to_string(), text::short(n.absolute), text::short(n.relative)]
            }
        };
        [name.to_owned()].into_iter().chain(cells).collect()
    }

    fn to_json(&self, name: &str) -> Value {
        match self {
            Difference::Bytes { equal } => json!({ "name": name, "equal": equal }),
            Difference::Numbers(n) => json!({
                "name": name,
                "equal": n.unequal == 0,
                "elements": n.elements,
                "unequal": n.unequal,
                "one_nan": n.one_nan,
                "absolute": text::number(n.absolute),
                "relative": text::number(n.relative),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_what_is_not_finite_are_told() {
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        let mut found = Numbers::default();
        found.add(nan, nan, false);
        found.add(infinity, infinity, false);
        found.add(0.0, -0.0, false);
        assert_eq!((found.elements, found.unequal), (3, 0));
        found.add(nan, 1.0, false);
        found.add(2.0, 1.0, false);
        assert_eq!(
            (found.unequal, found.one_nan, found.absolute, found.relative),
            (2, 1, 1.0, 0.5)
        );
        found.add(infinity, 1.0, false);
        assert_eq!((found.absolute, found.relative), (infinity, infinity));
        // Two whole numbers that are one as floats.
        let mut found = Numbers::default();
        found.add(0.0, 0.0, true);
        assert_eq!(found.unequal, 1);
    }
}
