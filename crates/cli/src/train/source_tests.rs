use super::*;

#[test]
fn a_value_of_another_kind_is_shown() {
    const NOTHING: &str = "leave the key out where nothing is meant; text stands in quotes";
    const DIGITS: &str =
        "write a number by its digits alone, such as 100, 0.5 or 1e-3; text stands in quotes";
    for (text, message, help) in [
        (
            "[training]\nsteps = \"90\"",
            "`\"90\"` is text, and a whole number is meant",
            "write 90 without quotes",
        ),
        (
            "[training]\nsteps = 1.5",
            "`1.5` is a number with a point, and a whole number is meant",
            HELP,
        ),
        ("[training]\nhuber_delta = \"big\"", "`\"big\"` is text, and a number is meant", HELP),
        ("[model]\ndropout = true", "`true` is a truth value, and a number is meant", HELP),
        (
            "[checkpoints]\nbackground = \"true\"",
            "`\"true\"` is text, and `true` or `false` is meant",
            "write true without quotes",
        ),
        ("[model]\nhidden = 64", "`64` is a whole number, and a list is meant", "write [64]"),
        ("[training]\nsteps = -5", "`-5` is below 0", HELP),
        ("[schedule]\nwarm_up = 99999999999", "`99999999999` is too large", HELP),
        (
            "[model]\ninitializer = f.csv",
            "`f.csv` is text without quotes",
            "write \"f.csv\" in quotes",
        ),
        ("directory = ../runs", "`../runs` is text without quotes", "write \"../runs\" in quotes"),
        ("directory = inner # x", "`inner` is text without quotes", "write \"inner\" in quotes"),
        (
            "seed = 1\nseed = 2",
            "`seed` is there twice",
            "keep one of the two, with all that belongs there",
        ),
        ("directory = \"runs", "a quote that opens in this line is not closed", "close the quote"),
        (
            "directory = \"C:\\Users\"",
            "in double quotes, a backslash begins an escape",
            "write `/` between folders, or put the text into single quotes",
        ),
        (
            "directory = \"C:\\data\"",
            "in double quotes, a backslash begins an escape",
            "write `/` between folders, or put the text into single quotes",
        ),
        (
            "directory = \"C:\\U1\"",
            "in double quotes, a backslash begins an escape",
            "write `/` between folders, or put the text into single quotes",
        ),
        ("header = True", "`True` is no truth value, which has no capitals", "write true"),
        ("nesterov = FALSE", "`FALSE` is no truth value, which has no capitals", "write false"),
        ("weight_decay = None", "`None` is no value in TOML", NOTHING),
        ("weight_decay = null # x", "`null` is no value in TOML", NOTHING),
        ("eps = Inf", "`Inf` is no number", DIGITS),
        ("eps = -NaN", "`-NaN` is no number", DIGITS),
        ("learning_rate = 0.1f", "`0.1f` is no number", DIGITS),
        ("share = 5%", "`5%` is no number", DIGITS),
        ("share = 1.2.3", "`1.2.3` is no number", DIGITS),
        ("share = .5", "`.5` is no number", DIGITS),
        ("share = 5.", "`5.` is no number", DIGITS),
        ("share = 1e", "`1e` is no number", DIGITS),
        (
            "directory = 2020.csv",
            "`2020.csv` is text without quotes",
            "write \"2020.csv\" in quotes",
        ),
        (
            "ignore = [temperature, time]",
            "`temperature` is text without quotes",
            "write \"temperature\" in quotes",
        ),
        (
            "ignore = [\n  \"a\",\n  time, # x\n]",
            "`time` is text without quotes",
            "write \"time\" in quotes",
        ),
        ("rules = [{ ignore = fc1 }]", "`fc1` is text without quotes", "write \"fc1\" in quotes"),
        (
            "[model]\nhidden = \"escape_unicode\"",
            "`\"escape_unicode\"` is text, and a list is meant",
            "write [\"escape_unicode\"]",
        ),
        ("seed = [1]", "a list stands where a whole number is meant", HELP),
        (
            "optimizer = \"adam\"",
            "`\"adam\"` is text, and a table `[optimizer]` is meant",
            "write a line `[optimizer]`, and below it its keys, such as `name = \"adam\"`",
        ),
        (
            "model = 3",
            "`3` is a whole number, and a table `[model]` is meant",
            "write a line `[model]`, and below it its keys, such as `hidden = [64]`",
        ),
        (
            "[[model]]\nhidden = [3]",
            "`[[model]]` is a list of tables, and one table is meant",
            "write `[model]`",
        ),
        ("seed = 99999999999999999999", "`99999999999999999999` is too large", HELP),
        ("seed = -99999999999999999999", "`-99999999999999999999` is below 0", HELP),
        (
            "seed = 9999999999999999999999999999999999999999",
            "`9999999999999999999999999999999999999999` is too large",
            HELP,
        ),
        ("[model]\nhidden = \"64\"", "`\"64\"` is text, and a list is meant", "write [64]"),
        (
            "[model]\nhidden = \"64, 32\"",
            "`\"64, 32\"` is text, and a list is meant",
            "write [64, 32]",
        ),
        ("[model]\nhidden = { a = 1 }", "a table stands where a list is meant", HELP),
        (
            "seed = 2020-01-01",
            "`2020-01-01` is a date or a time, and a whole number is meant",
            HELP,
        ),
        (
            "directory = 2020-01-01",
            "`2020-01-01` is a date or a time, and text in quotes is meant",
            "write \"2020-01-01\" in quotes",
        ),
        (
            "directory = 5",
            "`5` is a whole number, and text in quotes is meant",
            "write \"5\" in quotes",
        ),
        (
            "[optimizer]\nname = 5",
            "`5` is a whole number, and one of the choices is meant",
            &format!("choices are words in quotes; {HELP}"),
        ),
        (
            "[model]\ninitializer = 07:30:00",
            "`07:30:00` is a date or a time, and one of the choices is meant",
            &format!("choices are words in quotes; {HELP}"),
        ),
        (
            "[schedule]\nkind = [\"cosine\"]",
            "a list stands where one of the choices is meant",
            &format!("choices are words in quotes; {HELP}"),
        ),
        (
            "[training]\nsteps = 1e3",
            "`1e3` is a number with an exponent, and a whole number is meant",
            "write all its digits, without exponent",
        ),
        ("[training]\nsteps = inf", "`inf` is no finite number, and a whole number is meant", HELP),
        (
            "[optimizer]\nbetas = 0.9",
            "`0.9` is a number with a point, and a list of 2 values is meant",
            HELP,
        ),
        ("[optimizer]\nbetas = [0.9]", "`[0.9]` is not a list of 2 values, which is meant", HELP),
        (
            "[warm_start]\ncheckpoint = \"a\"\nrules = [{ separator = [\"::\", \"/\"] }]",
            "`\"::\"` is not one character",
            "give a single one in quotes, such as `\";\"`",
        ),
        (
            "[warm_start]\ncheckpoint = \"a\"\nrules = [{ rename = \"a\" }]",
            "`rename` takes a list of two texts, and that is not what stands here",
            "write `{ rename = [\"old/name\", \"new/name\"] }`, with your own names",
        ),
        (
            "[warm_start]\ncheckpoint = \"a\"\nrules = [{ strip_prefix = [\"a\", \"b\"] }]",
            "`strip_prefix` takes one text, and that is not what stands here",
            "write `{ strip_prefix = \"module.\" }`, with your own names",
        ),
        (
            "[warm_start]\ncheckpoint = \"a\"\nrules = [{ resize_rows = [\"a\"] }]",
            "`resize_rows` takes a list of a glob and a seed, and that is not what stands here",
            "write `{ resize_rows = [\"embedding/weight\", 0] }`, with your own names",
        ),
        (
            "[warm_start]\ncheckpoint = \"a\"\nrules = [{}]",
            "`{}` does not hold one key, and one in each pair of braces is meant",
            HELP,
        ),
    ] {
        let source = source(&format!("{text}\n[data]\nfile = \"a.csv\"\n"));
        let failure = source.settings().err().unwrap();
        assert_eq!(failure.to_string(), format!("`runs/a.toml`: {message}"));
        let said = miette::Diagnostic::help(&failure).unwrap().to_string();
        assert_eq!(said, help);
    }
}

