//! Model files built by hand, field by field of their protobufs.

use flashmd::Error;
use flashmd::error::ModelFault;
use flashmd::model::Contract;

/// A length-delimited protobuf field.
pub fn field(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// An integer protobuf field.
pub fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// ValueInfoProto; a dimension of 0 is symbolic.
pub fn value(name: &str, element: u64, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> =
        dims.iter().flat_map(|&d| field(1, &if d == 0 { field(2, b"N") } else { number(1, d) })).collect();
    let tensor = [number(1, element), field(2, &dims)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

pub fn node(operator: &str, domain: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|a| field(5, a)).collect();
    [field(3, b"n0"), field(4, operator.as_bytes()), attributes, field(7, domain.as_bytes())].concat()
}

pub fn reduction(kind: &str) -> Vec<u8> {
    [field(1, b"reduction"), field(4, kind.as_bytes())].concat()
}

pub const METADATA: &str = r#"{"contract": 1, "kind": "direct", "stride_fs": 16.0, "cutoff_A": 5.0, "species": ["H", "O"],
    "masses_u": [1.008, 15.999], "equivariant": false, "colour": "unknown keys are ignored"}"#;

/// A model file in parts, all of which a test may replace.
pub struct File {
    pub metadata: Vec<String>,
    pub opsets: Vec<(&'static str, u64)>,
    pub nodes: Vec<Vec<u8>>,
    pub inputs: Vec<Vec<u8>>,
    pub outputs: Vec<Vec<u8>>,
    pub initializers: Vec<Vec<u8>>,
    pub functions: Vec<Vec<u8>>,
    /// Any more fields of the model.
    pub extra: Vec<u8>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            metadata: vec![METADATA.into()],
            opsets: vec![("", 20)],
            nodes: vec![node("Identity", "", &[])],
            inputs: vec![value("momenta", 1, &[0, 3]), value("mask", 9, &[0, 0]), value("neighbors", 6, &[0, 0])],
            outputs: vec![value("displacement", 1, &[0, 3]), value("momenta_out", 1, &[0, 3])],
            initializers: vec![],
            functions: vec![],
            extra: vec![],
        }
    }
}

impl File {
    pub fn bytes(&self) -> Vec<u8> {
        let many = |tag, parts: &[Vec<u8>]| parts.iter().flat_map(|p| field(tag, p)).collect::<Vec<u8>>();
        let graph =
            [many(1, &self.nodes), many(5, &self.initializers), many(11, &self.inputs), many(12, &self.outputs)]
                .concat();
        let opset =
            |&(domain, version): &(&str, u64)| field(8, &[field(1, domain.as_bytes()), number(2, version)].concat());
        let entry = |json: &String| field(14, &[field(1, b"flashmd"), field(2, json.as_bytes())].concat());
        [
            number(1, 10),
            field(7, &graph),
            self.opsets.iter().flat_map(opset).collect(),
            self.metadata.iter().flat_map(entry).collect(),
            many(25, &self.functions),
            self.extra.clone(),
        ]
        .concat()
    }

    /// With an empty message in the field `tag` of the model.
    pub fn foreign(mut self, tag: u64) -> Self {
        self.extra = field(tag, b"");
        self
    }

    pub fn with_metadata(from: &str, to: &str) -> Self {
        assert!(METADATA.contains(from), "the test replaces nothing: {from}");
        Self { metadata: vec![METADATA.replace(from, to)], ..Self::default() }
    }
}

/// What is wrong with a file.
pub fn fault_of(bytes: &[u8]) -> ModelFault {
    match Contract::read(bytes) {
        Err(Error::Model { model: None, fault }) => fault,
        other => panic!("wanted a model error, got {other:?}"),
    }
}

/// Asserts that a file is refused for a reason that matches a pattern.
#[macro_export]
macro_rules! refused {
    ($file:expr, $pattern:pat $(if $guard:expr)?) => {
        match $crate::protobuf::fault_of(&$file.bytes()) {
            $pattern $(if $guard)? => {}
            other => panic!("wanted {}, got {other:?}", stringify!($pattern)),
        }
    };
}
