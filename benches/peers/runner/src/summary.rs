//! The short of a full pass, which stands in `benches/RESULTS.md` among what else was measured.

use crate::Outcome;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- `make bench-peers` writes from here -->\n";
const END: &str = "<!-- to here -->\n";

/// Puts it between the two lines of a file that say where it belongs.
pub fn put(path: &Path, summary: &str) -> Outcome<()> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = between(&text, summary).ok_or_else(|| {
        format!("{} has no lines `{}` and `{}`", path.display(), BEGIN.trim(), END.trim())
    })?;
    Ok(fs::write(path, text)?)
}

fn between(text: &str, summary: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", summary.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_the_lines_is_replaced() {
        let text = |inner: &str| format!("# Results\n{BEGIN}\n{inner}\n\n{END}\nmore\n");
        assert_eq!(between(&text("| old |"), "| new |\n"), Some(text("| new |")));
        assert_eq!(between("# Results\n", "| new |"), None);
    }
}
