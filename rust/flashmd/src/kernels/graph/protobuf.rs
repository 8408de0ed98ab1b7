//! Changes to the bytes of a checked model file: more outputs, other nodes. Everything else is copied as it is.

use prost::Message;

use super::Node;

/// Field numbers of `onnx.proto3`.
const GRAPH: u64 = 7;
const OPSET_IMPORT: u64 = 8;
const NODE: u64 = 1;
const OUTPUT: u64 = 12;

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Output {
    #[prost(string, tag = "1")]
    name: String,
}

/// A node of the new graph.
#[derive(Debug)]
pub(in crate::kernels) enum Placed {
    /// The one of this number in the file.
    Old(usize),
    New(Node),
}

/// The model with these tensors among its outputs.
pub(in crate::kernels) fn with_outputs(bytes: &[u8], names: &[&str]) -> Option<Vec<u8>> {
    rewrite_graph(bytes, |graph| {
        let mut out = graph.to_vec();
        for &name in names {
            append(&mut out, OUTPUT, &Output { name: name.to_owned() }.encode_to_vec());
        }
        Some(out)
    })
}

/// The model with these nodes, of which the new ones are of `domain`.
pub(in crate::kernels) fn with_nodes(bytes: &[u8], nodes: &[Placed], domain: &str) -> Option<Vec<u8>> {
    let mut model = rewrite_graph(bytes, |graph| {
        let mut old = Vec::new();
        let mut out = Vec::with_capacity(graph.len());
        for (number, field) in fields(graph)? {
            match number {
                NODE => old.push(field),
                _ => out.extend_from_slice(field.whole),
            }
        }
        for node in nodes {
            match node {
                Placed::Old(place) => out.extend_from_slice(old.get(*place)?.whole),
                Placed::New(node) => append(&mut out, NODE, &node.encode_to_vec()),
            }
        }
        Some(out)
    })?;
    append(&mut model, OPSET_IMPORT, &OperatorSet { domain: domain.to_owned(), version: 1 }.encode_to_vec());
    Some(model)
}

fn rewrite_graph(bytes: &[u8], change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    for (number, field) in fields(bytes)? {
        match number {
            GRAPH => append(&mut out, GRAPH, &change(field.content)?),
            _ => out.extend_from_slice(field.whole),
        }
    }
    Some(out)
}

fn append(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    prost::encoding::encode_varint(number << 3 | 2, out);
    prost::encoding::encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// A field with its key, and what it holds.
#[derive(Clone, Copy)]
struct Field<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The fields of a message by number; `None` if it is cut off.
fn fields(message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut list = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let key = prost::encoding::decode_varint(&mut rest).ok()?;
        let size = match key & 7 {
            0 => {
                prost::encoding::decode_varint(&mut rest).ok()?;
                0
            }
            1 => 8,
            2 => usize::try_from(prost::encoding::decode_varint(&mut rest).ok()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(size)?;
        list.push((key >> 3, Field { whole: &start[..start.len() - after.len()], content }));
        rest = after;
    }
    Some(list)
}
