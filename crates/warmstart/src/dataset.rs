//! Examples in host memory.

use crate::batches::shuffled;
use crate::dataset_csv::{self, Cells};
use crate::dataset_error::DatasetError;
use crate::dataset_input::DatasetInput;
use std::io::BufRead;
use std::str::FromStr;
use warmstart_gpu::{DeviceDataset, DeviceDatasetError, Feed, Gpu};

/// Examples in host memory: rows of `width` inputs, each with what a model is to make of it. That is
/// the index of a class (`Dataset`, which is `Dataset<i32>`), or one or more numbers for a regression
/// (`Dataset<f32>`).
///
/// Inputs are `f32`, or bytes that are multiplied by one number when they are used, as those of images
/// are: `Dataset<i32, u8>` and `Dataset<f32, u8>` take a quarter of the memory here and on the device.
/// [`Dataset::from_bytes`] and [`Dataset::into_bytes`] make them.
///
/// ```
/// # fn main() -> Result<(), warmstart::DatasetError> {
/// use warmstart::Dataset;
///
/// // Two inputs and a class.
/// let digits = Dataset::read_csv("0,0.5,1\n1,0.25,0\n0.5,1,1\n".as_bytes())?;
/// let (training, test) = digits.split(0.3, 7)?;
/// assert_eq!((training.len(), test.len()), (2, 1));
///
/// // Two inputs and one target.
/// let prices = Dataset::read_csv_targets("3,120,2.5\n2,80,1.75\n".as_bytes(), 1)?;
/// let (mut inputs, mut targets) = (Vec::new(), Vec::new());
/// prices.gather(&[1], &mut inputs, &mut targets)?;
/// assert_eq!((&inputs[..], &targets[..]), (&[2.0, 80.0][..], &[1.75][..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset<T = i32, I = f32> {
    inputs: Vec<I>,
    /// What bytes are multiplied by.
    scale: f32,
    width: usize,
    labels: Vec<T>,
    /// Labels or targets of one example, at least 1.
    each: usize,
}

/// Examples with a class each.
impl Dataset {
    /// A data set of `labels.len()` examples; `inputs` holds their rows one after the other, shape
    /// `[labels.len(), width]`.
    ///
    /// # Errors
    /// If the lengths do not agree, or an input is not finite.
    pub fn new(inputs: Vec<f32>, width: usize, labels: Vec<i32>) -> Result<Dataset, DatasetError> {
        Dataset::of(inputs, width, labels, 1)?.with_finite_inputs()
    }

    /// Reads lines of numbers separated by commas, without a header: the inputs, then the label.
    /// Empty lines are skipped.
    ///
    /// ```
    /// # fn main() -> Result<(), warmstart::DatasetError> {
    /// let data = warmstart::Dataset::read_csv("0,0.5,1\n1,0.25,0\n".as_bytes())?;
    /// assert_eq!((data.len(), data.width(), data.labels()), (2, 2, &[1, 0][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a line cannot be read, has a different number of cells than the first, or has a cell that
    /// is not a finite number; the error names line and cell.
    pub fn read_csv(reader: impl BufRead) -> Result<Dataset, DatasetError> {
        Dataset::read(reader, 1, "a whole number (a label)")
    }
}

/// Examples with a class each, whose inputs are bytes.
impl Dataset<i32, u8> {
    /// As [`Dataset::new`], of bytes, which stay bytes on the device. [`Dataset::scaled`] says what each
    /// is multiplied by when a batch is made.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart::prelude::*;
    ///
    /// // Three images of two pixels.
    /// let pixels = vec![0, 255, 255, 0, 255, 255];
    /// let images = Dataset::from_bytes(pixels, 2, vec![0, 1, 2])?.scaled(1.0 / 255.0);
    /// let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    /// images.gather(&[1], &mut inputs, &mut labels)?;
    /// assert_eq!((&inputs[..], &labels[..]), (&[1.0, 0.0][..], &[1][..]));
    ///
    /// // Four bytes for each label, and six pixels in whole words.
    /// let data = images.upload(&Gpu::new()?, "images", "labels")?;
    /// assert_eq!(data.bytes(), 12 + 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the lengths do not agree.
    pub fn from_bytes(
        inputs: Vec<u8>,
        width: usize,
        labels: Vec<i32>,
    ) -> Result<Dataset<i32, u8>, DatasetError> {
        Dataset::of(inputs, width, labels, 1)
    }
}

