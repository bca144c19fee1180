//! ZIP archives and pickles, byte by byte as their specifications say: nothing here knows how they
//! are read.
#![allow(dead_code)] // Each test binary uses its own part.

use flate2::Compression;
use flate2::write::DeflateEncoder;
use std::io::Write;

/// An archive to be written (APPNOTE 4.3).
#[derive(Default)]
pub struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

/// How one entry is written.
pub struct Entry<'a> {
    pub name: &'a [u8],
    /// What stands in the archive.
    pub stored: &'a [u8],
    pub crc32: u32,
    pub size: u32,
    pub method: u16,
    pub flags: u16,
}

pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl Zip {
    pub fn stored(self, name: &str, bytes: &[u8]) -> Zip {
        let (name, size) = (name.as_bytes(), bytes.len() as u32);
        let crc32 = crc32(bytes);
        self.entry(Entry { name, stored: bytes, crc32, size, method: 0, flags: 0 })
    }

    pub fn deflated(self, name: &str, bytes: &[u8]) -> Zip {
        let (name, size) = (name.as_bytes(), bytes.len() as u32);
        let (stored, crc32) = (&deflate(bytes)[..], crc32(bytes));
        self.entry(Entry { name, stored, crc32, size, method: 8, flags: 0 })
    }

    pub fn entry(mut self, entry: Entry<'_>) -> Zip {
        let begin = self.bytes.len() as u32;
        let common = common(&entry);
        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        self.bytes.extend(entry.name);
        self.bytes.extend(entry.stored);
        self.list(&entry, begin);
        self
    }

    /// An entry in the list of contents alone, whose bytes begin at `begin`.
    pub fn list(&mut self, entry: &Entry<'_>, begin: u32) {
        self.directory.extend(b"PK\x01\x02\x14\0");
        self.directory.extend(common(entry));
        // Comment, disk, attributes.
        self.directory.extend([0; 10]);
        self.directory.extend(begin.to_le_bytes());
        self.directory.extend(entry.name);
        self.entries += 1;
    }

    pub fn finish(self) -> Vec<u8> {
        let Zip { mut bytes, directory, entries } = self;
        let begin = bytes.len() as u32;
        bytes.extend(&directory);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend(entries.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes.extend((directory.len() as u32).to_le_bytes());
        bytes.extend(begin.to_le_bytes());
        bytes.extend([0, 0]);
        bytes
    }
}

/// What the header of an entry and its line in the list have in common.
fn common(entry: &Entry<'_>) -> Vec<u8> {
    let mut bytes = vec![20, 0];
    bytes.extend(entry.flags.to_le_bytes());
    bytes.extend(entry.method.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(entry.crc32.to_le_bytes());
    bytes.extend((entry.stored.len() as u32).to_le_bytes());
    bytes.extend(entry.size.to_le_bytes());
    bytes.extend((entry.name.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// A file of `torch.save`: this pickle and these storages, by their keys.
pub fn torch(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let whole = [b"\x80\x02", pickle, b"."].concat();
    let mut zip = Zip::default().stored("archive/data.pkl", &whole);
    zip = zip.stored("archive/byteorder", b"little");
    for (key, bytes) in storages {
        zip = zip.stored(&format!("archive/data/{key}"), bytes);
    }
    zip.stored("archive/version", b"3\n").finish()
}

/// Instructions of a pickle (`Lib/pickletools.py`).
pub mod pickle {
    pub fn text(text: &str) -> Vec<u8> {
        [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    pub fn int(number: i32) -> Vec<u8> {
        [b"J", &number.to_le_bytes()[..]].concat()
    }

    pub fn global(module: &str, name: &str) -> Vec<u8> {
        format!("c{module}\n{name}\n").into_bytes()
    }

    pub fn tuple(values: &[Vec<u8>]) -> Vec<u8> {
        [b"(", &values.concat()[..], b"t"].concat()
    }

    pub fn list(values: &[Vec<u8>]) -> Vec<u8> {
        [b"](", &values.concat()[..], b"e"].concat()
    }

    pub fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pairs = pairs.iter().flat_map(|(key, value)| [text(key), value.clone()]);
        [b"}(", &pairs.collect::<Vec<_>>().concat()[..], b"u"].concat()
    }

    pub fn call(callable: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
        [&callable[..], &tuple(arguments), b"R"].concat()
    }

    pub fn ordered_dict() -> Vec<u8> {
        [&global("collections", "OrderedDict")[..], b")R"].concat()
    }

    /// `class` such as `torch.FloatStorage`.
    pub fn storage(class: &str, key: &str, elements: i32) -> Vec<u8> {
        let (module, name) = class.rsplit_once('.').unwrap();
        let class = global(module, name);
        let id = [text("storage"), class, text(key), text("cpu"), int(elements)];
        [&tuple(&id)[..], b"Q"].concat()
    }

    pub fn ints(numbers: &[usize]) -> Vec<u8> {
        tuple(&numbers.iter().map(|&number| int(number as i32)).collect::<Vec<_>>())
    }

    pub fn tensor(storage: Vec<u8>, offset: i32, shape: &[usize], strides: &[usize]) -> Vec<u8> {
        let arguments =
            [storage, int(offset), ints(shape), ints(strides), b"\x89".to_vec(), ordered_dict()];
        call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
    }

    /// With a dtype of its own, as the newer ones have.
    pub fn tensor_v3(storage: Vec<u8>, shape: &[usize], strides: &[usize], dtype: &str) -> Vec<u8> {
        let arguments = [
            storage,
            int(0),
            ints(shape),
            ints(strides),
            b"\x89".to_vec(),
            ordered_dict(),
            global("torch", dtype),
        ];
        call(global("torch._utils", "_rebuild_tensor_v3"), &arguments)
    }
}
