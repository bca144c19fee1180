//! Tensor values on the host.

use crate::{DType, Shape};
use half::{bf16, f16};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A tensor's value in host memory: what is fed, fetched, assigned, or written into a graph as a
/// constant. Elements are row-major; there are exactly as many as the shape says.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorData {
    shape: Shape,
    elements: Elements,
}

/// The elements of a [`TensorData`], by dtype.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// `f32` elements.
    F32(Vec<f32>),
    /// `f16` elements.
    F16(Vec<f16>),
    /// `bf16` elements.
    Bf16(Vec<bf16>),
    /// `i32` elements.
    I32(Vec<i32>),
    /// `u32` elements.
    U32(Vec<u32>),
    /// `u8` elements.
    U8(Vec<u8>),
}

impl Elements {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::F32(v) => v.len(),
            Elements::F16(v) => v.len(),
            Elements::Bf16(v) => v.len(),
            Elements::I32(v) => v.len(),
            Elements::U32(v) => v.len(),
            Elements::U8(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Elements::F32(_) => DType::F32,
            Elements::F16(_) => DType::F16,
            Elements::Bf16(_) => DType::Bf16,
            Elements::I32(_) => DType::I32,
            Elements::U32(_) => DType::U32,
            Elements::U8(_) => DType::U8,
        }
    }
}

macro_rules! elements_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<Vec<$type>> for Elements {
            fn from(elements: Vec<$type>) -> Elements {
                Elements::$variant(elements)
            }
        }
        impl From<&[$type]> for Elements {
            fn from(elements: &[$type]) -> Elements {
                Elements::$variant(elements.to_vec())
            }
        }
        impl<const N: usize> From<[$type; N]> for Elements {
            fn from(elements: [$type; N]) -> Elements {
                Elements::$variant(elements.to_vec())
            }
        }
        impl From<Vec<$type>> for TensorData {
            /// A list: one dimension.
            fn from(elements: Vec<$type>) -> TensorData {
                TensorData { shape: Shape::from([elements.len()]), elements: elements.into() }
            }
        }
        impl From<$type> for TensorData {
            fn from(element: $type) -> TensorData {
                TensorData { shape: Shape::scalar(), elements: Elements::$variant(vec![element]) }
            }
        }
    )*};
}
elements_from!(f32 => F32, f16 => F16, bf16 => Bf16, i32 => I32, u32 => U32, u8 => U8);

impl TensorData {
    /// A tensor of the given shape and elements, or `None` if their numbers differ.
    ///
    /// ```
    /// use warmstart_graph::TensorData;
    /// let t = TensorData::new([2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
    /// assert_eq!(t.shape().to_string(), "[2, 2]");
    /// assert!(TensorData::new([3], vec![1.0f32]).is_none());
    /// ```
    pub fn new(shape: impl Into<Shape>, elements: impl Into<Elements>) -> Option<TensorData> {
        let (shape, elements) = (shape.into(), elements.into());
        (shape.checked_elements() == Some(elements.len())).then_some(TensorData { shape, elements })
    }

    /// A tensor from the little-endian bytes that devices and safetensors files hold, or `None` if
    /// their number is not the shape's.
    pub fn from_le_bytes(
        shape: impl Into<Shape>,
        dtype: DType,
        bytes: &[u8],
    ) -> Option<TensorData> {
        let quads = |b: &[u8]| [b[0], b[1], b[2], b[3]];
        let chunks = bytes.chunks_exact(dtype.size());
        if !chunks.remainder().is_empty() {
            return None;
        }
        let elements = match dtype {
            DType::F32 => Elements::F32(chunks.map(|b| f32::from_le_bytes(quads(b))).collect()),
            DType::I32 => Elements::I32(chunks.map(|b| i32::from_le_bytes(quads(b))).collect()),
            DType::U32 => Elements::U32(chunks.map(|b| u32::from_le_bytes(quads(b))).collect()),
            DType::U8 => Elements::U8(bytes.to_vec()),
            DType::F16 => Elements::F16(chunks.map(|b| f16::from_le_bytes([b[0], b[1]])).collect()),
            DType::Bf16 => {
                Elements::Bf16(chunks.map(|b| bf16::from_le_bytes([b[0], b[1]])).collect())
            }
        };
        TensorData::new(shape, elements)
    }