/// Examples with a class each.
impl<I> Dataset<i32, I> {
    /// All labels, shape `[len]`.
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }
}

/// Examples with numbers to predict.
impl Dataset<f32> {
    /// A data set for a regression; an example has `width` inputs and `target_width` targets, and
    /// both hold the examples' rows one after the other.
    ///
    /// # Errors
    /// If the lengths do not agree, or an input or a target is not finite.
    pub fn with_targets(
        inputs: Vec<f32>,
        width: usize,
        targets: Vec<f32>,
        target_width: usize,
    ) -> Result<Dataset<f32>, DatasetError> {
        Dataset::of(inputs, width, targets, target_width)?
            .with_finite_inputs()?
            .with_finite_targets()
    }

    /// As [`Dataset::read_csv`], but the last `target_width` cells of a line are its targets.
    ///
    /// # Errors
    /// As [`Dataset::read_csv`].
    pub fn read_csv_targets(
        reader: impl BufRead,
        target_width: usize,
    ) -> Result<Dataset<f32>, DatasetError> {
        Dataset::read(reader, target_width, "a number (a target)")
    }
}

/// Examples with numbers to predict, whose inputs are bytes.
impl Dataset<f32, u8> {
    /// As [`Dataset::with_targets`], of bytes.
    ///
    /// # Errors
    /// If the lengths do not agree, or a target is not finite.
    pub fn from_bytes_with_targets(
        inputs: Vec<u8>,
        width: usize,
        targets: Vec<f32>,
        target_width: usize,
    ) -> Result<Dataset<f32, u8>, DatasetError> {
        Dataset::of(inputs, width, targets, target_width)?.with_finite_targets()
    }
}

/// Examples with numbers to predict.
impl<I> Dataset<f32, I> {
    /// All targets, shape `[len, target_width]`.
    pub fn targets(&self) -> &[f32] {
        &self.labels
    }

    /// The number of targets of an example.
    pub fn target_width(&self) -> usize {
        self.each
    }

    fn with_finite_targets(self) -> Result<Self, DatasetError> {
        all_finite("target", &self.labels, self.each)?;
        Ok(self)
    }
}

impl<T: Copy + FromStr> Dataset<T> {
    fn read(
        reader: impl BufRead,
        each: usize,
        what: &'static str,
    ) -> Result<Dataset<T>, DatasetError> {
        if each == 0 {
            return Err(DatasetError::Targets { targets: 0, width: 0 });
        }
        let Cells { inputs, width, labels } = dataset_csv::read(reader, each, what)?;
        Dataset::of(inputs, width, labels, each)
    }
}

impl<T> Dataset<T> {
    fn with_finite_inputs(self) -> Result<Self, DatasetError> {
        all_finite("input", &self.inputs, self.width)?;
        Ok(self)
    }

