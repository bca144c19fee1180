//! The machine that runs a pickle: a stack, a memo, and the few instructions that describe tensors
//! (<https://docs.python.org/3/library/pickletools.html>).
//!
//! Each instruction makes at most one object, and objects refer to each other by number: the memory
//! of a machine is that of its pickle times a constant, however often its parts are repeated. What a
//! tensor copies, its shape and strides, has a budget.

use super::error::PyTorchError;
use super::globals::Global;
use crate::tensor::FileDType;
use std::collections::HashMap;
use std::ops::Range;

/// Names of objects are not longer.
const LONGEST_NAME: usize = 256;
/// What tensors and the list of their names take may be this many times as long as the pickle, and
/// some.
const LONGER: usize = 16;
const SOME: usize = 64 << 10;
/// What an axis takes in a shape or in strides.
pub(super) const AXIS: usize = 32;

pub(super) type Result<T> = std::result::Result<T, PyTorchError>;

/// What a pickle builds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Something that is no tensor and holds none.
    Plain,
    Int(i64),
    /// Where in the pickle it stands first: equal texts are equal here.
    Text(Range<usize>),
    /// A tuple, list or set, by its number.
    Sequence(usize),
    /// By its number.
    Dict(usize),
    Global(Global),
    /// By its number.
    Storage(usize),
    /// By its number.
    Tensor(usize),
}

/// What makes a key of a dict the same as another.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Int(i64),
    /// Where the text begins and ends.
    Text(usize, usize),
}

impl Key {
    /// Of a key that makes a name.
    fn of(key: &Value) -> Option<Key> {
        match key {
            Value::Int(number) => Some(Key::Int(*number)),
            Value::Text(text) => Some(Key::Text(text.start, text.end)),
            _ => None,
        }
    }
}

/// Bytes in an entry of the archive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// The dtype of its elements; bytes if `None`.
    pub dtype: Option<FileDType>,
    /// The name of its entry.
    pub key: Range<usize>,
    /// How many elements it has.
    pub elements: u64,
}

/// A view of a storage.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub storage: usize,
    pub dtype: FileDType,
    /// Elements before its first.
    pub offset: u64,
    pub shape: Vec<usize>,
    /// From one index to the next, in elements.
    pub strides: Vec<u64>,
}

/// A pickle while it runs, and what it has built.
pub(super) struct Machine<'a> {
    pub(super) pickle: &'a [u8],
    at: usize,
    /// Where the instruction at hand begins.
    begin: usize,
    stack: Vec<Value>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Where each text stands first.
    texts: HashMap<&'a str, Range<usize>>,
    pub sequences: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    /// Where in which of the dicts a key is.
    places: HashMap<(usize, Key), usize>,
    pub storages: Vec<Storage>,
    pub tensors: Vec<Tensor>,
    /// What tensors, and then the list of their names, may still take.
    pub budget: usize,
}

