//! Text of headers: strings that are long and seldom asked for, and what stands at a known place.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A string of JSON whose escapes are taken out when it is first asked for. What a checkpoint says of
/// its graph and variables is itself JSON, every quote escaped, and most of a header: it stays there.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    header: Arc<String>,
    /// Where in the header it stands, quotes included; empty where it was read at once.
    place: Range<usize>,
    read: OnceLock<String>,
}

impl From<String> for Text {
    fn from(read: String) -> Text {
        Text { header: Arc::default(), place: 0..0, read: read.into() }
    }
}

impl Text {
    /// Of well-formed JSON.
    ///
    /// # Errors
    /// That it is no string.
    pub fn from_json(json: &str) -> Result<Text, serde_json::Error> {
        // What can still be wrong with a well-formed string is half of a surrogate pair.
        if json.starts_with('"') && !json.contains("\\u") {
            return Ok(Text::with_escaped_quotes(&Arc::new(json.to_owned()), 0..json.len()));
        }
        serde_json::from_str::<String>(json).map(Text::from)
    }

    /// Of a string of JSON in a header, quotes included, that has no escapes but `\"`.
    pub fn with_escaped_quotes(header: &Arc<String>, place: Range<usize>) -> Text {
        Text { header: header.clone(), place, read: OnceLock::new() }
    }

    /// As it stands in the file, if it was not read at once.
    pub fn json(&self) -> &str {
        self.header.get(self.place.clone()).unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        let read = || serde_json::from_str(self.json());
        self.read.get_or_init(|| read().expect("well-formed JSON without `\\u` was asked for"))
    }
}

/// What stands behind a prefix, if the text begins with it. Thousands of tensors are described by the
/// same words: as long as is known when this is compiled, they are compared without a call.
#[inline]
pub(crate) fn behind<'a, const N: usize>(text: &'a str, prefix: &[u8; N]) -> Option<&'a str> {
    let begins = text.as_bytes().first_chunk() == Some(prefix);
    begins.then(|| text.get(N..)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_serde_json_makes_of_it() {
        for json in [r#""""#, r#""a\"\\\/\b\f\n\r\t""#, r#""\u00e9\ud83d\ude00""#, "\"é\""] {
            let expected: String = serde_json::from_str(json).unwrap();
            assert_eq!(Text::from_json(json).unwrap().as_str(), expected, "{json}");
        }
        for json in ["1", "null", "{}", r#""\ud83d""#, r#""\ud83d\u0041""#] {
            let expected = serde_json::from_str::<String>(json).unwrap_err().to_string();
            assert_eq!(Text::from_json(json).unwrap_err().to_string(), expected);
        }
    }
}
