//! The messages of a bundle, with only the fields that are read here. TensorFlow's own
//! descriptions: `tensor_bundle.proto`, `tensor_shape.proto`, `tensor_slice.proto`,
//! `trackable_object_graph.proto`.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Header {
    #[prost(int32, tag = "1")]
    pub shards: i32,
    /// Zero is little-endian.
    #[prost(int32, tag = "2")]
    pub endianness: i32,
    #[prost(message, optional, tag = "3")]
    pub version: Option<Version>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Version {
    #[prost(int32, tag = "2")]
    pub min_consumer: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShape>,
    #[prost(int32, tag = "3")]
    pub shard: i32,
    #[prost(int64, tag = "4")]
    pub offset: i64,
    #[prost(int64, tag = "5")]
    pub size: i64,
    /// The data's crc32c, masked.
    #[prost(fixed32, tag = "6")]
    pub masked: u32,
    #[prost(message, repeated, tag = "7")]
    pub slices: Vec<TensorSlice>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    pub dims: Vec<Dim>,
    #[prost(bool, tag = "3")]
    pub unknown_rank: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(int64, tag = "1")]
    pub size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorSlice {
    #[prost(message, repeated, tag = "1")]
    pub extents: Vec<Extent>,
}

/// Part of one axis; all of it if there is no length.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Extent {
    #[prost(int64, tag = "1")]
    pub start: i64,
    #[prost(int64, optional, tag = "2")]
    pub length: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ObjectGraph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Object>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Object {
    #[prost(message, repeated, tag = "2")]
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    /// The name that the variable has in a graph.
    #[prost(string, tag = "2")]
    pub full_name: String,
    #[prost(string, tag = "3")]
    pub checkpoint_key: String,
}
