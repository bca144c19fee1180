//! The ways in which a PyTorch checkpoint can be of no use.

use crate::printable::printable;
use crate::tensor::FileDType;
use warmstart_graph::Shape;

warmstart_graph::debug_as_display!(PyTorchError);

/// Why a PyTorch checkpoint cannot be read. Offsets are those in its `data.pkl`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PyTorchError {
    /// Two entries of the archive are the pickle.
    #[error(
        "both `{first}` and `{second}` are in the archive, and readers would disagree about which \
         counts: save each with `torch.save` to a file of its own", first = printable(.first), second = printable(.second)
    )]
    Pickles {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The pickle asks for an object that has no place in a checkpoint.
    #[error(
        "its pickle asks for `{global}` at offset {offset}, and only tensors, numbers, texts and \
         their containers are read; nothing was executed. If you trust where the file is from, load \
         it in Python and save the tensors alone: `torch.save(model.state_dict(), \"model.pt\")`; \
         if not, never load it in Python", global = printable(.global)
    )]
    Global {
        /// Module and name.
        global: String,
        /// Where in the pickle.
        offset: usize,
    },
    /// The pickle has an instruction that has no place in a checkpoint.
    #[error(
        "its pickle has the opcode {opcode:#04x}{} at offset {offset}, which `torch.save` does not \
         write; nothing was executed. Save the file again with `torch.save(state_dict, \
         \"model.pt\")`", opcode_name(*.opcode)
    )]
    Opcode {
        /// The byte.
        opcode: u8,
        /// Where in the pickle.
        offset: usize,
    },
    /// The pickle ends within an instruction, or without its end.
    #[error("its pickle ends at offset {offset}, before it is whole: copy or write the file again")]
    CutShort {
        /// Where it ends.
        offset: usize,
    },
    /// An instruction of the pickle makes no sense where it is.
    #[error(
        "its pickle makes no sense at offset {offset}: {problem}. The file is damaged or was not \
         written by `torch.save`: write it again"
    )]
    Pickle {
        /// Where in the pickle.
        offset: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// Containers within containers without an end.
    #[error(
        "`{name}` lies {depth} containers deep, which no checkpoint needs: save the state dict \
         alone", name = printable(.name)
    )]
    TooDeep {
        /// What was being listed.
        name: String,
        /// How many containers are around it.
        depth: usize,
    },
    /// Containers that hold each other so often that listing them would not end.
    #[error(
        "its containers hold each other so often that the list of what is in them is far longer \
         than the file, as in a file that was made to do harm: save the state dict alone"
    )]
    TooMany,
    /// A tensor has a key that is neither text nor a number.
    #[error(
        "a tensor in `{name}` has a key that is neither text nor a number: save the state dict \
         alone", name = printable(.name)
    )]
    Key {
        /// The container.
        name: String,
    },
    /// Two tensors get one name.
    #[error(
        "two tensors get the name `{tensor}`, since keys are joined by dots: give one of them \
         another key, or save the state dict alone", tensor = printable(.tensor)
    )]
    Twice {
        /// The name.
        tensor: String,
    },
    /// A storage is not in the archive.
    #[error(
        "tensor `{tensor}` lies in the storage `{entry}`, which is not in the archive: copy or write \
         the file again", tensor = printable(.tensor), entry = printable(.entry)
    )]
    NoStorage {
        /// The tensor.
        tensor: String,
        /// The entry that should be in the archive.
        entry: String,
    },
    /// A storage has not as many bytes as the pickle says.
    #[error(
        "tensor `{tensor}` lies in the storage `{entry}`, which should have {expected} bytes and has \
         {found}: copy or write the file again", tensor = printable(.tensor), entry = printable(.entry)
    )]
    StorageSize {
        /// The tensor.
        tensor: String,
        /// The entry of the archive.
        entry: String,
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// A tensor reaches beyond its storage.
    #[error(
        "tensor `{tensor}`, {dtype} {shape}, reaches beyond the {bytes} bytes of its storage: the \
         file is damaged; copy or write it again", tensor = printable(.tensor)
    )]
    BeyondStorage {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
        /// Its shape.
        shape: Shape,
        /// Bytes of the storage.
        bytes: u64,
    },
    /// A tensor that repeats few elements so often that it is larger than the file.
    #[error(
        "tensor `{tensor}`, {dtype} {shape}, is larger than the whole file, since strides of zero \
         repeat its elements: save `tensor[...]` without `expand`", tensor = printable(.tensor)
    )]
    Repeated {
        /// The tensor.
        tensor: String,
        /// Its dtype.
        dtype: FileDType,
        /// Its shape.
        shape: Shape,
    },
    /// A tensor whose elements lie in another order, in an entry that can only be read in order.
    #[error(
        "tensor `{tensor}` lies in another order than its elements in the compressed storage \
         `{entry}`, which would have to be inflated over and over: `torch.save` does not compress; \
         unpack the archive and pack it again without compression (`zip -0`)", tensor = printable(.tensor), entry = printable(.entry)
    )]
    CompressedView {
        /// The tensor.
        tensor: String,
        /// The entry of the archive.
        entry: String,
    },
    /// The archive says neither that its bytes are little-endian nor that they are big-endian.
    #[error(
        "its entry `byteorder` is `{found}`, neither `little` nor `big`: save it again with \
         `torch.save`", found = printable(.found)
    )]
    ByteOrder {
        /// What it says.
        found: String,
    },
}

/// What Python calls an instruction that is known and refused.
fn opcode_name(opcode: u8) -> String {
    let name = match opcode {
        b'0' => "POP",
        b'1' => "POP_MARK",
        b'2' => "DUP",
        b'F' => "FLOAT",
        b'I' => "INT",
        b'L' => "LONG",
        b'P' => "PERSID",
        b'S' => "STRING",
        b'V' => "UNICODE",
        b'd' => "DICT",
        b'g' => "GET",
        b'i' => "INST",
        b'l' => "LIST",
        b'o' => "OBJ",
        b'p' => "PUT",
        0x82 => "EXT1",
        0x83 => "EXT2",
        0x84 => "EXT4",
        0x8b => "LONG4",
        0x92 => "NEWOBJ_EX",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => return String::new(),
    };
    format!(" ({name})")
}
