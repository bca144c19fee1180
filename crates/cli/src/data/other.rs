//! Files that hold data, or are taken for it, and are not read here: told by what they begin with.

use super::{BEGINNING, tensors};
use crate::error::Failure;
use crate::flags::quoted;
use crate::text::python;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use warmstart_checkpoint::FileKind;
use warmstart_graph::words::printable_path;

/// What a file is, and how to come from it to one that is read. In the help, `{python}` stands for the
/// file's name as Python has it, `{shell}` as a shell does; `{csv}` and `{npy}` for names of files that are
/// not there yet.
struct Other {
    what: &'static str,
    help: &'static str,
}

/// What files of one kind begin with.
type Begins = &'static [&'static [u8]];

/// The kinds that are told by their first bytes.
const BY_MAGIC: [(Begins, Other); 8] = [
    (
        &[b"version https://git-lfs"],
        Other {
            what: "a git-lfs pointer, a small text in place of the data",
            help: FileKind::GitLfsPointer.help(),
        },
    ),
    (
        // With what follows there, as a column may be called so.
        &[b"PAR1\x15", b"PAR1\0"],
        Other {
            what: "a Parquet file",
            help: "export it as CSV, for example with pandas: \
                   `pandas.read_parquet({python}).to_csv({csv}, index=False)`",
        },
    ),
    (
        &[b"ARROW1\0", b"FEA1\0"],
        Other {
            what: "an Arrow file (Feather)",
            help: "export it as CSV, for example with pandas: \
                   `pandas.read_feather({python}).to_csv({csv}, index=False)`",
        },
    ),
    (
        &[b"\x89HDF\r\n\x1a\n"],
        Other {
            what: "an HDF5 file",
            help: "export it as CSV, for example with pandas: \
                   `pandas.read_hdf({python}).to_csv({csv}, index=False)`; or read its arrays \
                   with `h5py` and save them with `numpy.savez`",
        },
    ),
    (
        &[b"SQLite format 3\0"],
        Other {
            what: "an SQLite database",
            help: "export a table of it as CSV, for example with \
                   `sqlite3 -header -csv {shell} \"select * from <table>\" > {shell_csv}`",
        },
    ),
    (&[b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"], EXCEL),
    (
        &[b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"],
        Other {
            what: "a picture",
            help: "give pictures as numbers, a row for each: as IDX, or with `numpy.save` as an array of bytes",
        },
    ),
    (
        &[b"PK\x05\x06"],
        Other { what: "a ZIP archive with nothing in it", help: "download or write it again" },
    ),
];

const EXCEL: Other = Other {
    what: "an Excel workbook",
    help: "save its sheet as CSV, or with pandas: \
           `pandas.read_excel({python}).to_csv({csv}, index=False)`",
};
const OPEN_DOCUMENT: Other = Other { what: "an OpenDocument spreadsheet", ..EXCEL };
const PICKLE: Other = Other {
    what: "a Python pickle",
    help: "where you trust its author, as it may run any program when it is loaded, export it as CSV, for \
           example with pandas: `pandas.read_pickle({python}).to_csv({csv}, index=False)`",
};
const JSON_LINES: Other = Other {
    what: "JSON, an object in each line",
    help: "export it as CSV, for example with pandas: \
           `pandas.read_json({python}, lines=True).to_csv({csv}, index=False)`",
};
const JSON: Other = Other {
    what: "JSON",
    help: "export it as CSV, for example with pandas: \
           `pandas.read_json({python}).to_csv({csv}, index=False)`",
};
const JSON_ROWS: Other = Other {
    what: "JSON, a list of rows",
    help: "write it as CSV, each row in a line of its own without brackets, for example with pandas: \
           `pandas.read_json({python}).to_csv({csv}, index=False, header=False)`; or as an array: \
           `numpy.save({npy}, json.load(open({python})))`",
};
const PAGE: Other = Other {
    what: "an HTML page or an answer in XML, as a server sends when a download needs a login or the address is \
           wrong",
    help: FileKind::Html.help(),
};

/// Refuses a file that begins as one of these.
pub fn refuse(file: &Path, begin: &[u8]) -> Result<(), Failure> {
    let Some(Other { what, help }) = recognise(begin) else { return Ok(()) };
    let message = format!("`{}` is {what}, and data is not read from it", printable_path(file));
    Err(Failure::new(message).help(named(help, file)))
}

/// Those that hold data and never weights.
const TABLES: [&str; 7] = [
    "a Parquet file",
    "an Arrow file (Feather)",
    "an SQLite database",
    EXCEL.what,
    OPEN_DOCUMENT.what,
    JSON_LINES.what,
    JSON_ROWS.what,
];

/// The failure that a file is data, where a checkpoint is meant.
pub fn no_checkpoint(file: &Path) -> Option<Failure> {
    let mut begin = Vec::new();
    File::open(file).ok()?.take(BEGINNING).read_to_end(&mut begin).ok()?;
    let extension = file.extension().and_then(|extension| extension.to_str());
    let is_csv = extension
        .is_some_and(|extension| ["csv", "tsv"].contains(&&*extension.to_ascii_lowercase()));
    let (what, export) = match recognise(&begin) {
        Some(Other { what, help }) if TABLES.contains(what) => {
            (*what, format!("; for that, {}", named(help, file)))
        }
        // Other texts may be anything.
        None if is_csv && !begin.is_empty() && !begin.contains(&0) => {
            ("a text with a row in each line", String::new())
        }
        _ => return None,
    };
    let name = printable_path(file);
    let message = format!("`{name}` is {what}, which is data, and no checkpoint");
    Some(Failure::new(message).help(format!(
        "name a checkpoint, such as a `.safetensors` file or the directory of a run; to train a model on this data, name it as `file` under [data] in a TOML file, and give that to `warmstart train`{export}"
    )))
}

/// What JSON a text is, and how data comes from it to a file that is read. Only an object is taken for it
/// by its beginning: a list may be much else.
pub fn json(file: &Path, text: &str) -> Option<(&'static str, String)> {
    let is_whole = || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let begin = text.trim_start_matches('\u{feff}').trim_start();
    if !begin.starts_with('{') && !is_whole() {
        return None;
    }
    let Other { what, help } = in_json(begin.as_bytes())?;
    Some((what, named(help, file)))
}

/// A help with the names of the user's file, and of those that may be made from it.
fn named(help: &str, file: &Path) -> String {
    let new = |extension: &str| {
        let plain = file.with_extension(extension);
        let numbered = (2..).map(|n| file.with_extension(format!("{n}.{extension}")));
        let mut free = [plain].into_iter().chain(numbered).filter(|file| !file.exists());
        free.next().unwrap_or_else(|| format!("data.{extension}").into())
    };
    let in_python = |file: &Path| python(&file.to_string_lossy());
    let in_shell = |file: &Path| quoted(&printable_path(file));
    let value = |name: &str| match name {
        "python" => Some(in_python(file)),
        "csv" => Some(in_python(&new("csv"))),
        "npy" => Some(in_python(&new("npy"))),
        "shell" => Some(in_shell(file)),
        "shell_csv" => Some(in_shell(&new("csv"))),
        _ => None,
    };
    // In one pass, as a file may be called `{csv}`.
    let mut parts = help.split('{');
    let mut named = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}').and_then(|(name, after)| Some((value(name)?, after))) {
            Some((value, after)) => named.extend([value.as_str(), after]),
            None => named.extend(["{", part]),
        }
    }
    named
}