impl<'a> Machine<'a> {
    pub fn new(pickle: &'a [u8]) -> Machine<'a> {
        Machine {
            pickle,
            at: 0,
            begin: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            texts: HashMap::new(),
            sequences: Vec::new(),
            dicts: Vec::new(),
            places: HashMap::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
            budget: pickle.len().saturating_mul(LONGER).saturating_add(SOME),
        }
    }

    /// Runs the pickle to its end: what it was made of.
    pub fn run(&mut self) -> Result<Value> {
        loop {
            self.begin = self.at;
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    /// The text that lies here in the pickle.
    pub fn text(&self, at: &Range<usize>) -> &'a str {
        // It was UTF-8 when it was put on the stack.
        str::from_utf8(&self.pickle[at.clone()]).unwrap_or_default()
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            // PROTO, FRAME
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            // MARK
            b'(' => self.marks.push(self.stack.len()),
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' | 0x88 | 0x89 => self.push(Value::Plain),
            b'G' => self.plain(8)?,
            // BININT, BININT1, BININT2, LONG1
            b'J' => {
                let bytes = self.array()?;
                self.push(Value::Int(i32::from_le_bytes(bytes).into()));
            }
            b'K' => {
                let byte = self.byte()?;
                self.push(Value::Int(byte.into()));
            }
            b'M' => {
                let bytes = self.array()?;
                self.push(Value::Int(u16::from_le_bytes(bytes).into()));
            }
            0x8a => self.long()?,
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
            b'X' | 0x8c | 0x8d => {
                let bytes = self.counted(opcode)?;
                let Ok(text) = str::from_utf8(&self.pickle[bytes.clone()]) else {
                    return self.wrong("a text is not UTF-8");
                };
                let first = self.texts.entry(text).or_insert(bytes).clone();
                self.push(Value::Text(first));
            }
            // BINSTRING, SHORT_BINSTRING, BINBYTES, SHORT_BINBYTES, BINBYTES8
            b'T' | b'U' | b'B' | b'C' | 0x8e => {
                self.counted(opcode)?;
                self.push(Value::Plain);
            }
            // EMPTY_TUPLE, EMPTY_LIST, EMPTY_SET
            b')' | b']' | 0x8f => self.sequence(Vec::new()),
            // TUPLE1, TUPLE2, TUPLE3
            0x85..=0x87 => {
                let values = self.pop_last(usize::from(opcode - 0x84))?;
                self.sequence(values);
            }
            // TUPLE, FROZENSET
            b't' | 0x91 => {
                let values = self.pop_mark()?;
                self.sequence(values);
            }
            // APPEND, APPENDS, ADDITEMS
            b'a' => {
                let value = self.pop_last(1)?;
                self.extend(value)?;
            }
            b'e' | 0x90 => {
                let values = self.pop_mark()?;
                self.extend(values)?;
            }
            // EMPTY_DICT
            b'}' => self.dict(Vec::new()),
            // SETITEM, SETITEMS
            b's' => {
                let pair = self.pop_last(2)?;
                self.set(pair)?;
            }
            b'u' => {
                let pairs = self.pop_mark()?;
                self.set(pairs)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let index = self.byte()?;
                self.remember(index.into())?;
            }
            b'r' => {
                let bytes = self.array()?;
                self.remember(u32::from_le_bytes(bytes))?;
            }
            0x94 => match u32::try_from(self.memo.len()) {
                Ok(index) => self.remember(index)?,
                Err(_) => return self.wrong("it remembers too much"),
            },
            // BINGET, LONG_BINGET
            b'h' => {
                let index = self.byte()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let bytes = self.array()?;
                self.recall(u32::from_le_bytes(bytes))?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => match &self.pop_last(2)?[..] {
                // Two texts may name many objects: what each takes must be bounded.
                [Value::Text(module), Value::Text(name)]
                    if module.len().max(name.len()) <= LONGEST_NAME =>
                {
                    self.global(self.text(module), self.text(name))?;
                }
                [Value::Text(_), Value::Text(_)] => {
                    return self.wrong("an object has a name of more than 256 bytes");
                }
                _ => return self.wrong("an object is named by something that is no text"),
            },
            // REDUCE, NEWOBJ
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let made = self.call(&callable, &arguments)?;
                self.push(made);
            }
            // BUILD: attributes, such as the `_metadata` of a state dict, hold no weights. To a
            // tensor they would be a new storage, shape and strides.
            b'b' => {
                self.pop()?;
                match self.stack.last() {
                    None | Some(Value::Global(_) | Value::Storage(_)) => {
                        return self.wrong("attributes are given to something that has none");
                    }
                    Some(Value::Tensor(_)) => {
                        return self.wrong("a tensor is given other elements after it was made");
                    }
                    Some(_) => {}
                }
            }
            // BINPERSID
            b'Q' => self.storage()?,
            _ => return Err(PyTorchError::Opcode { opcode, offset: self.begin }),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::find(module, name) {
            Some(global) => {
                self.push(Value::Global(global));
                Ok(())
            }
            None => {
                let global = format!("{module}.{name}");
                Err(PyTorchError::Global { global, offset: self.begin })
            }
        }
    }

    /// A whole number of any length; one that is too long is no size of anything.
    fn long(&mut self) -> Result<()> {
        let length = self.byte()?.into();
        let bytes = &self.pickle[self.take(length)?];
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut extended = [if negative { 0xff } else { 0 }; 8];
        self.push(match extended.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(extended))
            }
            None => Value::Plain,
        });
        Ok(())
    }

    pub(super) fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    fn plain(&mut self, bytes: usize) -> Result<()> {
        self.take(bytes)?;
        self.push(Value::Plain);
        Ok(())
    }

    fn sequence(&mut self, values: Vec<Value>) {
        self.sequences.push(values);
        self.push(Value::Sequence(self.sequences.len() - 1));
    }

    fn dict(&mut self, pairs: Vec<(Value, Value)>) {
        self.dicts.push(pairs);
        self.push(Value::Dict(self.dicts.len() - 1));
    }

    /// Appends to the sequence on the stack.
    fn extend(&mut self, values: Vec<Value>) -> Result<()> {
        match self.stack.last() {
            Some(&Value::Sequence(index)) => {
                self.sequences[index].extend(values);
                Ok(())
            }
            _ => self.wrong("something is appended to what is no list"),
        }
    }

    /// Adds keys and values, in turn, to the dict on the stack.
    fn set(&mut self, pairs: Vec<Value>) -> Result<()> {
        match self.stack.last() {
            Some(&Value::Dict(index)) if pairs.len().is_multiple_of(2) => {
                let mut pairs = pairs.into_iter();
                while let (Some(key), Some(value)) = (pairs.next(), pairs.next()) {
                    let dict = &mut self.dicts[index];
                    let next = dict.len();
                    let place = match Key::of(&key) {
                        Some(key) => *self.places.entry((index, key)).or_insert(next),
                        None => next,
                    };
                    match dict.get_mut(place) {
                        // As in Python, the later value takes the place of the earlier.
                        Some(pair) => pair.1 = value,
                        None => dict.push((key, value)),
                    }
                }
                Ok(())
            }
            _ => self.wrong("keys and values do not go into a dict, or not in pairs"),
        }
    }

    fn remember(&mut self, index: u32) -> Result<()> {
        match self.stack.last() {
            Some(value) => {
                self.memo.insert(index, value.clone());
                Ok(())
            }
            None => self.wrong("nothing is there to be remembered"),
        }
    }

    fn recall(&mut self, index: u32) -> Result<()> {
        match self.memo.get(&index) {
            Some(value) => {
                let value = value.clone();
                self.push(value);
                Ok(())
            }
            None => self.wrong("it recalls what it has not remembered"),
        }
    }

    pub(super) fn pop(&mut self) -> Result<Value> {
        let above = self.marks.last().is_none_or(|&mark| self.stack.len() > mark);
        match self.stack.pop().filter(|_| above) {
            Some(value) => Ok(value),
            None => self.wrong("its stack is empty"),
        }
    }

    fn pop_last(&mut self, count: usize) -> Result<Vec<Value>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count).filter(|&from| from >= floor) {
            Some(from) => Ok(self.stack.split_off(from)),
            None => self.wrong("its stack is empty"),
        }
    }

    /// All above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => self.wrong("it looks for a mark that is not there"),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        // There are as many as were taken.
        Ok(self.pickle[bytes].try_into().unwrap_or([0; N]))
    }

    /// The bytes after a length, which has as many bytes as the instruction wants.
    fn counted(&mut self, opcode: u8) -> Result<Range<usize>> {
        let length = match opcode {
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.array()?).into(),
            0x8d | 0x8e => u64::from_le_bytes(self.array()?),
            _ => self.byte()?.into(),
        };
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.pickle[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(PyTorchError::CutShort { offset: self.pickle.len() });
        };
        self.at += length + 1;
        match str::from_utf8(&rest[..length]) {
            Ok(line) => Ok(line),
            Err(_) => self.wrong("a name is not UTF-8"),
        }
    }

    fn take(&mut self, length: usize) -> Result<Range<usize>> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.pickle.len());
        let end = end.ok_or(PyTorchError::CutShort { offset: self.pickle.len() })?;
        let taken = self.at..end;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn wrong<T>(&self, problem: &'static str) -> Result<T> {
        Err(PyTorchError::Pickle { offset: self.begin, problem })
    }
}
