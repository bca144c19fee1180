//! Rows keep their labels, and what is no data set is refused.

use super::*;

/// Example `i` has the inputs `[i, i + 0.5]` and the label `i`.
fn numbered(examples: i32) -> Dataset {
    let inputs = (0..examples).flat_map(|i| [i as f32, i as f32 + 0.5]).collect();
    Dataset::new(inputs, 2, (0..examples).collect()).unwrap()
}

#[test]
fn a_batch_is_gathered_row_by_row() {
    let (mut inputs, mut labels) = (vec![9.0; 7], vec![9; 3]);
    numbered(5).gather(&[3, 0, 3], &mut inputs, &mut labels).unwrap();
    assert_eq!(inputs, [3.0, 3.5, 0.0, 0.5, 3.0, 3.5]);
    assert_eq!(labels, [3, 0, 3]);
    let error = numbered(5).gather(&[1, 5], &mut inputs, &mut labels).unwrap_err();
    assert_eq!(error.to_string(), "example 5 does not exist; there are 5, counted from 0");
}

#[test]
fn rows_that_are_chosen_keep_inputs_labels_and_scale() {
    let two = numbered(5).select(&[3, 0, 3]).unwrap();
    assert_eq!((two.inputs(), two.labels()), (&[3.0, 3.5, 0.0, 0.5, 3.0, 3.5][..], &[3, 0, 3][..]));
    assert!(numbered(5).select(&[]).unwrap().is_empty());
    let error = numbered(5).select(&[1, 5]).unwrap_err();
    assert!(matches!(error, DatasetError::NoSuchExample { index: 5, examples: 5 }), "{error}");

    let odd = numbered(6).filter(|inputs, label| inputs[0] > 1.0 && label % 2 == 1);
    assert_eq!((odd.inputs(), odd.labels()), (&[3.0, 3.5, 5.0, 5.5][..], &[3, 5][..]));
    assert!(numbered(6).filter(|_, _| false).is_empty());

    let targets = (0..6).map(|at| at as f32).collect();
    let bytes = Dataset::from_bytes_with_targets(vec![2, 4, 8], 1, targets, 2).unwrap();
    let held = bytes.scaled(0.5).filter(|bytes, targets| bytes[0] > 2 && targets[1] < 4.0);
    assert_eq!((held.to_f32(), held.targets()), (vec![2.0], &[2.0, 3.0][..]));
}

#[test]
fn a_split_is_reproducible_and_loses_nothing() {
    let (training, test) = numbered(1797).split(0.2, 5).unwrap();
    assert_eq!((training.len(), test.len()), (1438, 359));
    assert_eq!(numbered(1797).split(0.2, 5).unwrap(), (training.clone(), test.clone()));
    assert_ne!(numbered(1797).split(0.2, 6).unwrap().1, test);
    let mut all: Vec<i32> = [training.labels(), test.labels()].concat();
    all.sort_unstable();
    assert_eq!(all, numbered(1797).labels());
    for part in [training, test] {
        for (row, &label) in part.inputs().chunks(2).zip(part.labels()) {
            assert_eq!(row, [label as f32, label as f32 + 0.5]);
        }
    }
}

#[test]
fn a_split_without_two_parts_is_refused() {
    for fraction in [0.0, 0.01, 0.99, 1.0, -1.0, 7.0, f64::NAN, f64::INFINITY] {
        let error = numbered(10).split(fraction, 0).unwrap_err();
        assert!(matches!(error, DatasetError::Split { examples: 10, .. }), "{fraction}");
    }
}

#[test]
fn lengths_must_agree() {
    let error = Dataset::new(vec![0.0; 7], 2, vec![0; 3]).unwrap_err();
    assert!(error.to_string().starts_with("7 inputs are not 3 rows of 2"));
    assert!(Dataset::new(Vec::new(), usize::MAX, vec![0; 3]).is_err());
}

#[test]
fn csv_errors_name_line_and_cell() {
    let said = |text: &str| Dataset::read_csv(text.as_bytes()).unwrap_err().to_string();
    assert!(said("1,2,3\n\n1,2\n").starts_with("cells of line 3: 2, and not 3;"));
    let header =
        "line 1, cell 1: `a` is not a number; correct it, or leave the line out if it names";
    assert!(said("a,b,c\n1,2,3\n").starts_with(header));
    assert!(said("x1,x2,y\n1,2,3\n").contains("if it names the columns"));
    assert!(!said("1,2.5.1,3\n").contains("if it names the columns"));
    let wrong = "line 2, cell 2: `x` is not a number; correct it";
    assert_eq!(said("1,2,3\n1,x,3\n"), wrong);
    assert!(
        said("1,2,3\n1,,3\n").starts_with("line 2, cell 2 is empty, and not a number; fill it")
    );
    assert!(said("1,2,3\n1,2,0.5").starts_with("line 2, cell 3: `0.5` is not a whole number"));
    // One without a value has the same advice, however that is written.
    for cell in ["nan", "NaN", "-nan"] {
        let expected = format!(
            "line 1, cell 1 is `{cell}`, which is no value, and not a finite number; fill it in, or leave"
        );
        assert!(said(&format!("{cell},2,3\n")).starts_with(&expected));
    }
    for cell in ["-inf", "1e99"] {
        let expected = format!("line 1, cell 1: `{cell}` is not a finite number");
        assert!(said(&format!("{cell},2,3\n")).starts_with(&expected));
    }
    assert!(said("5\n").starts_with("cells of line 1: 1, and not 2;"));
    assert!(Dataset::read_csv(&b"1,\xff,3"[..]).is_err());
    assert!(Dataset::read_csv(&b""[..]).unwrap().is_empty());
    // With what some programs begin UTF-8 with.
    let data = Dataset::read_csv("\u{feff} 4, 16 ,2\r\n".as_bytes()).unwrap().scaled(0.25);
    assert_eq!((data.inputs(), data.labels()), (&[1.0, 4.0][..], &[2][..]));
}

#[test]
fn targets_keep_to_their_rows() {
    let text = "1,2,0.5,-1\n3,4,1.5,-2\n5,6,2.5,-3\n";
    let data = Dataset::read_csv_targets(text.as_bytes(), 2).unwrap();
    assert_eq!((data.len(), data.width(), data.target_width()), (3, 2, 2));
    assert_eq!(data.targets(), [0.5, -1.0, 1.5, -2.0, 2.5, -3.0]);
    let (training, test) = data.split(0.34, 1).unwrap();
    for part in [training, test] {
        for (row, targets) in part.inputs().chunks(2).zip(part.targets().chunks(2)) {
            assert_eq!(targets, [row[0] / 2.0, -row[1] / 2.0]);
        }
    }
    let said = |text: &str| Dataset::read_csv_targets(text.as_bytes(), 2).unwrap_err();
    assert!(said("1,2,x").to_string().starts_with("line 1, cell 3: `x` is not a number (a tar"));
    assert!(
        said("1,2,nan").to_string().contains("`nan`, which is no value, and not a finite number")
    );
    assert!(said("1,2").to_string().starts_with("cells of line 1: 2, and not 3;"));
    assert!(Dataset::read_csv_targets(text.as_bytes(), 0).is_err());
    let error = Dataset::with_targets(vec![0.0; 4], 2, vec![0.0; 3], 2).unwrap_err();
    assert!(matches!(error, DatasetError::Targets { targets: 3, width: 2 }), "{error}");
    assert!(Dataset::with_targets(vec![0.0; 4], 2, vec![0.0; 2], 1).is_ok());
}
