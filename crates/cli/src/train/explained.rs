//! What TOML's reader says is wrong with a value, in the words of people who write such files.

use super::source::Kind;
use warmstart_graph::words::nearest;

/// What to say of a mistake.
pub struct Explained {
    pub message: String,
    /// What stands at the place that is shown.
    pub label: String,
    pub help: String,
}

impl Explained {
    fn here(message: impl Into<String>, help: &str) -> Explained {
        Explained { message: message.into(), label: "here".to_owned(), help: help.to_owned() }
    }
}

/// Tables of a training file, by what they are read into, each with a line that may stand in it.
const TABLES: [(&str, &str, &str); 7] = [
    ("DataSettings", "data", "file = \"data.csv\""),
    ("ModelSettings", "model", "hidden = [64]"),
    ("TrainingSettings", "training", "steps = 1000"),
    ("OptimizerSettings", "optimizer", "name = \"adam\""),
    ("ScheduleSettings", "schedule", "kind = \"cosine\""),
    ("CheckpointSettings", "checkpoints", "save_every = 100"),
    ("WarmStart", "warm_start", "checkpoint = \"model.safetensors\""),
];

/// What serde says, in our words. `written` is the text at the place that it says it of, and `value` all of
/// the value there.
pub fn explained(said: &str, (written, value): (&str, &str), kind: Kind, help: &str) -> Explained {
    let mut quoted = said.split('`').skip(1).step_by(2);
    let word = quoted.next().unwrap_or_default().to_owned();
    let (message, label) = if said.starts_with("unknown field") {
        (format!("there is no key `{word}` here"), "no such key")
    } else if said.starts_with("unknown variant") {
        (format!("`{word}` is none of the choices here"), "no such choice")
    } else {
        let first = said.lines().next().unwrap_or_default();
        if first.starts_with("missing field") {
            return Explained::here(format!("the key `{word}` is missing"), help);
        }
        if first.starts_with("duplicate key") {
            let message = format!("`{}` is there twice", written.trim());
            return Explained::here(message, "keep one of the two, with all that belongs there");
        }
        if let Some(quotes) = about_quotes(first, value) {
            return quotes;
        }
        // A table or a long list is not repeated.
        let written = written.lines().next().unwrap_or_default().trim();
        return another_kind(first, written, help)
            .or_else(|| another_form(first, written, help))
            .unwrap_or_else(|| Explained::here(first, help));
    };
    let known: Vec<&str> = quoted.collect();
    let of_training = kind == Kind::Training && said.starts_with("unknown field");
    let elsewhere = if of_training { table_of(&word) } else { None };
    let help = match (nearest(&word, known.iter().copied()), elsewhere) {
        (Some(near), _) => format!("did you mean `{near}`? {help}"),
        (None, Some(table)) => format!("`{word}` is a key of {table}; {help}"),
        (None, None) => format!("there are {}; {help}", known.join(", ")),
    };
    Explained { message, label: label.to_owned(), help }
}

