//! Restore rules as flags. They are applied in the order in which they stand on the command line,
//! which derived arguments do not keep.
//!
//! So they are read by hand, and rules are written as flags for suggestions. A test sends every
//! rule through a shell's words and back.

use crate::error::Failure;
use crate::rules::{self, RulesFile};
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, error::ErrorKind,
    value_parser,
};
use std::path::PathBuf;
use warmstart_checkpoint::{Argument, RestoreOptions, Rule, printable};

/// Restore rules, in their order.
pub struct RuleFlags {
    given: Vec<Given>,
}

/// A rule, or a file of them, which stand where the file is named.
enum Given {
    Rule(Rule),
    File(PathBuf),
}

impl RuleFlags {
    /// All rules, with those of files in their places; and what the files allow.
    pub fn read(&self) -> Result<(Vec<Rule>, RulesFile), Failure> {
        let (mut rules, mut allowed) = (Vec::new(), RulesFile::default());
        for given in &self.given {
            match given {
                Given::Rule(rule) => rules.push(rule.clone()),
                Given::File(file) => {
                    let file = rules::read(file)?;
                    allowed.allow(&file);
                    rules.extend(file.rules.into_iter().map(Rule::from));
                }
            }
        }
        Ok((rules, allowed))
    }
}

/// How strict a restore is.
#[derive(Args)]
#[command(next_help_heading = "How strict")]
pub struct Strictness {
    /// Variables that the checkpoint does not hold may be without a value
    #[arg(long)]
    allow_missing: bool,
    /// Tensors that belong to no variable may stay in the file
    #[arg(long)]
    allow_unexpected: bool,
    /// Variables of another shape than in the file may keep what they have
    #[arg(long)]
    allow_mismatched_shape: bool,
    /// Optimizer slots may be restored for variables that are not, or with values of other tensors
    #[arg(long)]
    allow_slots_alone: bool,
}

impl Strictness {
    /// The options of a restore under these flags and these rules.
    pub fn options(&self, rules: &RuleFlags) -> Result<RestoreOptions, Failure> {
        let (rules, mut allowed) = rules.read()?;
        allowed.allow_missing |= self.allow_missing;
        allowed.allow_unexpected |= self.allow_unexpected;
        allowed.allow_mismatched_shape |= self.allow_mismatched_shape;
        let options = rules.into_iter().fold(RestoreOptions::new(), RestoreOptions::rule);
        let options = allowed.apply(options);
        Ok(if self.allow_slots_alone { options.allow_slots_alone() } else { options })
    }
}

type Parse = fn(&str) -> Result<Rule, String>;

/// Every rule of one value: flag, value's name, help, and how its value is read.
const RULES: [(&str, &str, &str, Parse); 13] = [
    ("rename", "FROM=TO", "The tensor FROM is the value of variable TO", |text| {
        pair(text).map(|(from, to)| Rule::Rename { from, to })
    }),
    (
        "rename-scope",
        "FROM=TO",
        "Tensors under scope FROM belong to variables under scope TO; either may be empty: the top",
        |text| pair(text).map(|(from, to)| Rule::RenameScope { from, to }),
    ),
    ("rename-component", "FROM=TO", "One part of the path changes wherever it occurs", |text| {
        pair(text).map(|(from, to)| Rule::RenameComponent { from, to })
    }),
    ("strip-prefix", "PREFIX", "Names lose what they begin with", |text| {
        Ok(Rule::StripPrefix(text.to_owned()))
    }),
    ("add-prefix", "PREFIX", "All names get a beginning", |text| {
        Ok(Rule::AddPrefix(text.to_owned()))
    }),
    (
        "separator",
        "FROM=TO",
        "What stands between the parts of a name: `.=/` for names of PyTorch",
        |text| {
            let (from, to) = pair(text)?;
            let one = |text: String| {
                text.parse::<char>().map_err(|_| format!("`{text}` is not one character"))
            };
            Ok(Rule::Separator { from: one(from)?, to: one(to)? })
        },
    ),
    (
        "assignment-map",
        "FROM=TO,...",
        "Which part goes where, as in TensorFlow's `init_from_checkpoint`; whatever no pair speaks of is left out",
        |text| {
            let pairs: Result<_, String> = split(text, ',').iter().map(|text| pair(text)).collect();
            Ok(Rule::AssignmentMap(pairs?))
        },
    ),
    ("only", "GLOB", "All but the names that match are left out", |text| {
        Ok(Rule::Only(text.to_owned()))
    }),
    ("ignore", "GLOB", "The names that match are left out", |text| {
        Ok(Rule::Ignore(text.to_owned()))
    }),
    ("transpose", "GLOB", "Matrices are stored with rows and columns exchanged", |text| {
        Ok(Rule::Transpose(text.to_owned()))
    }),
    ("cast", "GLOB", "Values of another dtype are cast", |text| Ok(Rule::Cast(text.to_owned()))),
    (
        "reshape",
        "GLOB",
        "Values of another shape are taken if they have as many elements",
        |text| Ok(Rule::Reshape(text.to_owned())),
    ),
    (
        "resize-rows",
        "GLOB=SEED",
        "Values with more or fewer rows are taken; rows that the file lacks are initialized with SEED",
        |text| {
            let (glob, seed) = text.rsplit_once('=').ok_or("there is no `=` before the seed")?;
            let seed =
                seed.parse().map_err(|_| format!("the seed `{seed}` is not a whole number"))?;
            Ok(Rule::ResizeRows { glob: glob.to_owned(), seed })
        },
    ),
];

