//! The variables of a session as a table.

use crate::store::{Entry, VariableInfo};
use comfy_table::{CellAlignment, Table, presets};
use std::fmt;
use warmstart_graph::words::printable;

/// The variables of a session, in declaration order. Its `Display` is a table with name, dtype,
/// shape, bytes and origin.
#[derive(Clone, Copy, Debug)]
pub struct VariableTable<'a>(pub(crate) &'a [Entry]);

impl<'a> VariableTable<'a> {
    /// The variables in declaration order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a VariableInfo> + use<'a> {
        self.0.iter().map(|entry| &entry.info)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for VariableTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["name", "dtype", "shape", "bytes", "origin"]);
        for info in self.iter() {
            table.add_row([
                printable(info.name()).into_owned(),
                info.dtype().to_string(),
                info.shape().to_string(),
                info.variable.bytes().to_string(),
                info.origin.to_string(),
            ]);
        }
        if let Some(bytes) = table.column_mut(3) {
            bytes.set_cell_alignment(CellAlignment::Right);
        }
        f.write_str(&table.trim_fmt())
    }
}
