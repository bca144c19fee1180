//! The objects of Python that a checkpoint may name. What is not here is refused.

use crate::tensor::FileDType;

/// An object that a pickle names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.Size`: a tuple.
    Size,
    /// `builtins.set`.
    Set,
    /// Makes a tensor of a storage that knows its dtype.
    RebuildTensor,
    /// Makes a tensor of a storage of bytes.
    RebuildTensorV3,
    /// Makes a parameter of a tensor.
    RebuildParameter,
    /// Calls one of the three above for a tensor that has attributes.
    RebuildFromType,
    /// A storage's class, with the dtype of its elements; `None` of bytes.
    Storage(Option<FileDType>),
    /// Such as `torch.float32`.
    DType(FileDType),
    /// Makes, or is, something that holds no tensor: its calls and attributes are passed over.
    Plain,
}

impl Global {
    /// The object of this name.
    pub fn find(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch", "Size") => Global::Size,
            ("builtins" | "__builtin__", "set" | "frozenset") => Global::Set,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Global::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Global::RebuildFromType,
            ("torch", _) if name.ends_with("Storage") => Global::Storage(Some(storage(name)?)),
            ("torch.storage", "UntypedStorage") => Global::Storage(None),
            ("torch", _) => match dtype(name) {
                Some(dtype) => Global::DType(dtype),
                None if matches!(name, "device" | "Tensor") => Global::Plain,
                None => return None,
            },
            ("torch.nn.parameter", "Parameter")
            | ("torch.nn.parameter", "Buffer")
            | ("torch.serialization", "_get_layout")
            | ("_codecs", "encode")
            | ("builtins" | "__builtin__", "bytearray" | "complex")
            | ("numpy", "dtype")
            | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Plain,
            ("numpy.dtypes", _) => Global::Plain,
            _ => return None,
        })
    }
}

/// The dtype that a class of storages is named after.
fn storage(name: &str) -> Option<FileDType> {
    Some(match name.strip_suffix("Storage")? {
        "Double" => FileDType::F64,
        "Float" => FileDType::F32,
        "Half" => FileDType::F16,
        "BFloat16" => FileDType::Bf16,
        "Long" => FileDType::I64,
        "Int" => FileDType::I32,
        "Short" => FileDType::I16,
        "Char" => FileDType::I8,
        "Byte" => FileDType::U8,
        "Bool" => FileDType::Bool,
        "ComplexFloat" => FileDType::C64,
        "ComplexDouble" => FileDType::C128,
        _ => return None,
    })
}

/// The dtype that PyTorch calls by this name.
fn dtype(name: &str) -> Option<FileDType> {
    Some(match name {
        "float64" | "double" => FileDType::F64,
        "float32" | "float" => FileDType::F32,
        "float16" | "half" => FileDType::F16,
        "bfloat16" => FileDType::Bf16,
        "float8_e4m3fn" => FileDType::F8E4M3,
        "float8_e5m2" => FileDType::F8E5M2,
        "float8_e4m3fnuz" => FileDType::F8E4M3Fnuz,
        "float8_e5m2fnuz" => FileDType::F8E5M2Fnuz,
        "float8_e8m0fnu" => FileDType::F8E8M0,
        "int64" | "long" => FileDType::I64,
        "int32" | "int" => FileDType::I32,
        "int16" | "short" => FileDType::I16,
        "int8" => FileDType::I8,
        "uint64" => FileDType::U64,
        "uint32" => FileDType::U32,
        "uint16" => FileDType::U16,
        "uint8" => FileDType::U8,
        "bool" => FileDType::Bool,
        "complex64" | "cfloat" => FileDType::C64,
        "complex128" | "cdouble" => FileDType::C128,
        _ => return None,
    })
}
