//! `warmstart diff`: how two checkpoints differ.

mod values;

use crate::Answer;
use crate::error::Failure;
use crate::graph::Strange;
use crate::latest::choice;
use crate::plan::{flags_of, print_file, print_flags, print_notes, promise};
use crate::rules::{self, RulesFile, toml_of};
use crate::text::{self, GOOD, HEADING, counted, styled};
use crate::wording::flag_allowing;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use values::{Difference, compare};
use warmstart_checkpoint::{
    Allowance, Checkpoint, Compared, Damaged, Pairs, RestoreOptions, Rule, RuleUse, Suggestion,
    TensorEntry,
};
use warmstart_graph::words::printable_path;

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
    let Pairs { both, only_first: only_a, only_second: only_b, .. } = &pairs;
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
    let (a, b) = (&a, &b);
    let found =
        Found { arguments, a, b, file, pairs, kinds, values, suggestions, allowed, under, same };
    match arguments.json {
        true => text::print_json(out, &found.json())?,
        false => found.print(out)?,
    }
    Ok(same.into())
}

/// How two checkpoints differ.
struct Found<'a> {
    arguments: &'a Arguments,
    a: &'a Checkpoint,
    b: &'a Checkpoint,
    file: RulesFile,
    pairs: Pairs<'a>,
    /// Pairs of another dtype or shape.
    kinds: Vec<(&'a TensorEntry, &'a TensorEntry)>,
    /// How far the values of those lie apart that were compared.
    values: Vec<(&'a str, Difference)>,
    suggestions: Vec<Suggestion>,
    /// The flags that a restore needs beside each suggestion.
    allowed: Vec<Option<String>>,
    under: Under,
    same: bool,
}