fn recognise(begin: &[u8]) -> Option<&'static Other> {
    if begin.starts_with(b"PK\x03\x04") {
        return in_zip(begin);
    }
    // The length that safetensors begins with may look like anything.
    if tensors::begins(begin) {
        return None;
    }
    let by_magic = BY_MAGIC.iter().find(|(magics, _)| magics.iter().any(|m| begin.starts_with(m)));
    if let Some((_, other)) = by_magic {
        return Some(other);
    }
    // What a pickle of protocol 2 to 5 begins with. No text in UTF-8 does.
    if matches!(begin, [0x80, 2..=5, ..]) {
        return Some(&PICKLE);
    }
    let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(word.as_bytes()))
    };
    // A first line of names may begin so too: `<date>,<time>`, `[m],[s]`, `{a},{b}`.
    if ["<!doctype", "<html", "<?xml"].into_iter().any(begins) {
        return Some(&PAGE);
    }
    in_json(text)
}

/// Which JSON a text begins as.
fn in_json(text: &[u8]) -> Option<&'static Other> {
    let (&bracket, inside) = text.split_first()?;
    let next = inside.trim_ascii_start().first();
    match (bracket, next) {
        (b'{', Some(b'"' | b'}')) if in_lines(text) => Some(&JSON_LINES),
        (b'[', Some(b'[')) => Some(&JSON_ROWS),
        (b'{', Some(b'"' | b'}')) | (b'[', Some(b'{' | b'"')) => Some(&JSON),
        _ => None,
    }
}

