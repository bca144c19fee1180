//! Every order of axes, against reading element by element.

use super::*;
use proptest::prelude::*;

/// The value, element by element, as the definition of strides reads.
fn slowly(size: usize, swapped: usize, shape: &[usize], strides: &[u64], file: &[u8]) -> Vec<u8> {
    let mut value = Vec::new();
    for mut number in 0..shape.iter().product::<usize>() {
        let mut at = 0;
        for (&extent, &stride) in shape.iter().zip(strides).rev() {
            at += (number % extent) * stride as usize * size;
            number /= extent;
        }
        let mut element = file[at..at + size].to_vec();
        element.chunks_exact_mut(swapped).for_each(<[u8]>::reverse);
        value.extend(element);
    }
    value
}

fn read(strides: &Strides, file: &[u8], at: usize, length: usize) -> Vec<u8> {
    let mut into = vec![0; length];
    let read = |at: u64, into: &mut [u8]| -> Result<(), ()> {
        assert!(!into.is_empty());
        into.copy_from_slice(&file[at as usize..at as usize + into.len()]);
        Ok(())
    };
    strides.read(at as u64, &mut into, read).unwrap();
    into
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("WARMSTART_TEST_LONG").is_some() { 20_000 } else { 512 },
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_part_of_any_order_is_read(
        axes in prop::collection::vec((1usize..5, 0u64..30), 0..5),
        size in prop::sample::select(&[(1, 1), (2, 2), (4, 4), (4, 1), (8, 4), (8, 8), (16, 8)][..]),
        part in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let (shape, strides): (Vec<usize>, Vec<u64>) = axes.into_iter().unzip();
        let (size, swapped) = size;
        let of = Strides::new(size as u64, swapped, &shape, &strides).unwrap();
        let file: Vec<u8> = (0..of.span()).map(|i| (i * 7919 % 251) as u8).collect();
        let value = slowly(size, swapped, &shape, &strides, &file);
        prop_assert_eq!(&read(&of, &file, 0, value.len()), &value);
        prop_assert!(!of.is_plain() || value == file);
        let (a, b) = (part.0.index(value.len() + 1), part.1.index(value.len() + 1));
        let (a, b) = (a.min(b), a.max(b));
        prop_assert_eq!(&read(&of, &file, a, b - a), &value[a..b]);
    }
}

/// More than a block, and runs longer than a window.
#[test]
fn large_values_are_read_in_blocks() {
    let (rows, columns) = (3000, 1001);
    let file: Vec<u8> = (0..4 * rows * columns).map(|i| (i % 253) as u8).collect();
    for strides in [[1, rows as u64], [columns as u64, 1]] {
        let of = Strides::new(4, 1, &[rows, columns], &strides).unwrap();
        let value = slowly(4, 1, &[rows, columns], &strides, &file);
        assert!(read(&of, &file, 0, value.len()) == value);
        assert_eq!(of.is_plain(), strides[1] == 1);
    }
    // Every other element of a long vector.
    let of = Strides::new(4, 1, &[rows * columns / 2], &[2]).unwrap();
    let value = slowly(4, 1, &[rows * columns / 2], &[2], &file);
    assert!(read(&of, &file, 0, value.len()) == value);
}

#[test]
fn few_reads_fetch_a_transposed_matrix() {
    let of = Strides::new(4, 1, &[100, 50], &[1, 100]).unwrap();
    let mut reads = 0;
    let count = |_: u64, _: &mut [u8]| -> Result<(), ()> {
        reads += 1;
        Ok(())
    };
    of.read(0, &mut [0; 4 * 100 * 50], count).unwrap();
    // One for each row in the file would be 50; axes are not joined, since they cross.
    assert_eq!(reads, 50);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    assert_eq!(Strides::new(4, 1, &[2], &[u64::MAX]), None);
    assert_eq!(Strides::new(4, 1, &[usize::MAX, 3], &[1 << 62, 1]), None);
    assert_eq!(Strides::new(4, 1, &[2, 2], &[1]), None);
    assert_eq!(Strides::new(4, 1, &[0, 7], &[9, 9]).map(|of| of.span()), Some(0));
}
