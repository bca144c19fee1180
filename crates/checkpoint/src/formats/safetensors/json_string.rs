//! Strings as JSON has them.

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use std::io::{self, Write};

/// A string as it stands in JSON, with its quotes and escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonString(Vec<u8>);

impl JsonString {
    pub fn of(text: &str) -> Result<JsonString, serde_json::Error> {
        let mut out = Vec::with_capacity(text.len() * 5 / 4);
        push_string(&mut out, text)?;
        Ok(JsonString(out))
    }

    /// A string that holds a value as JSON. Most of a header is that: it is written with its escapes at
    /// once.
    pub fn holding(value: &impl Serialize) -> Result<JsonString, serde_json::Error> {
        let mut out = vec![b'"'];
        value.serialize(&mut Serializer::with_formatter(&mut out, Within))?;
        out.push(b'"');
        Ok(JsonString(out))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// JSON within a string. Of all that it is made of, only the quotes of strings and what is escaped in
/// them is escaped once more.
struct Within;

impl Formatter for Within {
    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(br#"\""#)
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(br#"\""#)
    }

    fn write_char_escape<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let mut once = Vec::new();
        CompactFormatter.write_char_escape(&mut once, escape)?;
        once.iter().try_for_each(|byte| match byte {
            b'"' | b'\\' => writer.write_all(&[b'\\', *byte]),
            _ => writer.write_all(&[*byte]),
        })
    }
}

/// Appends a string as JSON has it. Much of a header is JSON in a string, every quote of it escaped:
/// this takes it a step at a time, whether a character is escaped or not.
pub(super) fn push_string(out: &mut Vec<u8>, text: &str) -> Result<(), serde_json::Error> {
    // Those that are escaped by more than a backslash are rare.
    if text.bytes().fold(u8::MAX, u8::min) < b' ' {
        return serde_json::to_writer(out, text);
    }
    const AT_ONCE: usize = 64;
    let mut escaped = [0; 2 * AT_ONCE];
    out.push(b'"');
    for piece in text.as_bytes().chunks(AT_ONCE) {
        let mut length = 0;
        for &byte in piece {
            // Written over unless it stays.
            escaped[length] = b'\\';
            length += usize::from(matches!(byte, b'"' | b'\\'));
            escaped[length] = byte;
            length += 1;
        }
        out.extend_from_slice(&escaped[..length]);
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn strings_are_what_serde_json_makes_of_them() {
        let long = r#"{"a":"b\"}é"#.repeat(99);
        let texts =
            ["", "a", "\"", "\\", "\"\"\\\\", "é\u{7f}\u{2028}😀", "a\nb\"", "\0\u{1b}\t/", &long];
        for text in texts {
            let own = JsonString::of(text).unwrap();
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(str::from_utf8(own.as_bytes()).unwrap(), expected);
        }
        // And what holds values of every kind.
        let values: BTreeMap<&str, (Option<f32>, [i64; 2], bool)> =
            texts.into_iter().map(|text| (text, (Some(-0.1), [i64::MIN, 7], true))).collect();
        let own = JsonString::holding(&(&values, texts, None::<u8>, f64::NAN)).unwrap();
        let json = serde_json::to_string(&(&values, texts, None::<u8>, f64::NAN)).unwrap();
        assert_eq!(own, JsonString::of(&json).unwrap());
    }
}