/// Whether an object ends with the first line, and another begins with one below it.
fn in_lines(text: &[u8]) -> bool {
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.next().unwrap_or_default();
    first.ends_with(b"}") && lines.any(|line| line.starts_with(b"{"))
}

/// Which spreadsheet a ZIP archive is, by the names of the files in it, as far as it was looked at.
fn in_zip(begin: &[u8]) -> Option<&'static Other> {
    /// Where the length of a file's name is in the header before it, and where the name.
    const NAME: (usize, usize) = (26, 30);
    let headers = (0..begin.len()).filter(|&at| begin[at..].starts_with(b"PK\x03\x04"));
    let mut names = headers.filter_map(|at| {
        let length = begin.get(at + NAME.0..)?.first_chunk::<2>()?;
        begin.get(at + NAME.1..)?.get(..usize::from(u16::from_le_bytes(*length)))
    });
    names.find_map(|name| {
        // An archive of PyTorch may have a folder `xl` too.
        let part = [&b".xml"[..], b".rels", b".bin"].iter().any(|end| name.ends_with(end));
        let spreadsheet = b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet";
        if name.starts_with(b"xl/") && part {
            Some(&EXCEL)
        } else if name == b"mimetype" && begin.get(NAME.1..)?.starts_with(spreadsheet) {
            Some(&OPEN_DOCUMENT)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files in an archive as it has them: each with its header.
    fn zip(files: &[(&str, &str)]) -> Vec<u8> {
        let file = |(name, text): &(&str, &str)| {
            let mut header = [0; 30];
            header[..4].copy_from_slice(b"PK\x03\x04");
            header[26] = u8::try_from(name.len()).unwrap();
            [&header, name.as_bytes(), text.as_bytes()].concat()
        };
        files.iter().flat_map(file).collect()
    }

    #[test]
    fn what_is_no_table_is_told_with_what_to_do() {
        let excel = zip(&[("[Content_Types].xml", "..."), ("xl/workbook.xml", "...")]);
        let mime = "application/vnd.oasis.opendocument.spreadsheet";
        let open_document = zip(&[("mimetype", mime), ("content.xml", "...")]);
        let cases: [(&[u8], &str, &str); 24] = [
            (b"PAR1\x15\x04", "a Parquet file", "read_parquet"),
            (b"ARROW1\0\0", "an Arrow file (Feather)", "read_feather"),
            (b"FEA1\0", "an Arrow file (Feather)", "to_csv"),
            (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file", "h5py"),
            (b"SQLite format 3\0", "an SQLite database", "-csv my-data \"select"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an Excel workbook", "read_excel"),
            (&excel, "an Excel workbook", "save its sheet as CSV"),
            (&open_document, "an OpenDocument spreadsheet", "save its sheet as CSV"),
            (b"\x80\x02}q\0", "a Python pickle", "trust"),
            (b"\x80\x05\x95\x01", "a Python pickle", "read_pickle"),
            (b"{\"a\": 1}\n{\"a\": 2}\n", "JSON, an object in each line", "lines=True"),
            (b"\xef\xbb\xbf\n{\"a\": 1}\r\n{\"a\": 2}", "JSON, an object in each line", "to_csv"),
            (
                b"{ \"a\": [1, 2],\n \"b\": {\"c\": 1} }\n",
                "JSON",
                "read_json(\"my-data\").to_csv(\"my-data.csv\"",
            ),
            (b"{}", "JSON", "to_csv"),
            (
                b" [\n  {\"a\": 1},\n  {\"a\": 2}\n]",
                "JSON",
                "read_json(\"my-data\").to_csv(\"my-data.csv\"",
            ),
            (b"[[1, 2], [3, 4]]", "JSON, a list of rows", "header=False"),
            (b"[\"a\"]", "JSON", "to_csv"),
            (b"<!DOCTYPE html><html>", "an HTML page", "download the file itself"),
            (b"\n<html>", "an HTML page", "download the file itself"),
            (b"<?xml version=\"1.0\"?>", "an HTML page or an answer in XML", "download"),
            (b"\x89PNG\r\n\x1a\n\0", "a picture", "numpy.save"),
            (b"\xff\xd8\xff\xe0", "a picture", "IDX"),
            (b"PK\x05\x06\0", "a ZIP archive with nothing in it", "again"),
            (b"version https://git-lfs.github.com/spec/v1", "a git-lfs pointer", "git lfs pull"),
        ];
        for (begin, what, help) in cases {
            let failure = refuse(Path::new("my-data"), begin).expect_err(what);
            let told = failure.to_string();
            assert!(told.starts_with(&format!("`my-data` is {what}")), "{begin:?}: {told}");
            let advice = miette::Diagnostic::help(&failure).expect(what).to_string();
            assert!(advice.contains(help), "{begin:?}: {advice}");
        }
    }

    #[test]
    fn no_file_that_is_there_is_advised_to_be_written() {
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("data.csv");
        let advised = |name: &str| {
            let file = python(&here.path().join(name).to_string_lossy());
            named("{csv}", &here.path().join("data.csv")) == file
        };
        assert!(advised("data.csv"));
        std::fs::write(&file, "[]").unwrap();
        assert!(advised("data.2.csv"));
        std::fs::write(here.path().join("data.2.csv"), "").unwrap();
        assert!(advised("data.3.csv"));
        assert_eq!(named("{python}", Path::new("a\"b.json")), "\"a\\\"b.json\"");
        // Escapes are Python's, once, and what moves the cursor is none of them.
        assert_eq!(named("{python}", Path::new("a\nb\\\u{202e}")), r#""a\x0ab\\\u202e""#);
        assert_eq!(
            named("{ {python} {csv}", Path::new("{csv}.json")),
            r#"{ "{csv}.json" "{csv}.csv""#
        );
    }

    #[test]
    fn what_is_read_is_not_refused() {
        let npz = zip(&[("xl/a.npy", "...")]);
        let pytorch = zip(&[("xl/data.pkl", "..."), ("xl/version", "3")]);
        // Header lengths whose bytes begin as a pickle, and as JSON in lines.
        let lengths = [0x7d_0280u64, 0x7b_22_7b];
        let safetensors = lengths.map(|length| [&length.to_le_bytes()[..], b"{\"a\":{}}"].concat());
        let cases: [&[u8]; 16] = [
            b"",
            b"a,b,class\n1,2,x\n",
            b"1,2,x\n",
            b"{a},{b}\n1,2\n",
            b"[m],[s]\n1,2\n",
            b"[1],[2]\n1,2\n",
            b"<TICKER>,<PER>\nx,1\n",
            b"PAR1,FEA1\n1,2\n",
            b"\x1f\x8b\x08",
            b"\0\0\x08\x03",
            b"\x93NUMPY\x01\0",
            b"PK\x03\x04",
            &npz,
            &pytorch,
            &safetensors[0],
            &safetensors[1],
        ];
        for begin in cases {
            assert!(refuse(Path::new("a"), begin).is_ok(), "{begin:?}");
        }
    }
}
