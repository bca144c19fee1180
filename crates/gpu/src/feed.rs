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
            Feed::Tensor(data) => match data.elements() {
                Elements::F32(elements) => bytemuck::cast_slice(elements),
                Elements::F16(elements) => bytemuck::cast_slice(elements),
                Elements::Bf16(elements) => bytemuck::cast_slice(elements),
                Elements::I32(elements) => bytemuck::cast_slice(elements),
                Elements::U32(elements) => bytemuck::cast_slice(elements),
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
feed_from!(f32 => F32, f16 => F16, bf16 => Bf16, i32 => I32, u32 => U32);

impl<'a> From<&'a TensorData> for Feed<'a> {
    fn from(data: &'a TensorData) -> Feed<'a> {
        Feed::Tensor(data)
    }
}
