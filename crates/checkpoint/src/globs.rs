//! Globs of names. What is between `/` or `.` is a part of a name, which globs of paths do not know.

use crate::rules::SEPARATORS;
use regex::Regex;

/// A glob of names, as all rules take them. The parts of a name stand between `/` or `.`.
///
/// `*` stands for anything within one part, `?` for one character of it, and `**`, which has to be a
/// part by itself, for any number of whole parts. `{a,b}` stands for either, and `[ab]`, `[a-z]` and
/// `[!a]` for one character. All else stands for itself, and so does what is after a `\`.
///
/// ```
/// use warmstart_checkpoint::Glob;
///
/// let kernels = Glob::new("**/kernel")?;
/// assert!(kernels.is_match("kernel") && kernels.is_match("encoder/fc1/kernel"));
/// assert!(!kernels.is_match("encoder/my_kernel"));
/// assert!(Glob::new("layer_*.w")?.is_match("layer_1.w"));
/// assert!(!Glob::new("*.weight")?.is_match("fc.0.weight"));
/// assert!(Glob::new("**.weight")?.is_match("fc.0.weight"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    regex: Regex,
}

impl Glob {
    /// A glob that is written so.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn new(glob: &str) -> Result<Glob, String> {
        let regex = Regex::new(&expression(glob)?).map_err(|error| error.to_string())?;
        Ok(Glob { text: glob.to_owned(), regex })
    }

    /// Whether it matches all of a name.
    pub fn is_match(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The glob that matches nothing but this name.
    ///
    /// ```
    /// # use warmstart_checkpoint::Glob;
    /// assert_eq!(Glob::escape("layers[0]/w"), "layers[[]0[]]/w");
    /// ```
    pub fn escape(name: &str) -> String {
        let mut escaped = String::with_capacity(name.len());
        for c in name.chars() {
            match c {
                '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\' => escaped.extend(['[', c, ']']),
                c => escaped.push(c),
            }
        }
        escaped
    }
}

/// The regular expression that matches the same.
fn expression(glob: &str) -> Result<String, String> {
    let mut regex = r"(?s)\A".to_owned();
    let mut rest = glob.chars().peekable();
    // Whether a part begins here; and whether one did at each brace that is open.
    let mut begins = true;
    let mut open = Vec::new();
    while let Some(c) = rest.next() {
        let began = std::mem::replace(&mut begins, false);
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                let after = rest.peek().copied();
                let separator = after.filter(|c| SEPARATORS.contains(c));
                let in_braces = !open.is_empty() && matches!(after, Some(',' | '}'));
                if !began || !(after.is_none() || separator.is_some() || in_braces) {
                    return Err("`**` stands for whole parts of a name and has to be one by \
                                itself, as in `**/kernel` or `**/my_*`; within one part, `*` \
                                stands for anything"
                        .to_owned());
                }
                match separator {
                    Some(separator) => {
                        rest.next();
                        regex.push_str("(?:.*");
                        push(&mut regex, separator);
                        regex.push_str(")?");
                        begins = true;
                    }
                    None => regex.push_str(".*"),
                }
            }
            '*' => regex.push_str("[^/.]*"),
            '?' => regex.push_str("[^/.]"),
            '[' => {
                let not = rest.next_if(|c| matches!(c, '!' | '^')).is_some();
                regex.push_str(if not { "[^/." } else { "[" });
                class(&mut regex, &mut rest)?;
            }
            '{' => {
                open.push(began);
                begins = began;
                regex.push_str("(?:");
            }
            ',' if !open.is_empty() => {
                begins = open.last().copied().unwrap_or_default();
                regex.push('|');
            }
            '}' => {
                open.pop().ok_or("a `}` closes nothing: write `[}]` for the character")?;
                regex.push(')');
            }
            '\\' => {
                let c = rest.next().ok_or("it ends with a `\\`: write `\\\\` for the character")?;
                push(&mut regex, c);
            }
            c => {
                begins = SEPARATORS.contains(&c);
                push(&mut regex, c);
            }
        }
    }
    if !open.is_empty() {
        return Err("a `{` is not closed: write `[{]` for the character".to_owned());
    }
    regex.push_str(r"\z");
    Ok(regex)
}