    /// The same examples, held as bytes: a quarter of the memory, here and on the device. Scale them
    /// after this.
    ///
    /// ```
    /// # fn main() -> Result<(), warmstart::DatasetError> {
    /// use warmstart::Dataset;
    ///
    /// let digits = Dataset::read_csv("0,16,1\n8,4,0\n".as_bytes())?.into_bytes()?.scaled(1.0 / 16.0);
    /// assert_eq!(digits.inputs(), [0, 16, 8, 4]);
    /// assert_eq!(digits.to_f32(), [0.0, 1.0, 0.5, 0.25]);
    /// assert!(Dataset::read_csv("0,0.5,1\n".as_bytes())?.into_bytes().is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If an input is no whole number from 0 to 255.
    pub fn into_bytes(self) -> Result<Dataset<T, u8>, DatasetError> {
        let Dataset { inputs, width, labels, each, .. } = self;
        let byte = |(at, &value): (usize, &f32)| {
            let byte = value as u8;
            // Of -0, too, the bits would be others.
            if f32::from(byte).to_bits() == value.to_bits() {
                return Ok(byte);
            }
            Err(DatasetError::NotAByte { example: at / width, input: at % width, value })
        };
        let inputs = inputs.iter().enumerate().map(byte).collect::<Result<_, _>>()?;
        Ok(Dataset { inputs, scale: 1.0, width, labels, each })
    }
}

/// One number that is none makes all weights so, in a single step.
fn all_finite(what: &'static str, values: &[f32], each: usize) -> Result<(), DatasetError> {
    match values.iter().position(|value| !value.is_finite()) {
        // A number was found, so a row has some.
        Some(at) => Err(DatasetError::NotFinite {
            what,
            example: at / each,
            place: at % each,
            value: values[at],
        }),
        None => Ok(()),
    }
}

/// What all have.
impl<T: Copy, I: DatasetInput> Dataset<T, I> {
    fn of(
        inputs: Vec<I>,
        width: usize,
        labels: Vec<T>,
        each: usize,
    ) -> Result<Dataset<T, I>, DatasetError> {
        if each == 0 || !labels.len().is_multiple_of(each) {
            return Err(DatasetError::Targets { targets: labels.len(), width: each });
        }
        let examples = labels.len() / each;
        if examples.checked_mul(width) != Some(inputs.len()) {
            let inputs = inputs.len();
            return Err(DatasetError::Lengths { inputs, width, labels: examples });
        }
        Ok(Dataset { inputs, scale: 1.0, width, labels, each })
    }