/// Whether a rule goes by the variables of a model; those are of no use where there is none.
pub fn is_about_variables(flag: &str) -> bool {
    ["cast", "reshape", "resize-rows"].contains(&flag)
}

/// The one rule of two values: regular expressions are full of whatever could stand between them.
const REGEX: &str = "rename-regex";
/// A file of rules.
const FILE: &str = "rules";

const HEADING: &str = "Rules, applied in this command line's order";

impl Args for RuleFlags {
    fn augment_args(command: Command) -> Command {
        let rule = |flag: &'static str, help: &'static str| {
            let arg = Arg::new(flag).long(flag).help(help).help_heading(HEADING);
            arg.action(ArgAction::Append).allow_hyphen_values(true)
        };
        let command = RULES.iter().fold(command, |command, &(flag, value, help, parse)| {
            command.arg(rule(flag, help).value_name(value).value_parser(parse))
        });
        let regex = rule(REGEX, "What a regular expression matches is replaced; `$1` is a capture");
        let file =
            rule(FILE, "The rules of a TOML file: `rules = [{ strip_prefix = \"a.\" }, ...]`");
        command
            .arg(regex.num_args(2).value_names(["PATTERN", "REPLACEMENT"]))
            .arg(file.value_name("FILE.toml").value_parser(value_parser!(PathBuf)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        RuleFlags::augment_args(command)
    }
}

impl FromArgMatches for RuleFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<RuleFlags, Error> {
        let mut given: Vec<(usize, Given)> = Vec::new();
        for (flag, ..) in RULES {
            let values = matches.get_many::<Rule>(flag).into_iter().flatten().cloned();
            let values = values.map(Given::Rule);
            given.extend(matches.indices_of(flag).into_iter().flatten().zip(values));
        }
        let files = matches.get_many::<PathBuf>(FILE).into_iter().flatten().cloned();
        let files = files.map(Given::File);
        given.extend(matches.indices_of(FILE).into_iter().flatten().zip(files));
        let places = matches.indices_of(REGEX).into_iter().flatten().step_by(2);
        let values = matches.get_occurrences::<String>(REGEX).into_iter().flatten();
        for (place, mut values) in places.zip(values) {
            let (Some(pattern), Some(replacement)) = (values.next(), values.next()) else {
                return Err(Error::raw(
                    ErrorKind::WrongNumberOfValues,
                    "--rename-regex takes two values",
                ));
            };
            let (pattern, replacement) = (pattern.clone(), replacement.clone());
            given.push((place, Given::Rule(Rule::RenameRegex { pattern, replacement })));
        }
        given.sort_by_key(|(place, _)| *place);
        Ok(RuleFlags { given: given.into_iter().map(|(_, given)| given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = RuleFlags::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A rule as the flag that asks for it, to be pasted into a shell. None for what cannot be shown as it
/// is, or that a shell would change: pasted as it is shown, it would be another rule.
pub fn flag_of(rule: &Rule) -> Option<String> {
    let pair = |from: &str, to: &str| format!("{}={}", escaped(from), escaped(to));
    let (name, arguments) = rule.parts();
    let value = match arguments.as_slice() {
        [Argument::Text(pattern), Argument::Text(replacement)] if name == "rename_regex" => {
            format!("{} {}", unchanged(pattern)?, unchanged(replacement)?)
        }
        [Argument::Text(one)] => unchanged(one)?,
        [Argument::Text(from), Argument::Text(to)] => unchanged(&pair(from, to))?,
        [Argument::Character(from), Argument::Character(to)] => {
            unchanged(&pair(&from.to_string(), &to.to_string()))?
        }
        [Argument::Text(glob), Argument::Seed(seed)] => unchanged(&format!("{glob}={seed}"))?,
        [Argument::Pairs(pairs)] => {
            let pairs: Vec<String> = pairs.iter().map(|(from, to)| pair(from, to)).collect();
            unchanged(&pairs.join(","))?
        }
        _ => return None,
    };
    let flag = format!("--{} {value}", name.replace('_', "-"));
    Some(flag).filter(|flag| printable(flag) == flag.as_str())
}

/// `FROM=TO`. A backslash before `=`, `,` or a backslash takes it as it is.
fn pair(text: &str) -> Result<(String, String), String> {
    match split(text, '=').as_slice() {
        [from, to] => Ok((unescaped(from), unescaped(to))),
        [_] => Err("there is no `=` between the two names".to_owned()),
        _ => {
            Err("there is more than one `=`: write `\\=` for one that belongs to a name".to_owned())
        }
    }
}

/// The parts of a text between separators that have no backslash before them.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == separator {
            parts.push(String::new());
            continue;
        }
        let part = parts.last_mut().expect("there is always a part: the vector begins with one");
        part.push(character);
        if character == '\\' {
            part.extend(characters.next());
        }
    }
    parts
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next_if(|next| ['\\', '=', ','].contains(next)) {
                Some(next) => plain.push(next),
                None => plain.push('\\'),
            },
            _ => plain.push(character),
        }
    }
    plain
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('=', "\\=").replace(',', "\\,")
}

/// A word that the system's shells take as it is. On Windows they may still replace what stands for a
/// variable in it, which names of files seldom do.
pub fn quoted(text: &str) -> String {
    if cfg!(windows) { quoted_for_windows(text) } else { quoted_for_posix(text) }
}

/// A word that the system's shells take as it is, whatever it is. None where no quotes see to that.
fn unchanged(text: &str) -> Option<String> {
    if cfg!(windows) { unchanged_for_windows(text) } else { Some(quoted_for_posix(text)) }
}

fn quoted_for_posix(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./=:,@%+-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Within double quotes PowerShell replaces `$name` and what follows a backtick, and `cmd` replaces
/// `%NAME%`. To PowerShell a backslash before a quote is no more than a backslash, and curly quotes
/// are quotes.
fn unchanged_for_windows(text: &str) -> Option<String> {
    (!text.contains(['$', '`', '%', '"', '“', '”', '„'])).then(|| quoted_for_windows(text))
}

/// For both `cmd` and PowerShell: only double quotes are quotes to both. Names of files hold none.
fn quoted_for_windows(text: &str) -> String {
    // `,` and `@` mean something to PowerShell.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./\\=:+-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    // A program takes backslashes before a quote, also before the last, for half as many.
    let (mut quoted, mut slashes) = ("\"".to_owned(), 0);
    for character in text.chars() {
        if character == '"' {
            quoted.push_str(&"\\".repeat(slashes + 1));
        }
        slashes = if character == '\\' { slashes + 1 } else { 0 };
        quoted.push(character);
    }
    format!("{quoted}{}\"", "\\".repeat(slashes))
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
