//! Reading an array's header.

use super::error::NumPyError;
use crate::printable::printable;
use crate::tensor::FileDType;

/// What begins an array, before its version.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// The longest header that is read. Only the fields of structured arrays make one longer than 200
/// bytes; NumPy itself wants to be asked beyond 10,000.
pub(super) const LONGEST: usize = 64 << 10;
/// Arrays of NumPy have no more axes.
const MOST_AXES: usize = 64;

/// What a header says.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// The type of the elements, as NumPy writes it.
    pub descr: String,
    pub fortran_order: bool,
    pub shape: Vec<usize>,
    /// Where the elements begin.
    pub end: u64,
}

impl Header {
    /// Reads the header of an array of which this is the begin.
    pub fn read(array: &str, start: &[u8]) -> Result<Header, NumPyError> {
        let not_an_array = || NumPyError::NotAnArray { array: array.to_owned() };
        let rest = start.strip_prefix(MAGIC).ok_or_else(not_an_array)?;
        let ([major, _], rest) = rest.split_first_chunk().ok_or_else(not_an_array)?;
        let (length, text) = match major {
            1 => rest.split_first_chunk().map(|(n, rest)| (u16::from_le_bytes(*n).into(), rest)),
            2 | 3 => rest.split_first_chunk().map(|(n, rest)| (u32::from_le_bytes(*n), rest)),
            _ => {
                let (array, major) = (array.to_owned(), *major);
                return Err(NumPyError::Version { array, major });
            }
        }
        .ok_or_else(not_an_array)?;
        let begin = (start.len() - text.len()) as u64;
        let wrong = |at: usize, problem: String| NumPyError::Header {
            array: array.to_owned(),
            offset: begin + at as u64,
            problem,
        };
        let Some(text) = usize::try_from(length).ok().and_then(|length| text.get(..length)) else {
            return Err(wrong(0, format!("it should have {length} bytes")));
        };
        let mut parser = Parser { text, at: 0 };
        match parser.dict() {
            Ok((descr, fortran_order, shape)) => {
                Ok(Header { descr, fortran_order, shape, end: begin + u64::from(length) })
            }
            Err(problem) => Err(wrong(parser.at, problem)),
        }
    }

    /// The dtype of the elements and whether their bytes come with the highest first; `None` for
    /// texts, dates, objects and structures.
    pub fn dtype(&self) -> Option<(FileDType, bool)> {
        let (order, kind) = self.descr.split_at_checked(1)?;
        let dtype = match kind {
            "b1" => FileDType::Bool,
            "i1" => FileDType::I8,
            "u1" => FileDType::U8,
            "i2" => FileDType::I16,
            "u2" => FileDType::U16,
            "i4" => FileDType::I32,
            "u4" => FileDType::U32,
            "i8" => FileDType::I64,
            "u8" => FileDType::U64,
            "f2" => FileDType::F16,
            "f4" => FileDType::F32,
            "f8" => FileDType::F64,
            "c8" => FileDType::C64,
            "c16" => FileDType::C128,
            _ => return None,
        };
        match order {
            "<" => Some((dtype, false)),
            ">" => Some((dtype, true)),
            // One byte has no order.
            "|" if dtype.bits() == 8 => Some((dtype, false)),
            _ => None,
        }
    }
}

