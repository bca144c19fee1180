//! Classes of products, and of rows that are reduced, within which the same kernel is the fastest,
//! and the table of those that were measured before a release.
//!
//! A class has also whether anything is fused into the kernel, and which kernels there are to
//! choose from (`tune/`). M and N are rounded so that about the same part of the tiles lies past
//! the edges. So batches of 33 to 64 rows are one class, and one of 65 is measured for itself.
//!
//! The table has lines for software adapters only: no GPU was measured yet, and there the rule in
//! `matmul.rs` is all there is. `warmstart bench kernels` prints the lines of the adapter it runs
//! on, to be sent in.

use super::Target;
use super::matmul::{Operand, Product, Rung};
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// A class of products, as the words `1 64 128 1024 f32n4 f32n4`: how many products, M, N and K, each
/// rounded up, and of both operands the dtype, whether it is read as it lies (`n`) or transposed
/// (`t`), and how many elements can be read at a time.
///
/// How much of a kernel's tiles lies past the edges goes by M and N. So these are rounded up to a power
/// of two if one tile of 32 holds them, to a multiple of 32 up to 256, so that all of a class have as many
/// tiles, and above to a multiple of an eighth of the next power of two, which is 64 or more. The others
/// only say how long a kernel runs: powers of two.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Class(String);

impl Class {
    pub fn of(product: &Product) -> Class {
        let Product { batch, m, n, k, a, b, .. } = *product;
        let [batch, m, n, k] = [power_of_two(batch), tiled(m), tiled(n), power_of_two(k)];
        let [a_fours, b_fours] = product.fours();
        let (a, b) = (operand(&a, a_fours), operand(&b, b_fours));
        Class(format!("{batch} {m} {n} {k} {a} {b}"))
    }

    /// That of so many rows of a width, each of which so many lanes of a kernel of this name reduce: its
    /// name, rows and width rounded up to powers of two, and the lanes.
    pub fn of_rows(kernel: &str, rows: usize, width: usize, lanes: usize) -> Class {
        Class(format!("{kernel} {} {} {lanes}", power_of_two(rows), power_of_two(width)))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn operand(operand: &Operand, has_fours: bool) -> String {
    let order = if operand.column == 1 { 'n' } else { 't' };
    let together = match (has_fours, operand.has_pairs()) {
        (true, _) => 4,
        (false, true) => 2,
        (false, false) => 1,
    };
    format!("{}{order}{together}", operand.dtype)
}

/// What cannot be rounded up stays as it is: then nothing is allocated of that size either.
fn power_of_two(extent: usize) -> usize {
    if extent == 0 { 0 } else { extent.checked_next_power_of_two().unwrap_or(extent) }
}

fn tiled(extent: usize) -> usize {
    match extent {
        0..=32 => power_of_two(extent),
        _ => {
            let step = (power_of_two(extent) / 8).max(32);
            extent.checked_next_multiple_of(step).unwrap_or(extent)
        }
    }
}

/// What was measured before the release; its first lines say how.
const SHIPPED: &str = include_str!("kernels.txt");

/// The kernels of [`SHIPPED`], by adapter class and class of products.
static TABLE: LazyLock<HashMap<String, Rung>> = LazyLock::new(|| lines(SHIPPED).collect());

/// The lines of a table, without those that are comments. A line is the class of adapters, the six
/// words of a class of products, a kernel, and how that was found out.
fn lines(table: &str) -> impl Iterator<Item = (String, Rung)> {
    table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (key, rest) = words.split_at_checked(7)?;
        Some((key.join(" "), Rung::named(rest.first()?)?))
    })
}

/// A table of kernels: which one is for a class of adapters and one of products.
pub(crate) type Table = fn(&str) -> Option<Rung>;

/// The table that comes with the release.
pub(crate) fn release_table(key: &str) -> Option<Rung> {
    TABLE.get(key).copied()
}

/// The kernel that was measured for such products on such adapters before the release, if one was.
pub(crate) fn shipped(product: &Product, target: Target) -> Option<Rung> {
    (target.shipped)(&format!("{} {}", target.adapter_class(), Class::of(product)))
}

#[cfg(test)]
#[path = "classes_tests.rs"]
mod tests;