/// The restore rules, with what each takes, and one that does.
pub const RULES: [(&str, &str, &str); 14] = [
    ("rename", "a list of two texts", r#"["old/name", "new/name"]"#),
    ("rename_scope", "a list of two texts", r#"["encoder", "model/encoder"]"#),
    ("rename_component", "a list of two texts", r#"["gamma", "scale"]"#),
    ("rename_regex", "a list of two texts", r"['layer(\d+)', 'layers/${1}']"),
    ("strip_prefix", "one text", r#""module.""#),
    ("add_prefix", "one text", r#""model/""#),
    ("separator", "a list of two characters", r#"[".", "/"]"#),
    ("assignment_map", "a list of pairs of texts", r#"[["old/", "new/"]]"#),
    ("only", "one text, a glob", r#""encoder/**""#),
    ("ignore", "one text, a glob", r#""head/**""#),
    ("transpose", "one text, a glob", r#""**/weight""#),
    ("cast", "one text, a glob", r#""**""#),
    ("reshape", "one text, a glob", r#""**/bias""#),
    ("resize_rows", "a list of a glob and a seed", r#"["embedding/weight", 0]"#),
];

/// What to say where another value than a rule takes begins at a place; nothing where something else does.
pub fn about_rule(said: &str, text: &str, place: usize) -> Option<Explained> {
    let is_form = ["expected ", "invalid type", "invalid length", "wanted "];
    if !is_form.iter().any(|begins| said.starts_with(begins)) {
        return None;
    }
    let before = text.get(..place)?.trim_end().strip_suffix('=')?.trim_end();
    let at = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let (table, key) = before.split_at(at + 1);
    let (key, takes, example) = RULES.iter().find(|(name, ..)| *name == key)?;
    table.trim_end().ends_with('{').then(|| {
        Explained::here(
            format!("`{key}` takes {takes}, and that is not what stands here"),
            &format!("write `{{ {key} = {example} }}`, with your own names"),
        )
    })
}

/// The value at a place, be it what stands behind a `=` or one of a list.
pub fn value_at(text: &str, place: usize) -> &str {
    let begin = text[..place].rfind(['\n', '=', '[', '{', ',']).map_or(0, |at| at + 1);
    let value = &text[begin..];
    let end = value.find(['\n', ',', ']', '}']).unwrap_or(value.len());
    value[..end].split(" #").next().unwrap_or_default().trim()
}

/// What TOML's reader says of text whose quotes are wrong, or of what has none. Each is told by how it
/// begins: the rest may be the user's own words.
fn about_quotes(said: &str, value: &str) -> Option<Explained> {
    let begins = |all: &[&str]| all.iter().any(|begins| said.starts_with(begins));
    if begins(&[
        "missing escaped value",
        "too few unicode value digits",
        "invalid value, expected unicode",
    ]) {
        return Some(Explained::here(
            "in double quotes, a backslash begins an escape",
            "write `/` between folders, or put the text into single quotes",
        ));
    }
    if begins(&["invalid basic string", "invalid literal string"]) {
        let message = "a quote that opens in this line is not closed";
        return Some(Explained::here(message, "close the quote"));
    }
    let of_no_text = begins(&[
        "string values must be",
        "invalid boolean",
        "invalid float",
        "invalid mantissa",
        "invalid fraction",
        "invalid exponent",
    ]);
    let is_plain = !value.is_empty() && !value.starts_with(['"', '\'', '[', '{']);
    (of_no_text && is_plain).then(|| without_quotes(value))
}

/// What to say of a value without quotes that TOML does not know.
fn without_quotes(value: &str) -> Explained {
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is(&["true", "false"]) {
        let message = format!("`{value}` is no truth value, which has no capitals");
        return Explained::here(message, &format!("write {}", value.to_ascii_lowercase()));
    }
    if is(&["none", "null", "nil"]) {
        let help = "leave the key out where nothing is meant; text stands in quotes";
        return Explained::here(format!("`{value}` is no value in TOML"), help);
    }
    let rest = value.trim_start_matches(|c: char| c.is_ascii_digit() || "+-._".contains(c));
    let digits = &value[..value.len() - rest.len()];
    let is_count = digits.contains(|c: char| c.is_ascii_digit())
        && (rest.is_empty()
            || !digits.ends_with('.') && rest.chars().all(|c| c.is_alphabetic() || c == '%'));
    let word = value.trim_start_matches(['+', '-']);
    let is_limit = ["inf", "infinity", "nan"].iter().any(|of| word.eq_ignore_ascii_case(of));
    if is_count || is_limit {
        let help =
            "write a number by its digits alone, such as 100, 0.5 or 1e-3; text stands in quotes";
        return Explained::here(format!("`{value}` is no number"), help);
    }
    let message = format!("`{value}` is text without quotes");
    Explained::here(message, &format!("write \"{value}\" in quotes"))
}

/// The table that has such a key, by the file that shows all.
fn table_of(key: &str) -> Option<String> {
    let mut table = "the top, before all tables".to_owned();
    for line in super::EXAMPLE.lines() {
        let line = line.trim_start_matches('#');
        if line.starts_with('[') {
            table = line.split_inclusive(']').next()?.to_owned();
        }
        let written = line.split_once(" = ");
        if written.is_some_and(|(name, _)| name == key) {
            return Some(table);
        }
    }
    None
}

/// What kind of value is written.
fn kind_of(written: &str) -> &'static str {
    let digits = written.trim_start_matches(['+', '-']);
    let is_date = digits.len() > 4
        && digits.starts_with(|c: char| c.is_ascii_digit())
        && digits[1..].contains(['-', ':'])
        && digits.parse::<f64>().is_err();
    match written.chars().next() {
        Some('"' | '\'') => "text",
        Some('[') => "a list",
        Some('{') => "a table",
        _ if is_date => "a date or a time",
        _ if ["true", "false"].contains(&written) => "a truth value",
        _ if ["inf", "nan"].contains(&digits) => "no finite number",
        _ if digits.starts_with("0x") => "a whole number",
        _ if digits.contains('.') => "a number with a point",
        _ if digits.contains(['e', 'E']) => "a number with an exponent",
        _ if digits.starts_with(|c: char| c.is_ascii_digit()) => "a whole number",
        _ => "a table",
    }
}

/// What serde says of a value that is text where a number is meant, and the like.
fn another_kind(said: &str, written: &str, help: &str) -> Option<Explained> {
    let (problem, found) = said.split_once(": ")?;
    let (found, expected) = found.rsplit_once(", expected ")?;
    let is_whole = expected.starts_with(['u', 'i']);
    if is_whole && found.starts_with("integer ") {
        let wrong = if written.starts_with('-') { "below 0" } else { "too large" };
        let message = format!("`{written}` is {wrong}");
        return Some(Explained { message, label: wrong.to_owned(), help: help.to_owned() });
    }
    if problem == "invalid value" && expected == "a character" {
        return Some(Explained::here(
            format!("`{written}` is not one character"),
            "give a single one in quotes, such as `\";\"`",
        ));
    }
    if problem != "invalid type" {
        return None;
    }
    let table = expected.strip_prefix("struct ").map(|name| {
        TABLES.iter().find(|(known, ..)| *known == name).map(|(_, table, line)| (table, line))
    });
    if written.starts_with("[[") {
        let name = written.trim_matches(['[', ']']);
        return Some(Explained::here(
            format!("`[[{name}]]` is a list of tables, and one table is meant"),
            &format!("write `[{name}]`"),
        ));
    }
    let of_table = table.flatten().map(|(table, _)| format!("a table `[{table}]`"));
    let meant = match (&of_table, expected) {
        (Some(table), _) => table,
        (None, "a boolean") => "`true` or `false`",
        (None, "a string" | "path string" | "a path") => "text in quotes",
        (None, "a character") => "one character in quotes",
        (None, "a sequence") => "a list",
        (None, "an array of length 2") => "a list of 2 values",
        (None, number) if number.starts_with('f') => "a number",
        (None, _) if is_whole => "a whole number",
        (None, other) if other.starts_with("struct ") => "a table",
        (None, other) => other,
    };
    let kind = kind_of(written);
    let plain = written.trim_matches(['"', '\'']);
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok();
    let help = match expected {
        _ if let Some(Some((table, line))) = table => {
            format!("write a line `[{table}]`, and below it its keys, such as `{line}`")
        }
        "a boolean" if ["true", "false"].contains(&plain) => {
            format!("write {plain} without quotes")
        }
        "a string" | "path string" | "a path" | "a character"
            if !["a list", "a table"].contains(&kind) =>
        {
            format!("write \"{plain}\" in quotes")
        }
        "a sequence" if kind == "text" && plain.split(',').all(is_number) => {
            format!("write [{plain}]")
        }
        "a sequence" if kind != "a table" => format!("write [{written}]"),
        _ if kind == "text" && is_number(plain) => format!("write {plain} without quotes"),
        _ if is_whole && kind == "a number with an exponent" => {
            "write all its digits, without exponent".to_owned()
        }
        _ => help.to_owned(),
    };
    let message = match kind {
        "a list" | "a table" => format!("{kind} stands where {meant} is meant"),
        _ => format!("`{written}` is {kind}, and {meant} is meant"),
    };
    Some(Explained { message, label: kind.to_owned(), help })
}

/// What TOML's reader says that names no two kinds.
fn another_form(said: &str, written: &str, help: &str) -> Option<Explained> {
    let meant = if said == "wanted string or table" {
        let kind = kind_of(written);
        let message = match kind {
            "a list" | "a table" => format!("{kind} stands where one of the choices is meant"),
            _ => format!("`{written}` is {kind}, and one of the choices is meant"),
        };
        let help = format!("choices are words in quotes; {help}");
        return Some(Explained { message, label: kind.to_owned(), help });
    } else if said == "integer number overflowed" && written.contains(|c: char| c.is_ascii_digit())
    {
        "is too large"
    } else if said.starts_with("a column's name") {
        let message = format!("`{written}` is not what is meant: {said}");
        return Some(Explained::here(message, help));
    } else if said == "expected tuple with length 2"
        || said.ends_with("expected an array of length 2")
    {
        "is not a list of 2 values, which is meant"
    } else if said.starts_with("expected table, found ") {
        "is not what is meant"
    } else if said.starts_with("wanted exactly 1 element") {
        "does not hold one key, and one in each pair of braces is meant"
    } else {
        return None;
    };
    Some(Explained::here(format!("`{written}` {meant}"), help))
}