/// A reader of the few things of Python that headers have.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    /// The whole dict: each of its three keys once.
    fn dict(&mut self) -> Result<(String, bool, Vec<usize>), String> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.eat(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            let twice = match key.as_str() {
                "descr" => descr.replace(self.descr()?).is_some(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => return Err(format!("the key `{}` is not known", printable(&key))),
            };
            if twice {
                return Err(format!("the key `{key}` comes twice"));
            }
            if !self.eat(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        if self.peek().is_some() {
            return Err("something follows the `}`".to_owned());
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok((descr, fortran_order, shape)),
            _ => Err("`descr`, `fortran_order` or `shape` is missing".to_owned()),
        }
    }

    /// A type, or the list of a structure's fields, which is told but not taken apart.
    fn descr(&mut self) -> Result<String, String> {
        if self.peek() != Some(b'[') {
            return self.string();
        }
        let (begin, mut depth) = (self.at, 0usize);
        while let Some(byte) = self.peek() {
            match byte {
                b'\'' | b'"' => drop(self.string()?),
                _ => self.at += 1,
            }
            match byte {
                b'[' | b'(' => depth += 1,
                b']' | b')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                let list = String::from_utf8_lossy(&self.text[begin..self.at]);
                return Ok(list.chars().take(200).collect());
            }
        }
        Err("the list of fields does not end".to_owned())
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.peek();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err("`True` or `False` is missing".to_owned())
    }

    fn shape(&mut self) -> Result<Vec<usize>, String> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.eat(b')') {
            shape.push(self.number()?);
            if shape.len() > MOST_AXES {
                return Err("there are more than 64 axes".to_owned());
            }
            if !self.eat(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(shape)
    }

    fn number(&mut self) -> Result<usize, String> {
        self.peek();
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = str::from_utf8(&self.text[self.at..self.at + digits]).ok();
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number) => {
                self.at += digits;
                // Python 2 wrote `3L`.
                if self.text.get(self.at) == Some(&b'L') {
                    self.at += 1;
                }
                Ok(number)
            }
            None => Err("an extent is no number".to_owned()),
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'));
        let quote = quote.ok_or("a text is missing")?;
        let rest = &self.text[self.at + 1..];
        let length = rest.iter().position(|&byte| byte == quote || byte == b'\\');
        let length = length.filter(|&length| rest[length] == quote).ok_or("a text does not end")?;
        self.at += length + 2;
        Ok(String::from_utf8_lossy(&rest[..length]).into_owned())
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        match self.eat(byte) {
            true => Ok(()),
            false => Err(format!("`{}` is missing", byte as char)),
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Header, NumPyError> {
        let start =
            [MAGIC, b"\x01\0", &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
        Header::read("a", &start)
    }

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        let header = read("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }     \n");
        let header = header.unwrap();
        assert_eq!((header.shape.as_slice(), header.fortran_order), (&[3, 4][..], false));
        assert_eq!(header.dtype(), Some((FileDType::F32, false)));
        let scalar = read("{\"shape\":(),\"fortran_order\":True,\"descr\":\"|u1\"}").unwrap();
        assert_eq!((scalar.shape.len(), scalar.dtype()), (0, Some((FileDType::U8, false))));
        let old = read("{'shape': (7L,), 'fortran_order': False, 'descr': '>i8'}").unwrap();
        assert_eq!((old.shape[0], old.dtype()), (7, Some((FileDType::I64, true))));
        let fields =
            "{'descr': [('a]', '<f4'), ('b', '<i4', (2,))], 'fortran_order': False, 'shape': (3,)}";
        let fields = read(fields).unwrap();
        assert_eq!(fields.descr, "[('a]', '<f4'), ('b', '<i4', (2,))]");
        assert_eq!(fields.dtype(), None);
    }

    #[test]
    fn what_is_no_header_is_refused_where_it_stands() {
        for (text, words) in [
            ("", "`{` is missing"),
            ("{'descr': '<f4'}", "is missing"),
            ("{'descr': '<f4', 'descr': '<f4'}", "twice"),
            ("{'other': 1}", "not known"),
            ("{'\u{1b}[2K': 1}", r"`\u{1b}[2K` is not known"),
            ("{'descr': '<f4", "does not end"),
            ("{'descr': [[[", "does not end"),
            ("{'shape': (-1,)}", "no number"),
            ("{'shape': (99999999999999999999,)}", "no number"),
            ("{'fortran_order': 1}", "True"),
            ("{'descr': __import__('os')}", "a text is missing"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': ()} x", "follows"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(words) && message.contains("`a`"), "{message}");
        }
        let axes = format!("{{'shape': ({})}}", "1,".repeat(65));
        assert!(read(&axes).unwrap_err().to_string().contains("64 axes"));
        let long = Header::read("a", b"\x93NUMPY\x02\0\xff\xff\xff\xff{}").unwrap_err();
        assert!(long.to_string().contains("should have 4294967295 bytes"));
        assert!(
            Header::read("a", b"\x93NUMPY\x04\0").unwrap_err().to_string().contains("version 4")
        );
    }
}
