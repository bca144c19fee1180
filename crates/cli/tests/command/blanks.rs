//! What a command prints, without what varies: placeholders stand for the adapter, the machine, and
//! numbers that come of time or of rounding. Rows, columns and words stay.

use warmstart_gpu::{AdapterSummary, Gpu};

/// What a subcommand prints, line by line.
pub fn blanked(command: &str, text: &str) -> Vec<String> {
    let adapter = Gpu::adapters().into_iter().next().expect("there is an adapter");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let lines = text.lines().map(|line| without_adapter(line, &adapter));
    let lines: Vec<String> = match words[0] {
        "devices" => devices(lines),
        "train" => lines.map(|line| after(&line, &SCORES)).collect(),
        "predict" => predictions(lines),
        "bench" => {
            let lines: Vec<String> = lines.collect();
            ceilings_are_marked(&lines);
            lines.iter().filter_map(|line| measured(line, words[1])).collect()
        }
        "completions" => lines.map(|line| without_texts(&line)).collect(),
        "man" => lines.map(|line| line.replace(env!("CARGO_PKG_VERSION"), "<version>")).collect(),
        _ => lines.collect(),
    };
    lines.iter().map(|line| after(line, &OFFSETS).trim_end().to_owned()).collect()
}

/// Where tensors are in files, which moves with whatever a header says.
const OFFSETS: [&str; 2] = ["file offset ", "\"offset\": "];
/// What a training comes to.
const SCORES: [&str; 7] = [
    "accuracy ",
    "loss ",
    "RMSE ",
    "R² ",
    "\"validation/accuracy\": ",
    "\"validation/loss\": ",
    "\"validation/rmse\": ",
];

/// A line with `#` for the number after each of these.
fn after(line: &str, markers: &[&str]) -> String {
    let mut line = line.to_owned();
    for marker in markers {
        let parts: Vec<&str> = line.split(marker).collect();
        let number = |c: char| c.is_ascii_digit() || ".-+e".contains(c);
        let rest =
            parts[1..].iter().map(|part| match part.starts_with(|c: char| c.is_ascii_digit()) {
                true => format!("{marker}#{}", part.trim_start_matches(number)),
                false => format!("{marker}{part}"),
            });
        line = [parts[0].to_owned()].into_iter().chain(rest).collect();
    }
    line
}

fn without_adapter(line: &str, adapter: &AdapterSummary) -> String {
    let json = |key: &str, value: &str| format!("\"{key}\": {}", serde_json::json!(value));
    line.replace(&adapter.to_string(), "<adapter>")
        .replace(&json("name", &adapter.name), "\"name\": <adapter>")
        .replace(&json("driver", &adapter.driver), "\"driver\": <driver>")
}

/// The first adapter: how many there are, and what it has, the machine decides.
fn devices(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut shown = Vec::new();
    let mut features: Vec<String> = Vec::new();
    for line in lines.take_while(|line| !line.is_empty() && line != "  },") {
        let (label, rest) = line.split_at_checked(13).unwrap_or((&line, ""));
        match label.trim() {
            "has" | "lacks" => features.extend(rest.split(", ").map(str::to_owned)),
            "memory" => {
                assert!(["shared with the host", "the device's own"].contains(&rest), "{line}");
                shown.push(format!("{label}<memory>"));
            }
            "restore" => {
                assert!(rest.starts_with("from the file "), "{line}");
                shown.push(format!("{label}<path>"));
            }
            _ => shown.push(value_of(&line).unwrap_or_else(|| numbers(&line, "B KiB MiB GiB"))),
        }
    }
    features.retain(|feature| feature != "nothing");
    features.sort();
    if !features.is_empty() {
        shown.insert(3.min(shown.len()), format!("  has, lacks {}", features.join(", ")));
    }
    if shown.first().is_some_and(|line| line == "[") {
        shown.truncate(shown.iter().position(|line| line == "  }").unwrap_or(shown.len()));
    }
    shown
}

/// A line of JSON with a kind for its value.
fn value_of(line: &str) -> Option<String> {
    let (key, value) = line.split_once("\": ")?;
    let comma = if value.ends_with(',') { "," } else { "" };
    let value = value.trim_end_matches(',');
    let kind = match value {
        "true" | "false" => "<true or false>",
        "{" => "{",
        text if text.starts_with('"') => "<text>",
        text if text.starts_with('<') => text,
        _ => "#",
    };
    Some(format!("{key}\": {kind}{comma}"))
}