impl Found<'_> {
    fn json(&self) -> Value {
        let listed =
            |tensors: &[&TensorEntry]| tensors.iter().map(|t| json_of(t)).collect::<Vec<_>>();
        let named = |tensors: &[&TensorEntry]| {
            tensors.iter().map(|tensor| tensor.name.to_string()).collect::<Vec<_>>()
        };
        let kinds = self.kinds.iter().map(|(a, b)| json!({ "a": json_of(a), "b": json_of(b) }));
        let values = self.values.iter().map(|(name, difference)| difference.to_json(name));
        let ways = self.suggestions.len();
        let more = Suggestion::may_be_more(&self.suggestions);
        let suggestions = self.suggestions.iter().zip(&self.allowed).map(|(suggestion, plan)| {
            let flags = flags_of(suggestion);
            let file: Vec<String> = suggestion.rules.iter().map(toml_of).collect();
            let Suggestion { restores, of, notes, .. } = suggestion;
            json!({
                "restores": restores, "of": of, "flags": flags, "toml": file, "notes": notes,
                "plan_also": plan, "alternatives": ways - 1, "may_be_more": more,
            })
        });
        let (pairs, under) = (&self.pairs, &self.under);
        json!({
            "a": self.a.file().to_string_lossy(),
            "b": self.b.file().to_string_lossy(),
            "choice_a": choice(&self.arguments.a, self.a, &self.arguments.b),
            "choice_b": choice(&self.arguments.b, self.b, &self.arguments.a),
            "same": self.same,
            "only_a": listed(&pairs.only_first),
            "only_b": listed(&pairs.only_second),
            "different_kind": kinds.collect::<Vec<_>>(),
            "values": self.arguments.values.then(|| values.collect::<Vec<_>>()),
            "allowed": under.allowed,
            "ignored_a": named(&pairs.ignored_first),
            "ignored_b": named(&pairs.ignored_second),
            "rows_not_compared": under.rows,
            "under": pairs.rules.iter().map(|used| toml_of(&used.rule)).collect::<Vec<_>>(),
            "rules": suggestions.collect::<Vec<_>>(),
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), Failure> {
        self.print_opened(out)?;
        self.print_differing(out)?;
        self.print_suggestions(out)?;
        self.under.print(&self.pairs, out)?;
        if self.same {
            let under = match self.arguments.rules {
                Some(_) => " under these rules",
                None => "",
            };
            let (what, left) = match self.arguments.values {
                true => ("names, dtypes, shapes and values are the same", ""),
                false => (
                    "names, dtypes and shapes are the same",
                    "; values were not compared, which --values does",
                ),
            };
            writeln!(out, "{}{left}", styled(GOOD, &format!("{what}{under}")))?;
        } else if !self.values.is_empty() {
            let equal = self.values.iter().filter(|(_, difference)| difference.is_none()).count();
            writeln!(out, "\n{} of equal values", counted(equal, "tensor"))?;
        }
        Ok(())
    }

    /// Which files these are.
    fn print_opened(&self, out: &mut dyn Write) -> Result<(), Failure> {
        for (letter, checkpoint) in [("a", self.a), ("b", self.b)] {
            let step = checkpoint.step().map_or_else(String::new, |step| format!(", step {step}"));
            let tensors = counted(checkpoint.tensors().len(), "tensor");
            writeln!(out, "{letter}  {}: {tensors}{step}", printable_path(checkpoint.file()))?;
        }
        let (a, b) = (&self.arguments.a, &self.arguments.b);
        let mut opened = vec![(a, self.a, b), (b, self.b, a)];
        opened.dedup_by_key(|(path, ..)| *path);
        for (path, checkpoint, other) in opened {
            let damaged = Damaged::first_notes(checkpoint.damaged().iter());
            for note in choice(path, checkpoint, other).into_iter().chain(damaged) {
                writeln!(out, "{} {note}", styled(HEADING, "note:"))?;
            }
        }
        Ok(())
    }

    fn print_differing(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (pairs, file) = (&self.pairs, &self.file);
        for (title, tensors, allowed) in [
            ("only in a", &pairs.only_first, file.allow_unexpected),
            ("only in b", &pairs.only_second, file.allow_missing),
        ] {
            let title =
                &if allowed { format!("{title}, which is allowed") } else { title.to_owned() };
            let lines = tensors
                .iter()
                .map(|t| vec![t.name.to_string(), t.dtype.to_string(), t.shape.to_string()]);
            section(out, title, &["name", "dtype", "shape"], &[], lines.collect())?;
        }
        let rows = self.kinds.iter().map(|(a, b)| {
            vec![
                a.name.to_string(),
                format!("{} {}", a.dtype, a.shape),
                format!("{} {}", b.dtype, b.shape),
            ]
        });
        section(out, "of another dtype or shape", &["name", "a", "b"], &[], rows.collect())?;
        let rows = self.values.iter().filter(|(_, difference)| !difference.is_none());
        let rows: Vec<Vec<String>> = rows.map(|(name, difference)| difference.row(name)).collect();
        let header = ["name", "elements", "of", "largest difference", "relative"];
        section(out, "of other values", &header, &[1, 2, 3, 4], rows)
    }

    fn print_suggestions(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let suggestions = &self.suggestions;
        if suggestions.is_empty() {
            return Ok(());
        }
        let casts = |one: &Suggestion| one.rules.iter().any(|rule| matches!(rule, Rule::Cast(_)));
        let convert = match suggestions.iter().any(casts) {
            false => "`plan`, `convert` and --rules",
            true => "`plan` and --rules (`convert` has --dtype in place of casts)",
        };
        writeln!(out, "\nRules that make names of a those of b, for {convert}:")?;
        print_no_variables(out, self.b, &self.pairs.only_second)?;
        for (way, (suggestion, plan)) in (1..).zip(suggestions.iter().zip(&self.allowed)) {
            let promise = promise(suggestion, way, suggestions, &self.pairs.rules);
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
        Ok(())
    }
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
    // What no variable can be is not unexpected to `plan` where both have it.
    let needless = |suggestion: &Suggestion| {
        let allows = suggestion.allow.iter().flatten().any(|&what| what == Allowance::Unexpected);
        let options = suggestion.rules.iter().cloned().fold(options.clone(), RestoreOptions::rule);
        let strange = Strange::on_both_sides(a, b, options.rules()).ok();
        // Planning again is worth it only then.
        let strange = strange.filter(|strange| allows && !strange.tensors.is_empty());
        strange.is_some_and(|strange| {
            a.plan_for(&variables, &strange.leave_out(options)).unexpected().is_empty()
        })
    };
    // A comparison is not to allow what a restore has to.
    let allowed = suggestions.iter_mut().map(|suggestion| {
        let needless = needless(suggestion);
        let mut allowed = suggestion.allow.replace(Vec::new())?;
        allowed.retain(|&what| !(needless && what == Allowance::Unexpected));
        let flags: Vec<_> = allowed.iter().map(flag_allowing).collect();
        Some(flags.join(" "))
    });
    let allowed = allowed.collect();
    (suggestions, allowed)
}

/// Why there may be fewer variables than tensors that only `b` has.
fn print_no_variables(
    out: &mut dyn Write,
    b: &Checkpoint,
    only_b: &[&TensorEntry],
) -> Result<(), Failure> {
    // A checkpoint of ours says itself what its variables are.
    let declares = b.metadata().variables().is_ok_and(|variables| variables.is_some());
    let others = only_b.iter().filter(|tensor| tensor.dtype.variable().is_none());
    match others.count() {
        0 => Ok(()),
        _ if declares => Ok(()),
        count => Ok(writeln!(
            out,
            "{} {} that only b has cannot be a variable, by its dtype",
            styled(HEADING, "note:"),
            counted(count, "tensor")
        )?),
    }
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
