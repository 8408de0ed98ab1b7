//! A graph as the kernels read it: operators with their inputs, and the constants they are given.
//!
//! The reader of the model contract, in `model/`, knows other fields, and decodes no numbers. Field numbers are those of `onnx.proto3` (onnx 1.23).

pub(in crate::kernels) mod extent;
pub(in crate::kernels) mod facts;
pub(in crate::kernels) mod protobuf;

use std::collections::HashSet;

use prost::Message;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Anything>,
}

/// A message of which only the presence counts.
#[derive(Clone, PartialEq, Message)]
struct Anything {}

/// Operators in the order of the file, constants, outputs.
#[derive(Clone, PartialEq, Message)]
pub(in crate::kernels) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::kernels) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub(in crate::kernels) constants: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub(in crate::kernels) inputs: Vec<Named>,
    #[prost(message, repeated, tag = "12")]
    pub(in crate::kernels) outputs: Vec<Named>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::kernels) struct Named {
    #[prost(string, tag = "1")]
    pub(in crate::kernels) name: String,
}

/// One operator.
#[derive(Clone, PartialEq, Message)]
pub(in crate::kernels) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(in crate::kernels) inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(in crate::kernels) outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub(in crate::kernels) name: String,
    #[prost(string, tag = "4")]
    pub(in crate::kernels) operator: String,
    #[prost(message, repeated, tag = "5")]
    pub(in crate::kernels) attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(in crate::kernels) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::kernels) struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, tag = "2")]
    float: f32,
    #[prost(int64, tag = "3")]
    integer: i64,
    #[prost(bytes = "vec", tag = "4")]
    string: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    tensor: Option<TensorProto>,
    #[prost(message, optional, boxed, tag = "6")]
    graph: Option<Box<Graph>>,
    #[prost(int64, repeated, tag = "8")]
    integers: Vec<i64>,
}

/// A constant of the file.
#[derive(Clone, PartialEq, Message)]
pub(in crate::kernels) struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub(in crate::kernels) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(in crate::kernels) element: i32,
    #[prost(float, repeated, tag = "4")]
    floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    small_integers: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    integers: Vec<i64>,
    #[prost(string, tag = "8")]
    pub(in crate::kernels) name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw: Vec<u8>,
}

/// Numbers of a constant.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::kernels) enum Numbers {
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    Booleans(Vec<bool>),
}

impl Graph {
    /// The graph of a checked file; `None` if it holds functions, which nothing here reads.
    pub(in crate::kernels) fn read(bytes: &[u8]) -> Option<Self> {
        let model = ModelProto::decode(bytes).ok()?;
        model.graph.filter(|_| model.functions.is_empty())
    }

    /// Names of what its nodes read and nothing in it makes.
    fn captures(&self) -> Vec<&str> {
        let made = self.nodes.iter().flat_map(|node| &node.outputs);
        let held = self.constants.iter().map(|constant| &constant.name);
        let own: HashSet<&str> = made.chain(held).map(String::as_str).collect();
        self.nodes.iter().flat_map(Node::reads).filter(|name| !own.contains(name)).collect()
    }
}

impl Node {
    fn find(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }

    pub(in crate::kernels) fn integer(&self, name: &str, default: i64) -> i64 {
        self.find(name).map_or(default, |a| a.integer)
    }

    pub(in crate::kernels) fn integers(&self, name: &str) -> Option<&[i64]> {
        self.find(name).map(|a| a.integers.as_slice())
    }

    pub(in crate::kernels) fn float(&self, name: &str, default: f32) -> f32 {
        self.find(name).map_or(default, |a| a.float)
    }

    pub(in crate::kernels) fn string(&self, name: &str) -> Option<&[u8]> {
        self.find(name).map(|a| a.string.as_slice())
    }

