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
/// [`Dataset::from_bytes`] and [`Dataset::into_bytes`] make them. A model may also take the bytes
/// themselves: a placeholder of `u8` is fed [`Dataset::inputs`], or rows of what is
/// [uploaded](Dataset::upload).
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
impl<I: DatasetInput> Dataset<i32, I> {
    /// All labels, shape `[len]`.
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// The examples that are chosen by their inputs, as they are held, and their label. There may be
    /// none.
    ///
    /// ```
    /// # fn main() -> Result<(), warmstart::DatasetError> {
    /// use warmstart::Dataset;
    ///
    /// let digits = Dataset::read_csv("0,0.5,1\n1,0.25,0\n0.5,1,2\n".as_bytes())?;
    /// assert_eq!(digits.filter(|_, label| label < 2).labels(), [1, 0]);
    /// let bright = digits.filter(|pixels, _| pixels.iter().sum::<f32>() > 1.0);
    /// assert_eq!(bright.labels(), [0, 2]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A classifier takes classes that are counted from 0: [`Dataset::map_labels`].
    #[must_use]
    pub fn filter(&self, mut chosen: impl FnMut(&[I], i32) -> bool) -> Self {
        self.of_places((0..self.len()).filter(|&at| chosen(self.row(at), self.labels[at])))
    }

    /// The same inputs with other labels: those of other classes, or classes that are counted from 0.
    ///
    /// ```
    /// # fn main() -> Result<(), warmstart::DatasetError> {
    /// use warmstart::Dataset;
    ///
    /// let digits = Dataset::read_csv("0,0.5,3\n1,0.25,4\n0.5,1,7\n".as_bytes())?;
    /// assert_eq!(digits.clone().map_labels(|digit| digit % 2).labels(), [1, 0, 1]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn map_labels(mut self, mut to: impl FnMut(i32) -> i32) -> Self {
        self.labels.iter_mut().for_each(|label| *label = to(*label));
        self
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
impl<I: DatasetInput> Dataset<f32, I> {
    /// All targets, shape `[len, target_width]`.
    pub fn targets(&self) -> &[f32] {
        &self.labels
    }

    /// The examples that are chosen by their inputs, as they are held, and their targets. There may be
    /// none.
    #[must_use]
    pub fn filter(&self, mut chosen: impl FnMut(&[I], &[f32]) -> bool) -> Self {
        self.of_places((0..self.len()).filter(|&at| chosen(self.row(at), self.labels_of(at))))
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
            labels.extend_from_slice(self.labels_of(place));
        }
        Ok(())
    }

    /// The inputs of one example.
    fn row(&self, example: usize) -> &[I] {
        &self.inputs[example * self.width..(example + 1) * self.width]
    }

    /// The label or the targets of one example.
    fn labels_of(&self, example: usize) -> &[T] {
        &self.labels[example * self.each..(example + 1) * self.each]
    }

    /// Uploads all examples, for the placeholders of these names; batches are gathered there by
    /// [`Session::run_steps`](warmstart_gpu::Session::run_steps). A placeholder of the inputs is of `f32`;
    /// or of `u8`, if they are bytes that are not [scaled](Dataset::scaled): then the batches are bytes
    /// too, and the model casts them.
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
        Ok((self.select(training)?, self.select(test)?))
    }

    /// The examples of these indices, in this order, one twice if it is named twice. The inputs stay what
    /// they are, so that a batch of bytes can be fed to a placeholder of bytes, without the factor that
    /// they are [scaled](Dataset::scaled) by elsewhere.
    ///
    /// ```
    /// # fn main() -> Result<(), warmstart::DatasetError> {
    /// use warmstart::Dataset;
    ///
    /// let digits = Dataset::read_csv("0,0.5,1\n1,0.25,0\n0.5,1,2\n".as_bytes())?;
    /// let two = digits.select(&[2, 0])?;
    /// assert_eq!((two.inputs(), two.labels()), (&[0.5, 1.0, 0.0, 0.5][..], &[2, 1][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If an index is beyond the last example.
    pub fn select(&self, indices: &[u32]) -> Result<Self, DatasetError> {
        let examples = self.len();
        match indices.iter().find(|&&index| index as usize >= examples) {
            Some(&index) => Err(DatasetError::NoSuchExample { index, examples }),
            None => Ok(self.of_places(indices.iter().map(|&index| index as usize))),
        }
    }

    /// The examples at these places, each of which there is.
    fn of_places(&self, places: impl Iterator<Item = usize>) -> Self {
        let (mut inputs, mut labels) = (Vec::new(), Vec::new());
        for place in places {
            inputs.extend_from_slice(self.row(place));
            labels.extend_from_slice(self.labels_of(place));
        }
        Dataset { inputs, scale: self.scale, width: self.width, labels, each: self.each }
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
mod tests;
