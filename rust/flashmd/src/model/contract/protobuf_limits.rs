//! Limits on a protobuf, checked on its bytes before anything is allocated for them.
//!
//! An empty message of two bytes becomes a structure of hundreds, here and in ONNX Runtime: a file of some megabytes
//! would fill memory. So the fields of every message are counted first, without decoding one.

use crate::error::{ModelFault, Result};

/// Most fields of all messages of a file together. A graph has about ten for each operator.
pub(crate) const MOST_FIELDS: usize = 1 << 20;
/// Deepest message within messages: the limit of protobuf's own readers.
const DEEPEST: usize = 100;

/// The messages of `onnx.proto3` that hold messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Annotation,
    Value,
    Type,
    /// The type of a tensor, dense or sparse.
    TensorType,
    Shape,
    /// The type of a sequence, an optional value or a map.
    Container,
    /// Holds numbers and strings only.
    Flat,
    /// For training or for several devices; no network to be run needs it.
    Foreign,
}

impl Message {
    /// What the field `tag` holds, if it is a message.
    fn child(self, tag: u64) -> Option<Self> {
        let child = match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Attribute, 14 | 15) | (Self::Value, 2) | (Self::Container, 1 | 2) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Type, 4 | 5 | 7 | 9) => Self::Container,
            (Self::Model, 20 | 26) | (Self::Node, 10) => Self::Foreign,
            (Self::Model, 8 | 14)
            | (Self::Graph, 16)
            | (Self::Function, 9 | 14)
            | (Self::Node, 9)
            | (Self::Tensor, 3 | 13 | 16)
            | (Self::Annotation, 2)
            | (Self::Value, 4)
            | (Self::Shape, 1) => Self::Flat,
            _ => return None,
        };
        Some(child)
    }
}

/// Checks that the fields of `bytes`, read as an ONNX model, are not too many.
///
/// # Errors
/// `Model` if they are, or if messages are cut off or nested too deeply.
pub(crate) fn check_size(bytes: &[u8]) -> Result<()> {
    // Where each open message ends, the innermost last.
    let mut open = vec![(Message::Model, bytes.len())];
    let mut position = 0;
    let mut fields = 0;
    while let Some(&(message, end)) = open.last() {
        if position == end {
            open.pop();
            continue;
        }
        fields += 1;
        if fields > MOST_FIELDS {
            return Err(ModelFault::TooManyFields { most: MOST_FIELDS }.into());
        }
        let key = varint(bytes, &mut position, end)?;
        let size = match key & 7 {
            0 => varint(bytes, &mut position, end).map(|_| 0)?,
            1 => 8,
            2 => varint(bytes, &mut position, end)?,
            5 => 4,
            // Groups are in no ONNX file; the decoder says what is wrong with the rest.
            _ => return Err(ModelFault::NotOnnx { problem: "it holds a field of an unknown type".into() }.into()),
        };
        let Some(next) =
            usize::try_from(size).ok().and_then(|size| position.checked_add(size)).filter(|&next| next <= end)
        else {
            return Err(ModelFault::CutOff.into());
        };
        match message.child(key >> 3).filter(|_| key & 7 == 2) {
            Some(Message::Foreign) => return Err(ModelFault::TrainingSettings.into()),
            Some(_) if open.len() > DEEPEST => return Err(ModelFault::NestedTooDeeply { most: DEEPEST }.into()),
            Some(child) => open.push((child, next)),
            None => position = next,
        }
    }
    Ok(())
}

fn varint(bytes: &[u8], position: &mut usize, end: usize) -> Result<u64> {
    let mut value = 0u64;
    for (place, &byte) in bytes[*position..end].iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            *position += place + 1;
            return Ok(value);
        }
    }
    Err(ModelFault::CutOff.into())
}
