//! Globs of names. What is between `/` or `.` is a part of a name, which globs of paths do not know.

use regex::Regex;

/// What stands between the parts of a name: TensorFlow's `/`, PyTorch's `.`.
pub const SEPARATORS: [char; 2] = ['/', '.'];

/// A glob of names, as all rules take them. The parts of a name stand between `/` or `.`.
///
/// `*` stands for anything within one part, `?` for one character of it, and `**`, which has to be a
/// part by itself, for any number of whole parts. `{a,b}` stands for either, and `[ab]`, `[a-z]` and
/// `[!a]` for one character: for a separator only where it is named, as in `[/.]`, and within brackets
/// a `\` is a character as all others. All else stands for itself, and so does what is after a `\`.
///
/// ```
/// use warmstart_graph::Glob;
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
    /// # use warmstart_graph::Glob;
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

const WHOLE: &str = "`**` stands for whole parts of a name and has to be one by itself, as in \
                     `**/kernel` or `**/my_*`; within one part, `*` stands for anything";

/// A brace that is open.
struct Open {
    /// Whether a part begins at it.
    began: bool,
    /// Whether `**` ends one of its alternatives: then nothing may come after them.
    ends: bool,
}

/// Whether the glob ends before this character, or an alternative of what is open; that then has to end
/// it.
fn ends_here(next: Option<char>, open: &mut [Open]) -> bool {
    match (next, open.last_mut()) {
        (None, _) => true,
        (Some(',' | '}'), Some(innermost)) => {
            innermost.ends = true;
            true
        }
        _ => false,
    }
}

/// The regular expression that matches the same.
fn expression(glob: &str) -> Result<String, String> {
    let mut regex = r"(?s)\A".to_owned();
    let mut rest = glob.chars().peekable();
    // Whether a part begins here.
    let mut begins = true;
    let mut open: Vec<Open> = Vec::new();
    while let Some(c) = rest.next() {
        let began = std::mem::replace(&mut begins, false);
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                let after = rest.peek().copied();
                let separator = after.filter(|c| SEPARATORS.contains(c));
                let ends = ends_here(after, &mut open);
                if !began || !(separator.is_some() || ends) {
                    return Err(WHOLE.to_owned());
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
                class(&mut regex, not, &mut rest)?;
            }
            '{' => {
                open.push(Open { began, ends: false });
                begins = began;
                regex.push_str("(?:");
            }
            ',' if !open.is_empty() => {
                begins = open.last().is_some_and(|open| open.began);
                regex.push('|');
            }
            '}' => {
                let closed =
                    open.pop().ok_or("a `}` closes nothing: write `[}]` for the character")?;
                if closed.ends && !ends_here(rest.peek().copied(), &mut open) {
                    return Err(WHOLE.to_owned());
                }
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
fn class(
    regex: &mut String,
    not: bool,
    rest: &mut impl Iterator<Item = char>,
) -> Result<(), String> {
    let mut of = Vec::new();
    loop {
        match rest.next() {
            Some(']') if !of.is_empty() => break,
            Some(c) => of.push(c),
            None => return Err("a `[` is not closed: write `[[]` for the character".to_owned()),
        }
    }
    regex.push_str(if not { "[^/." } else { "[" });
    let mut of = of.as_slice();
    loop {
        of = match of {
            [low, '-', high, ..] if low > high => {
                return Err(format!("the range `{low}-{high}` runs backwards"));
            }
            // All else that regular expressions know within brackets is escaped.
            [low, '-', high, rest @ ..] => {
                regex.push('[');
                push(regex, *low);
                regex.push('-');
                push(regex, *high);
                regex.push_str("&&[^/.]]");
                rest
            }
            [c, rest @ ..] => {
                push(regex, *c);
                rest
            }
            [] => break,
        };
    }
    regex.push(']');
    Ok(())
}

/// A character that stands for itself.
fn push(regex: &mut String, c: char) {
    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

#[cfg(test)]
#[path = "globs_tests.rs"]
mod tests;