#[test]
fn a_key_of_another_table_is_told_where_it_belongs() {
    for (text, says) in [
        ("[training]\nlearning_rate = 0.1", "`learning_rate` is a key of [optimizer]; "),
        ("[model]\nfile = \"a.csv\"", "`file` is a key of [data]; "),
        ("[model]\nmemory_limit = 3", "`memory_limit` is a key of [training]; "),
        ("[model]\nallow_missing = true", "`allow_missing` is a key of [warm_start]; "),
        ("[model]\nseed = 3", "`seed` is a key of the top, before all tables; "),
        ("[model]\nhiden = [3]", "did you mean `hidden`? "),
        ("[model]\nxyzzy = [3]", "there are hidden, "),
    ] {
        let failure = source(text).settings().err().unwrap();
        let said = miette::Diagnostic::help(&failure).unwrap().to_string();
        assert!(said.starts_with(says), "{said}");
    }
}

fn source(text: &str) -> Source {
    Source { file: PathBuf::from("runs/a.toml"), kind: Kind::Training, text: text.to_owned() }
}

#[test]
fn only_data_in_place_of_a_training_file_is_told_where_it_belongs() {
    let said = |name: &str, kind, bytes: &[u8]| {
        let source = Source::of(Path::new(name), kind, bytes.to_owned());
        let failure = source.and_then(|source| source.settings()).err().unwrap();
        let help = miette::Diagnostic::help(&failure).unwrap().to_string();
        (failure.to_string(), help.contains("data is named in a TOML file"))
    };
    let no_text = |name: &str| format!("`{name}` is no text, and what is read here is TOML");
    use Kind::{Rules, Training};
    for (name, kind, bytes, message, belongs) in [
        ("a.npy", Training, &b"\x93NUMPY\x01\0"[..], no_text("a.npy"), true),
        ("images", Training, &[0, 0, 8, 3], no_text("images"), true),
        ("images", Rules, &[0, 0, 8, 3], no_text("images"), false),
        ("a.png", Training, b"\x89PNG\r\n\0", no_text("a.png"), false),
        ("rules.txt", Rules, b"\0\xff", no_text("rules.txt"), false),
        (
            "a.toml",
            Training,
            b"# one\ndirectory = \"Z\xfcrich\"\n",
            "`a.toml`, line 2: the byte 0xfc is no UTF-8".to_owned(),
            false,
        ),
    ] {
        assert_eq!(said(name, kind, bytes), (message, belongs), "{name}");
    }
    for (name, text, belongs) in [
        ("a.csv", "a = 1", true),
        ("a.txt", "1,2,x\n3,4,y\n", true),
        ("a.txt", "[modle]\nhidden = [3]\n", false),
        ("a.toml", "", false),
    ] {
        assert_eq!(said(name, Training, text.as_bytes()).1, belongs, "{name} {text}");
    }
    for (text, what) in [
        ("{\"a\": 1}\n{\"a\": 2}\n", "JSON, an object in each line"),
        ("{\n  \"data\": { \"file\": \"a.csv\" }\n}", "JSON"),
        ("[[1, 2], [3, 4]]", "JSON, a list of rows"),
    ] {
        for kind in [Training, Rules] {
            let message = format!("`a.txt` is {what}, and what is read here is TOML");
            assert_eq!(said("a.txt", kind, text.as_bytes()).0, message);
        }
    }
    // These are mistakes in TOML.
    for text in ["[[model]\n", "{ hidden = [3] }", "[\"data\"\nfile = 3"] {
        let message = said("a.toml", Training, text.as_bytes()).0;
        assert!(!message.contains("JSON"), "{message}");
    }
    let rules = Source::of(Path::new("rules.txt"), Rules, b"rulse = []".to_vec()).unwrap();
    let failure = rules.parse::<crate::rules::RulesFile>().unwrap_err();
    let help = miette::Diagnostic::help(&failure).unwrap().to_string();
    assert!(help.contains("did you mean `rules`? a file of rules has the keys"), "{help}");
    assert!(!help.contains("data"), "{help}");
}