    /// The elements as little-endian bytes.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match &self.elements {
            Elements::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::Bf16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Elements::U8(v) => v.clone(),
        }
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.elements.dtype()
    }

    /// The elements, row-major.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The elements if they are `f32`.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.elements {
            Elements::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements if they are `i32`.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.elements {
            Elements::I32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements if they are `u32`.
    pub fn as_u32(&self) -> Option<&[u32]> {
        match &self.elements {
            Elements::U32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements if they are `u8`.
    pub fn as_u8(&self) -> Option<&[u8]> {
        match &self.elements {
            Elements::U8(v) => Some(v),
            _ => None,
        }
    }

    /// All elements as `f64`, whatever their type.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.elements {
            Elements::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Elements::F16(v) => v.iter().map(|&x| x.into()).collect(),
            Elements::Bf16(v) => v.iter().map(|&x| x.into()).collect(),
            Elements::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Elements::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Elements::U8(v) => v.iter().map(|&x| x.into()).collect(),
        }
    }
}

/// The serialized form: the bytes as hexadecimal digits, so that every value (NaN and infinities
/// too) comes back with the same bits from any text format.
#[derive(Serialize, Deserialize)]
struct Stored {
    dtype: DType,
    shape: Shape,
    little_endian_hex: String,
}

impl Serialize for TensorData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
        let hex = self.to_le_bytes().iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect();
        Stored { dtype: self.dtype(), shape: self.shape.clone(), little_endian_hex: hex }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TensorData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TensorData, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let nibble = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
        let bytes: Option<Vec<u8>> = stored
            .little_endian_hex
            .as_bytes()
            .chunks(2)
            .map(|pair| Some(nibble(pair[0])? << 4 | nibble(*pair.get(1)?)?))
            .collect();
        bytes
            .and_then(|bytes| TensorData::from_le_bytes(stored.shape, stored.dtype, &bytes))
            .ok_or_else(|| D::Error::custom("a constant's bytes do not match its shape and dtype"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_survives_serialization() {
        let values = vec![f32::NAN, f32::NEG_INFINITY, -0.0, 1e-42, 0.1];
        let data = TensorData::new([5], values).unwrap();
        let text = serde_json::to_string(&data).unwrap();
        let back: TensorData = serde_json::from_str(&text).unwrap();
        assert_eq!(back.to_le_bytes(), data.to_le_bytes());
        assert!(serde_json::from_str::<TensorData>(&text.replace("[5]", "[6]")).is_err());
        assert!(serde_json::from_str::<TensorData>(&text.replace("0000c07f", "x000c07f")).is_err());
    }

    #[test]
    fn dtypes_round_trip_through_bytes() {
        let data = TensorData::new([2], vec![f16::from_f32(0.5), f16::NAN]).unwrap();
        let back = TensorData::from_le_bytes([2], DType::F16, &data.to_le_bytes()).unwrap();
        assert_eq!(back.to_le_bytes(), data.to_le_bytes());
        let data = TensorData::new([3], [bf16::from_f32(0.5), bf16::NAN, bf16::MAX]).unwrap();
        let back = TensorData::from_le_bytes([3], DType::Bf16, &data.to_le_bytes()).unwrap();
        assert_eq!(back.to_le_bytes(), data.to_le_bytes());
        let data = TensorData::new([3], [0u8, 7, 255]).unwrap();
        let back = TensorData::from_le_bytes([3], DType::U8, &data.to_le_bytes()).unwrap();
        assert_eq!((back.as_u8(), back.to_f64()), (Some(&[0, 7, 255][..]), vec![0.0, 7.0, 255.0]));
        assert!(TensorData::from_le_bytes([2], DType::U8, &[0; 3]).is_none());
        assert!(TensorData::from_le_bytes([2], DType::F32, &[0; 7]).is_none());
    }
}