    pub(in crate::kernels) fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.find(name)?.tensor.as_ref()
    }

    /// True if it runs a graph of its own.
    pub(in crate::kernels) fn holds_graph(&self) -> bool {
        self.attributes.iter().any(|a| a.graph.is_some())
    }

    /// Names of all that it may read: its inputs, and those of the graphs it holds.
    pub(in crate::kernels) fn reads(&self) -> Vec<&str> {
        let held = self.attributes.iter().filter_map(|a| a.graph.as_deref()).flat_map(Graph::captures);
        self.inputs.iter().map(String::as_str).chain(held).filter(|name| !name.is_empty()).collect()
    }
}

impl TensorProto {
    /// The numbers of a float32, int32, int64 or bool tensor.
    pub(in crate::kernels) fn numbers(&self) -> Option<Numbers> {
        let raw = |size: usize| self.raw.chunks_exact(size);
        let numbers = match (self.element, self.raw.is_empty()) {
            (1, false) => {
                Numbers::Floats(raw(4).filter_map(|b| Some(f32::from_le_bytes(b.try_into().ok()?))).collect())
            }
            (1, true) => Numbers::Floats(self.floats.clone()),
            (6, false) => {
                Numbers::Integers(raw(4).filter_map(|b| Some(i32::from_le_bytes(b.try_into().ok()?).into())).collect())
            }
            (6, true) => Numbers::Integers(self.small_integers.iter().map(|&i| i.into()).collect()),
            (7, false) => {
                Numbers::Integers(raw(8).filter_map(|b| Some(i64::from_le_bytes(b.try_into().ok()?))).collect())
            }
            (7, true) => Numbers::Integers(self.integers.clone()),
            (9, false) => Numbers::Booleans(self.raw.iter().map(|&b| b != 0).collect()),
            (9, true) => Numbers::Booleans(self.small_integers.iter().map(|&i| i != 0).collect()),
            _ => return None,
        };
        let wanted: i64 = self.dims.iter().product();
        (numbers.len() == usize::try_from(wanted).ok()?).then_some(numbers)
    }
}

impl Numbers {
    pub(in crate::kernels) fn len(&self) -> usize {
        match self {
            Self::Floats(x) => x.len(),
            Self::Integers(x) => x.len(),
            Self::Booleans(x) => x.len(),
        }
    }
}

impl Numbers {
    /// The first number alone; `None` if there is none.
    pub(in crate::kernels) fn first(&self) -> Option<Self> {
        match self {
            Self::Floats(x) => x.first().map(|&x| Self::Floats(vec![x])),
            Self::Integers(x) => x.first().map(|&x| Self::Integers(vec![x])),
            Self::Booleans(x) => x.first().map(|&x| Self::Booleans(vec![x])),
        }
    }

    /// The first so many of them; `None` of none or of fewer.
    pub(in crate::kernels) fn start(&self, count: usize) -> Option<Self> {
        if count == 0 || count > self.len() {
            return None;
        }
        Some(match self {
            Self::Floats(x) => Self::Floats(x[..count].to_vec()),
            Self::Integers(x) => Self::Integers(x[..count].to_vec()),
            Self::Booleans(x) => Self::Booleans(x[..count].to_vec()),
        })
    }

    /// True if it is `row` again and again.
    pub(in crate::kernels) fn is_repetition_of(&self, row: &Self) -> bool {
        let count = row.len();
        match (self, row) {
            (Self::Floats(x), Self::Floats(row)) => {
                x.iter().enumerate().all(|(i, x)| x.to_bits() == row[i % count].to_bits())
            }
            (Self::Integers(x), Self::Integers(row)) => x.iter().enumerate().all(|(i, x)| *x == row[i % count]),
            (Self::Booleans(x), Self::Booleans(row)) => x.iter().enumerate().all(|(i, x)| *x == row[i % count]),
            _ => false,
        }
    }

    /// True if all numbers are the same.
    pub(in crate::kernels) fn all_equal(&self) -> bool {
        match self {
            Self::Floats(x) => x.iter().all(|y| y.to_bits() == x[0].to_bits()),
            Self::Integers(x) => x.iter().all(|y| *y == x[0]),
            Self::Booleans(x) => x.iter().all(|y| *y == x[0]),
        }
    }
}