/// The rest of a class, in which a `]` that comes first is one of the characters.
fn class(regex: &mut String, rest: &mut impl Iterator<Item = char>) -> Result<(), String> {
    let mut of = Vec::new();
    loop {
        match rest.next() {
            Some(']') if !of.is_empty() => break,
            Some(c) => of.push(c),
            None => return Err("a `[` is not closed: write `[[]` for the character".to_owned()),
        }
    }
    for (at, &c) in of.iter().enumerate() {
        match c {
            '-' if at > 0 && at + 1 < of.len() => regex.push('-'),
            c => push(regex, c),
        }
    }
    regex.push(']');
    Ok(())
}

/// A character that stands for itself.
fn push(regex: &mut String, c: char) {
    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matched<'a>(glob: &str, names: &[&'a str]) -> Vec<&'a str> {
        let glob = Glob::new(glob).unwrap();
        names.iter().copied().filter(|name| glob.is_match(name)).collect()
    }

    #[test]
    fn one_star_stays_within_a_part_whatever_separates_parts() {
        let names = ["weight", "fc.weight", "a.fc.weight", "a/fc/weight", "a/fc.weight", "fc/bias"];
        assert_eq!(matched("*", &names), ["weight"]);
        assert_eq!(matched("*.weight", &names), ["fc.weight"]);
        assert_eq!(matched("*/*", &names), ["fc/bias"]);
        assert_eq!(
            matched("**.weight", &names),
            ["weight", "fc.weight", "a.fc.weight", "a/fc.weight"]
        );
        assert_eq!(matched("**/weight", &names), ["weight", "a/fc/weight"]);
        assert_eq!(matched("a.**", &names), ["a.fc.weight"]);
        assert_eq!(matched("a/**/weight", &names), ["a/fc/weight"]);
        assert_eq!(matched("**", &names), names);
        assert_eq!(matched("{a/**,**/bias}", &names), ["a/fc/weight", "a/fc.weight", "fc/bias"]);
        assert_eq!(matched("fc?weight", &names), [""; 0]);
        assert_eq!(matched("a/**/w", &["a/w", "ab/w", "a/b/c/w"]), ["a/w", "a/b/c/w"]);
    }

    #[test]
    fn classes_braces_and_backslashes() {
        let names = ["l0", "l1", "l9", "l-", "l]", "l.", "l*", "l\n"];
        assert_eq!(matched("l[0-8]", &names), ["l0", "l1"]);
        assert_eq!(matched("l[!0-8]", &names), ["l9", "l-", "l]", "l*", "l\n"]);
        assert_eq!(matched("l[]-]", &names), ["l-", "l]"]);
        assert_eq!(matched("l{0,[1-8],\\*}", &names), ["l0", "l1", "l*"]);
        assert_eq!(matched("{l{0,1},m}", &names), ["l0", "l1"]);
        assert_eq!(matched("a,b", &["a,b", "a"]), ["a,b"]);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (glob, told) in [
            ("**kernel", "`**/kernel`"),
            ("a**", "whole parts"),
            ("a/***", "whole parts"),
            ("a{**,b}", "whole parts"),
            ("**,b", "whole parts"),
            ("[a", "not closed"),
            ("{a", "not closed"),
            ("a}", "closes nothing"),
            ("a\\", "ends with"),
            ("[z-a]", "range"),
        ] {
            let problem = Glob::new(glob).unwrap_err();
            assert!(problem.contains(told), "{glob}: {problem}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn an_escaped_name_matches_itself_alone(
            name in "[a/.*?\\[\\]{},!^\\\\-]{0,8}",
            other in "[a/.*?\\[\\]{},!^\\\\-]{0,8}",
        ) {
            let glob = Glob::new(&Glob::escape(&name)).unwrap();
            prop_assert!(glob.is_match(&name));
            prop_assert_eq!(glob.is_match(&other), name == other);
            let either = format!("{{{},b}}", Glob::escape(&name));
            prop_assert!(Glob::new(&either).unwrap().is_match(&name));
        }

        #[test]
        fn no_glob_is_a_panic(glob in ".{0,20}", odd in "[a*/.{},\\[\\]\\\\!-]{0,12}") {
            for glob in [glob, odd] {
                let _ = Glob::new(&glob).map(|glob| glob.is_match("a/b.c"));
            }
        }
    }
}