/// A line with `#` for its numbers, and for their units, which change with them.
fn numbers(line: &str, units: &str) -> String {
    let mut words = Vec::new();
    for word in line.split(' ') {
        let (number, mark) = match word.strip_suffix(',') {
            Some(number) => (number, ","),
            None => (word, ""),
        };
        if units.split(' ').any(|unit| unit == number)
            && words.last().is_some_and(|last| last == "#")
        {
            words.pop();
        }
        let number =
            match number.parse::<f64>().is_ok() || units.split(' ').any(|unit| unit == number) {
                true => "#",
                false => number,
            };
        words.push(format!("{number}{mark}"));
    }
    words.join(" ")
}

/// Lines of CSV: the class stays, values and probabilities do not.
fn predictions(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut first = 0;
    let blank = |(at, line): (usize, String)| {
        if at == 0 {
            first = usize::from(line.starts_with("class,"));
            return line;
        }
        let cells = line.split(',').enumerate().map(|(at, cell)| match cell.parse::<f64>() {
            Ok(_) if at >= first => "#",
            _ => cell,
        });
        cells.collect::<Vec<_>>().join(",")
    };
    lines.enumerate().map(blank).collect()
}

/// Holds a note that says which ceilings there are against the lines that are marked so; and what
/// JSON names as a ceiling against what was measured. Which those are, the machine decides.
fn ceilings_are_marked(lines: &[String]) {
    let marked: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("ceiling: ")?.split("  ").next())
        .map(str::trim)
        .collect();
    let note = lines.iter().find_map(|line| line.strip_prefix("note: of ceiling: "));
    assert_eq!(note.is_some(), marked.len() > 1, "{lines:?}");
    let named = note.into_iter().flat_map(|note| note.split("; "));
    let mut named: Vec<&str> = named.filter_map(|one| Some(one.split_once(": ")?.1)).collect();
    if note.is_some() {
        named.sort_unstable();
        let mut marked = marked.clone();
        marked.sort_unstable();
        assert_eq!(named, marked, "{lines:?}");
    }
    let values: Vec<serde_json::Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for value in &values {
        let Some(ceiling) = value.get("ceiling").and_then(|ceiling| ceiling.as_str()) else {
            continue;
        };
        let of = |other: &&serde_json::Value| other["strategy"] == ceiling;
        let of = values.iter().find(of).unwrap_or_else(|| panic!("no line of {ceiling}"));
        assert_eq!(of["role"], "ceiling", "{value}");
        let (rate, fastest) = (&of["gigabytes_per_second"], &value["ceiling_gigabytes_per_second"]);
        assert_eq!(rate, fastest, "{value}");
    }
}

/// A line of a benchmark: without notes, which a busy machine has, and without the width of columns.
fn measured(line: &str, what: &str) -> Option<String> {
    if line.starts_with("note: ") {
        return None;
    }
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) {
        let varies =
            ["processor", "system", "version", "backend", "adapter_type", "adapter", "driver"];
        let field = |(key, value): (String, serde_json::Value)| match value {
            // Which of two is the faster, the machine decides.
            serde_json::Value::String(_) if key == "ceiling" => "ceiling <text>".to_owned(),
            _ if varies.contains(&key.as_str()) => format!("{key} <text>"),
            // What a system does not tell.
            _ if ["load_average", "peak_memory_bytes", "cpu_seconds"].contains(&key.as_str()) => {
                format!("{key} #")
            }
            serde_json::Value::Number(_) => format!("{key} #"),
            value => format!("{key} {value}"),
        };
        return Some(fields.into_iter().map(field).collect::<Vec<_>>().join(", "));
    }
    for label in ["  adapter", "  machine", "  memory", "  files"] {
        if line.starts_with(label) {
            return Some(format!("{label} <{}>", label.trim()));
        }
    }
    let mut blank = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' | '.' if blank.ends_with('#') => {}
            '0'..='9' => blank.push('#'),
            '█'..='▏' => {}
            c => blank.push(c),
        }
    }
    let blank = blank.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(match what {
        "restore" => blank.replace("ceiling: ", "machine: ").replace("threads", "thread"),
        _ => blank,
    })
}

/// A line of completions for fish without its descriptions, which are those of the help.
fn without_texts(line: &str) -> String {
    line.split_once(" -d '").map_or(line, |(line, _)| line).to_owned()
}