    /// The same examples with every input multiplied by `factor`, such as 1/16 to bring 0 to 16
    /// to 0 to 1. Bytes stay what they are, and are multiplied when they are used: here and on the
    /// device, to the same bits.
    pub fn scaled(mut self, factor: f32) -> Dataset<T, I> {
        I::scale(&mut self.inputs, &mut self.scale, factor);
        self
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len() / self.each
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of inputs of an example.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All inputs as they are held, shape `[len, width]`: bytes are not multiplied yet.
    pub fn inputs(&self) -> &[I] {
        &self.inputs
    }

    /// All inputs as a model takes them, shape `[len, width]`, to be fed at once.
    pub fn to_f32(&self) -> Vec<f32> {
        self.numbers().collect()
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = f32> {
        self.inputs.iter().map(|&input| input.number(self.scale))
    }

    /// Copies the given examples into a batch's buffers, replacing what they hold but keeping their
    /// memory: `inputs` becomes `[indices.len(), width]`, `labels` `[indices.len()]` or
    /// `[indices.len(), target_width]`.
    ///
    /// # Errors
    /// If an index is beyond the last example; the buffers then hold the examples before it.
    pub fn gather(
        &self,
        indices: &[u32],
        inputs: &mut Vec<f32>,
        labels: &mut Vec<T>,
    ) -> Result<(), DatasetError> {
        inputs.clear();
        labels.clear();
        for &index in indices {
            let place = index as usize;
            if place >= self.len() {
                return Err(DatasetError::NoSuchExample { index, examples: self.len() });
            }
            inputs.extend(self.row(place).iter().map(|&input| input.number(self.scale)));
            labels.extend_from_slice(&self.labels[place * self.each..(place + 1) * self.each]);
        }
        Ok(())
    }

    /// The inputs of one example.
    fn row(&self, example: usize) -> &[I] {
        &self.inputs[example * self.width..(example + 1) * self.width]
    }

    /// Uploads all examples, for the placeholders of these names; batches are gathered there by
    /// [`Session::run_steps`](warmstart_gpu::Session::run_steps).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use warmstart::prelude::*;
    ///
    /// let graph = Graph::new();
    /// let inputs = graph.placeholder("inputs", [2, 2], DType::F32);
    /// let labels = graph.placeholder("labels", [2], DType::I32);
    /// let loss = graph.scope("fc").linear(inputs, 3).softmax_cross_entropy(labels);
    /// let step = Optimizer::sgd(0.1).minimize(loss);
    /// let mut session = Session::new(&Gpu::new()?);
    /// let train = session.compile(&graph, &[loss], &[step.update])?;
    /// session.initialize_missing(7)?;
    ///
    /// let examples = Dataset::read_csv("0,0.5,1\n1,0.25,0\n0.5,1,2\n".as_bytes())?;
    /// let data = examples.upload(session.gpu(), "inputs", "labels")?;
    /// let mut batches = Batches::new(data.len(), 2, 7)?;
    /// let rows = batches.indices_of(0..10);
    /// let losses = session.run_steps(&train, &Steps::rows(&data, &rows))?.scalars(loss)?;
    /// assert_eq!(losses.len(), 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If there are no examples, both names are the same, bytes are scaled by no finite number, or the
    /// device has no room.
    pub fn upload(
        &self,
        gpu: &Gpu,
        inputs: &str,
        labels: &str,
    ) -> Result<DeviceDataset, DeviceDatasetError>
    where
        for<'a> Feed<'a>: From<&'a [T]>,
    {
        let rows = I::column(&self.inputs, self.scale);
        let columns = [(inputs, rows), (labels, self.labels.as_slice().into())];
        DeviceDataset::new(gpu, self.len(), &columns)
    }

    /// Splits into a training and a test part. The test part has `test_fraction` of the examples,
    /// rounded to a whole number. Which ones is a function of the seed and the number of examples.
    ///
    /// # Errors
    /// If either part would be empty.
    pub fn split(&self, test_fraction: f64, seed: u64) -> Result<(Self, Self), DatasetError> {
        let examples = self.len();
        let refuse = DatasetError::Split { fraction: test_fraction, examples };
        let test = (examples as f64 * test_fraction).round();
        // Written so that a fraction that is not a number is refused too.
        if !(test >= 1.0 && test < examples as f64) {
            return Err(refuse);
        }
        let count = u32::try_from(examples).map_err(|_| refuse)?;
        let order = shuffled(count, seed, "training and test part");
        let (test, training) = order.split_at(test as usize);
        Ok((self.selected(training), self.selected(test)))
    }

    /// The examples of these indices, each of which there is.
    fn selected(&self, indices: &[u32]) -> Dataset<T, I> {
        let places = || indices.iter().map(|&index| index as usize);
        let inputs = places().flat_map(|place| self.row(place)).copied().collect();
        let labels = places().flat_map(|place| &self.labels[place * self.each..][..self.each]);
        let labels = labels.copied().collect();
        Dataset { inputs, scale: self.scale, width: self.width, labels, each: self.each }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(said("1,x,3\n").starts_with("line 1, cell 2: `x` is not a number"));
        assert!(said("1,2,3\n1,2,0.5").starts_with("line 2, cell 3: `0.5` is not a whole number"));
        for cell in ["nan", "-inf", "1e99"] {
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
        assert!(
            said("1,2,x").to_string().starts_with("line 1, cell 3: `x` is not a number (a tar")
        );
        assert!(said("1,2,nan").to_string().contains("`nan` is not a finite number"));
        assert!(said("1,2").to_string().starts_with("cells of line 1: 2, and not 3;"));
        assert!(Dataset::read_csv_targets(text.as_bytes(), 0).is_err());
        let error = Dataset::with_targets(vec![0.0; 4], 2, vec![0.0; 3], 2).unwrap_err();
        assert!(matches!(error, DatasetError::Targets { targets: 3, width: 2 }), "{error}");
        assert!(Dataset::with_targets(vec![0.0; 4], 2, vec![0.0; 2], 1).is_ok());
    }
}
