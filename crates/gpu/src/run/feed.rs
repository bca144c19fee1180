//! What is fed to a placeholder.

use half::{bf16, f16};
use warmstart_graph::{DType, Elements, TensorData};

/// The elements fed to a placeholder, row-major: made from a slice, a `Vec`, an array or a
/// [`TensorData`] of the placeholder's dtype.
///
/// ```
/// use warmstart_gpu::Feed;
/// let (images, labels) = (vec![0.5f32; 6], [1i32, 0]);
/// let feeds = [("images", Feed::from(&images)), ("labels", Feed::from(&labels))];
/// assert!(matches!(feeds, [(_, Feed::F32(_)), (_, Feed::I32(_))]));
/// ```
///
/// Images are best fed as the bytes that they are, a quarter of `f32`, to a placeholder of
/// [`DType::U8`]. The kernel that reads them makes numbers of them:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use warmstart_gpu::{Gpu, Session};
/// use warmstart_graph::{DType, Graph, Initializer};
/// let graph = Graph::new();
/// let image = graph.placeholder("image", [1, 5], DType::U8);
/// let weight = graph.variable("weight", [5, 2], Initializer::Ones);
/// let product = (image.cast(DType::F32) / 255.0).matmul(weight);
/// let mut session = Session::new(&Gpu::new()?);
/// let plan = session.compile(&graph, &[product], &[])?;
/// session.initialize_missing(0)?;
/// let outputs = session.run(&plan, &[("image", (&[0u8, 255, 255, 0, 0]).into())])?;
/// assert_eq!(outputs.tensor(product)?.to_f64(), [2.0, 2.0]);
/// assert_eq!(plan.dispatches().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Feed<'a> {
    /// `f32` elements.
    F32(&'a [f32]),
    /// `f16` elements.
    F16(&'a [f16]),
    /// `bf16` elements.
    Bf16(&'a [bf16]),
    /// `i32` elements.
    I32(&'a [i32]),
    /// `u32` elements.
    U32(&'a [u32]),
    /// `u8` elements.
    U8(&'a [u8]),
    /// A tensor, of the placeholder's shape too.
    Tensor(&'a TensorData),
}

impl<'a> Feed<'a> {
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Feed::F32(_) => DType::F32,
            Feed::F16(_) => DType::F16,
            Feed::Bf16(_) => DType::Bf16,
            Feed::I32(_) => DType::I32,
            Feed::U32(_) => DType::U32,
            Feed::U8(_) => DType::U8,
            Feed::Tensor(data) => data.dtype(),
        }
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        match *self {
            Feed::F32(elements) => bytemuck::cast_slice(elements),
            Feed::F16(elements) => bytemuck::cast_slice(elements),
            Feed::Bf16(elements) => bytemuck::cast_slice(elements),
            Feed::I32(elements) => bytemuck::cast_slice(elements),
            Feed::U32(elements) => bytemuck::cast_slice(elements),
            Feed::U8(elements) => elements,
            Feed::Tensor(data) => match data.elements() {
                Elements::F32(elements) => bytemuck::cast_slice(elements),
                Elements::F16(elements) => bytemuck::cast_slice(elements),
                Elements::Bf16(elements) => bytemuck::cast_slice(elements),
                Elements::I32(elements) => bytemuck::cast_slice(elements),
                Elements::U32(elements) => bytemuck::cast_slice(elements),
                Elements::U8(elements) => elements,
            },
        }
    }
}

macro_rules! feed_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$type]> for Feed<'a> {
            fn from(elements: &'a [$type]) -> Feed<'a> {
                Feed::$variant(elements)
            }
        }
        impl<'a> From<&'a Vec<$type>> for Feed<'a> {
            fn from(elements: &'a Vec<$type>) -> Feed<'a> {
                Feed::$variant(elements)
            }
        }
        impl<'a, const N: usize> From<&'a [$type; N]> for Feed<'a> {
            fn from(elements: &'a [$type; N]) -> Feed<'a> {
                Feed::$variant(elements)
            }
        }
    )*};
}
feed_from!(f32 => F32, f16 => F16, bf16 => Bf16, i32 => I32, u32 => U32, u8 => U8);

impl<'a> From<&'a TensorData> for Feed<'a> {
    fn from(data: &'a TensorData) -> Feed<'a> {
        Feed::Tensor(data)
    }
}