const EXAMPLE: &str = include_str!("example.toml");

#[test]
fn the_example_says_what_holds_where_nothing_is_said() {
    let least = "[data]\nfile = \"data.csv\"\n";
    assert_eq!(source(EXAMPLE).settings().unwrap(), source(least).settings().unwrap());
}

/// Behind each `#` without a space is a key with a value that may stand there.
#[test]
fn the_example_has_every_other_key() {
    let (keys, warm_start) = EXAMPLE.split_once("#[warm_start]").unwrap();
    let parsed = |text: &str| -> Settings {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    let plain = parsed(keys);
    let lines: Vec<&str> = keys.lines().collect();
    let mut tried = 0;
    for at in 0..lines.len() {
        if lines[at].starts_with('#') && !lines[at].starts_with("# ") {
            let mut lines = lines.clone();
            lines[at] = &lines[at][1..];
            assert_ne!(parsed(&lines.join("\n")), plain, "{}", lines[at]);
            tried += 1;
        }
    }
    assert!(tried > 25, "{tried}");
    let warm_start = warm_start.replace("\n#", "\n");
    let settings = parsed(&format!("{keys}[warm_start]{warm_start}"));
    assert_eq!(settings.warm_start.unwrap().rules.len(), 2);
}

#[test]
fn the_digits_can_be_trained() {
    source(include_str!("../../../../examples/digits.toml")).settings().unwrap();
}

#[test]
fn paths_are_relative_to_the_file() {
    let source = source("");
    assert_eq!(source.path(Path::new("b.csv")), Path::new("runs/b.csv"));
    assert_eq!(source.path(Path::new("/b.csv")), Path::new("/b.csv"));
    assert_eq!(source.path(Path::new("../data/b.csv")), Path::new("data/b.csv"));
    assert_eq!(source.path(Path::new("../../b.csv")), Path::new("../b.csv"));
}

/// What is advised can be read.
#[test]
fn the_rule_that_is_shown_for_each_is_one() {
    for (key, takes, example) in crate::train::explained::RULES {
        let text = format!("rules = [{{ {key} = {example} }}]");
        let rules: crate::rules::RulesFile = toml::from_str(&text).unwrap();
        let rule = warmstart_checkpoint::Rule::from(rules.rules[0].clone());
        assert_eq!(rule.parts().0, key, "{takes}");
    }
}
