//! The contract on protobufs built by hand: what is read, what is refused, and in which words.
#![allow(clippy::unwrap_used, clippy::panic)]

use flashmd::Error;
use flashmd::model::{Contract, Input, Kind, Metadata, Output};
use proptest::prelude::*;

/// A length-delimited protobuf field.
fn field(tag: u64, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// An integer protobuf field.
fn number(tag: u64, value: u64) -> Vec<u8> {
    [varint(tag << 3), varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// ValueInfoProto; a dimension of 0 is symbolic.
fn value(name: &str, element: u64, dims: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> =
        dims.iter().flat_map(|&d| field(1, &if d == 0 { field(2, b"N") } else { number(1, d) })).collect();
    let tensor = [number(1, element), field(2, &dims)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn node(operator: &str, domain: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|a| field(5, a)).collect();
    [field(3, b"n0"), field(4, operator.as_bytes()), attributes, field(7, domain.as_bytes())].concat()
}

fn reduction(kind: &str) -> Vec<u8> {
    [field(1, b"reduction"), field(4, kind.as_bytes())].concat()
}

const METADATA: &str = r#"{"contract": 1, "kind": "direct", "stride_fs": 16.0, "cutoff_A": 5.0, "species": ["H", "O"],
    "masses_u": [1.008, 15.999], "equivariant": false, "colour": "unknown keys are ignored"}"#;

/// A model file in parts, all of which a test may replace.
struct File {
    metadata: Vec<String>,
    opsets: Vec<(&'static str, u64)>,
    nodes: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    initializers: Vec<Vec<u8>>,
    functions: Vec<Vec<u8>>,
    /// Any more fields of the model.
    extra: Vec<u8>,
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
    fn bytes(&self) -> Vec<u8> {
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
    fn foreign(mut self, tag: u64) -> Self {
        self.extra = field(tag, b"");
        self
    }

    fn with_metadata(from: &str, to: &str) -> Self {
        assert!(METADATA.contains(from), "the test replaces nothing: {from}");
        Self { metadata: vec![METADATA.replace(from, to)], ..Self::default() }
    }
}

fn refused(file: &File, words: &str) {
    match Contract::read(&file.bytes()) {
        Err(Error::Model(message)) => assert!(message.contains(words), "wanted {words:?} in: {message}"),
        other => panic!("wanted a model error with {words:?}, got {other:?}"),
    }
}

#[test]
fn a_good_file_is_read() {
    let contract = Contract::read(&File::default().bytes()).unwrap();
    assert_eq!(contract.metadata.kind, Kind::Direct);
    assert_eq!((contract.metadata.stride_fs, contract.metadata.cutoff), (16.0, 5.0));
    assert_eq!(contract.metadata.species, ["H", "O"]);
    assert_eq!(contract.inputs, [Input::Momenta, Input::Mask, Input::Neighbors]);
    assert_eq!(contract.outputs, [Output::Displacement, Output::MomentaOut]);
    assert_eq!(contract.json, METADATA);
    assert!(!contract.has(Output::Energy));
}

#[test]
fn an_energy_model_needs_no_stride_and_no_masses() {
    let json = r#"{"contract": 1, "kind": "energy", "cutoff_A": 5, "species": ["O"]}"#;
    let outputs = vec![value("energy", 1, &[0]), value("edge_gradient", 1, &[0, 0, 3])];
    let file = File { metadata: vec![json.into()], outputs, ..File::default() };
    assert_eq!(Contract::read(&file.bytes()).unwrap().metadata.kind, Kind::Energy);
    refused(&File { metadata: vec![json.into()], ..File::default() }, "must have the output \"energy\"");
}

#[test]
fn what_is_not_onnx_is_refused() {
    for bytes in [&b""[..], b"hello", b"PK\x03\x04", &[0xff; 64], METADATA.as_bytes()] {
        let message = Contract::read(bytes).unwrap_err().to_string();
        assert!(message.contains("not an ONNX file"), "{message}");
    }
    refused(&File { metadata: vec![], ..File::default() }, "without the metadata entry `flashmd`");
    refused(&File { metadata: vec![METADATA.into(), METADATA.into()], ..File::default() }, "two metadata entries");
}

#[test]
fn metadata_is_checked() {
    for (from, to, words) in [
        ("\"contract\": 1", "\"contract\": 2", "contract 2, this version reads contract 1"),
        ("\"contract\": 1", "\"contract\": \"1\"", "contract \"1\""),
        ("\"contract\": 1, ", "", "lacks `contract`"),
        ("direct", "oracle", "its kind is \"oracle\", wanted"),
        ("direct", "splitting", "lacks `splitting`, its kicks and drifts"),
        ("direct", "hybrid", "lacks `splitting`, its kicks and drifts"),
        ("\"kind\": \"direct\", ", "", "its kind is missing"),
        ("\"stride_fs\": 16.0, ", "", "lacks `stride_fs`"),
        ("16.0", "0.0", "`stride_fs` in the metadata is 0"),
        ("16.0", "-2", "`stride_fs` in the metadata is -2"),
        ("16.0", "1e999", "does not fit contract 1"),
        ("16.0", "\"16\"", "does not fit contract 1"),
        ("\"cutoff_A\": 5.0, ", "", "missing field `cutoff_A`"),
        ("5.0", "-5.0", "`cutoff_A` in the metadata is -5"),
        ("5.0", "0", "`cutoff_A` in the metadata is 0"),
        ("5.0", "5e-324", "`cutoff_A` in the metadata is 5e-324"),
        ("5.0", "1e9", "`cutoff_A` in the metadata is 1000000000.0; it must be from 0.1 to 50"),
        ("5.0", "1e308", "`cutoff_A` in the metadata is 1e308"),
        ("5.0", "NaN", "does not fit contract 1"),
        ("5.0", "Infinity", "does not fit contract 1"),
        ("5.0", "5.0, \"cutoff_A\": 6.0", "duplicate field `cutoff_A`"),
        ("16.0", "1e300", "`stride_fs` in the metadata is 1e300"),
        ("15.999", "1e-300", "`masses_u` in the metadata is 1e-300"),
        ("15.999", "1e300", "`masses_u` in the metadata is 1e300"),
        ("\"colour\": \"", "\"colour\": 1e999, \"more\": \"", "does not fit contract 1"),
        ("\"colour\": \"", "\"colour\": \"\\ud800", "does not fit contract 1"),
        ("false", "false, \"domain\": {\"smallest_pair_distance_A\": {\"H-H\": 1e308}}", "is 1e308; it must be from 0"),
        ("[\"H\", \"O\"]", "[]", "is empty"),
        ("\"O\"", "\"Xx\"", "\"Xx\", which is not a chemical symbol"),
        ("\"O\"", "\"X\"", "\"X\", which is not a chemical symbol"),
        ("\"O\"", "\"H\"", "lists H twice"),
        ("[1.008, 15.999]", "[1.008]", "1 entries for 2 species"),
        ("15.999", "-1", "`masses_u` in the metadata is -1"),
        ("\"masses_u\": [1.008, 15.999], ", "", "lacks `masses_u`"),
        ("{", "{{", "does not fit contract 1"),
    ] {
        refused(&File::with_metadata(from, to), words);
    }
}

#[test]
fn opset_and_operators_are_checked() {
    refused(&File { opsets: vec![("", 19)], ..File::default() }, "opset 19, the contract wants opset 20");
    refused(&File { opsets: vec![("com.example", 1)], ..File::default() }, "no standard opset");
    let only = |nodes| File { nodes, ..File::default() };
    refused(&only(vec![node("Secret", "org.example", &[])]), "operator \"Secret\" of the domain \"org.example\"");
    refused(&only(vec![node("Gelu", "com.microsoft", &[])]), "com.microsoft");
    for operator in ["ScatterND", "ScatterElements"] {
        refused(&only(vec![node(operator, "", &[reduction("add")])]), "sum over the neighbour axis");
        assert!(Contract::read(&only(vec![node(operator, "", &[reduction("none")])]).bytes()).is_ok());
        assert!(Contract::read(&only(vec![node(operator, "", &[])]).bytes()).is_ok());
        let by_reference = [field(1, b"reduction"), field(21, b"how")].concat();
        refused(&only(vec![node(operator, "", &[by_reference])]), "sum over the neighbour axis");
    }
}

/// A function of the file, in the domain `local`, with a body of one node.
fn function(name: &str, body: &[u8]) -> Vec<u8> {
    [field(1, name.as_bytes()), field(7, body), field(10, b"local")].concat()
}

#[test]
fn subgraphs_and_functions_are_searched() {
    let scatter = node("ScatterND", "", &[reduction("add")]);
    let inner = |tag| [field(1, b"body"), field(tag, &field(1, &scatter))].concat();
    for tag in [6, 11] {
        let nested = node("If", "", &[inner(tag)]);
        let twice = node("If", "", &[[field(1, b"then"), field(6, &field(1, &nested))].concat()]);
        refused(&File { nodes: vec![twice], ..File::default() }, "ScatterND");
    }
    let call = vec![node("F", "local", &[])];
    let with = |functions| File { nodes: call.clone(), functions, ..File::default() };
    assert!(Contract::read(&with(vec![function("F", &node("Add", "", &[]))]).bytes()).is_ok());
    refused(&with(vec![function("F", &scatter)]), "ScatterND");
}

#[test]
fn nothing_runs_without_end_or_at_random() {
    let only = |nodes| File { nodes, ..File::default() };
    for operator in ["Loop", "Scan", "SequenceMap"] {
        refused(&only(vec![node(operator, "", &[])]), "may run without end");
        refused(&only(vec![node(operator, "ai.onnx", &[])]), "may run without end");
        let hidden = node("If", "", &[[field(1, b"then"), field(6, &field(1, &node(operator, "", &[])))].concat()]);
        refused(&only(vec![hidden]), "may run without end");
    }
    for operator in ["RandomNormal", "RandomUniformLike", "Multinomial", "Bernoulli"] {
        refused(&only(vec![node(operator, "", &[])]), "would not repeat");
    }
}

#[test]
fn functions_do_not_call_functions() {
    let with = |functions| File { nodes: vec![node("F", "local", &[])], functions, ..File::default() };
    refused(&with(vec![function("F", &node("F", "local", &[]))]), "operator \"F\" of the domain \"local\"");
    let chain = vec![function("F", &node("G", "local", &[])), function("G", &node("F", "local", &[]))];
    refused(&with(chain), "only standard ONNX operators");
    refused(&with(vec![function("F", b""), function("F", b"")]), "defines the function \"F\" twice");
    for domain in ["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"] {
        let shadow = [field(1, b"Relu"), field(7, &node("Relu", "", &[])), field(10, domain.as_bytes())].concat();
        refused(&with(vec![shadow]), "operators of its own");
    }
}

#[test]
fn calls_of_large_functions_add_up() {
    let body: Vec<u8> = (0..1000).flat_map(|_| field(7, &node("Neg", "", &[]))).collect();
    let functions = vec![[field(1, b"F"), body, field(10, b"local")].concat()];
    let file =
        |calls| File { nodes: vec![node("F", "local", &[]); calls], functions: functions.clone(), ..File::default() };
    assert!(Contract::read(&file(200).bytes()).is_ok());
    refused(&file(300), "operators, too many for a network");
}

#[test]
fn floods_of_tiny_messages_are_refused_unread() {
    let flood = |prefix: &[u64], tag: u64| {
        let inner: Vec<u8> = varint(tag << 3 | 2).into_iter().chain([0]).collect();
        let bytes = inner.repeat(2_000_000);
        prefix.iter().rev().fold(bytes, |bytes, &tag| field(tag, &bytes))
    };
    let places: [(&[u64], u64); 6] =
        [(&[7], 1), (&[7, 1], 5), (&[7, 5], 13), (&[25], 7), (&[], 14), (&[7, 13, 2, 1, 2], 1)];
    for (prefix, tag) in places {
        let message = Contract::read(&flood(prefix, tag)).unwrap_err().to_string();
        assert!(message.contains("too many for a network"), "{prefix:?} {tag}: {message}");
    }
}

#[test]
fn claims_of_more_than_there_is_are_refused() {
    for claim in [1u64 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, u64::MAX] {
        let cut = [varint(7 << 3 | 2), varint(claim), vec![0; 64]].concat();
        let message = Contract::read(&cut).unwrap_err().to_string();
        assert!(message.contains("cut off"), "{claim}: {message}");
    }
    refused(&File { nodes: vec![], ..File::default() }.foreign(20), "training or device settings");
    refused(&File { nodes: vec![], ..File::default() }.foreign(26), "training or device settings");
}

#[test]
fn messages_fit_a_terminal() {
    let nasty = "\u{1b}[2J\u{7}\u{202e}\n".to_owned() + &"x".repeat(100_000);
    let files = [
        File { nodes: vec![node("Secret", &nasty, &[])], ..File::default() },
        File { nodes: vec![node(&nasty, "org.example", &[])], ..File::default() },
        File { inputs: vec![value(&nasty, 1, &[0])], ..File::default() },
        File { outputs: vec![value(&nasty, 1, &[0])], ..File::default() },
        File { initializers: vec![[field(8, nasty.as_bytes()), number(14, 1)].concat()], ..File::default() },
        File { metadata: vec![nasty.clone()], ..File::default() },
        File::with_metadata("\"O\"", &serde_json::to_string(&nasty).unwrap()),
        File::with_metadata("\"direct\"", &serde_json::to_string(&nasty).unwrap()),
        File::with_metadata("\"contract\": 1", &format!("\"contract\": {}", serde_json::to_string(&nasty).unwrap())),
        File::with_metadata("16.0", &serde_json::to_string(&nasty).unwrap()),
    ];
    for file in files {
        let message = Contract::read(&file.bytes()).unwrap_err().to_string();
        assert!(message.chars().count() < 1200, "{} characters", message.len());
        assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message:?}");
    }
}

#[test]
fn a_million_species_and_deep_json_are_refused_quickly() {
    let start = std::time::Instant::now();
    let species = format!("[{}]", vec!["\"H\""; 100_000].join(", "));
    refused(&File::with_metadata("[\"H\", \"O\"]", &species), "lists H twice");
    let species = format!("[{}]", vec!["\"H\""; 1_000_000].join(", "));
    refused(&File::with_metadata("[\"H\", \"O\"]", &species), "bytes long; it may have");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    refused(&File::with_metadata("\"unknown keys are ignored\"", &deep), "recursion limit");
    assert!(start.elapsed().as_secs_f64() < 2.0);
}

#[test]
fn external_data_is_refused_wherever_it_hides() {
    let entry = field(13, &[field(1, b"location"), field(2, b"/etc/passwd")].concat());
    for tensor in [[field(8, b"w"), number(14, 1)].concat(), [field(8, b"w"), entry].concat()] {
        refused(&File { initializers: vec![tensor.clone()], ..File::default() }, "in another file");
        let constant = node("Constant", "", &[[field(1, b"value"), field(5, &tensor)].concat()]);
        refused(&File { nodes: vec![constant], ..File::default() }, "in another file");
        let sparse = node("Constant", "", &[[field(1, b"sparse_value"), field(22, &field(1, &tensor))].concat()]);
        refused(&File { nodes: vec![sparse], ..File::default() }, "in another file");
    }
}

#[test]
fn inputs_and_outputs_are_checked() {
    let inputs = |v| File { inputs: vec![v], ..File::default() };
    refused(&inputs(value("positions", 1, &[0, 3])), "wants the input \"positions\"");
    refused(&inputs(value("head", 11, &[2])), "of type float64, the contract wants float32");
    for size in [0, 2] {
        assert!(Contract::read(&inputs(value("head", 1, &[size])).bytes()).is_ok(), "as many scalars as a model has");
    }
    refused(&inputs(value("momenta", 11, &[0, 3])), "of type float64, the contract wants float32");
    refused(&inputs(value("neighbors", 7, &[0, 0])), "of type int64, the contract wants int32");
    refused(&inputs(value("momenta", 1, &[0])), "has 1 axes");
    refused(&inputs(value("momenta", 1, &[0, 4])), "size 4 along axis 1");
    refused(&inputs(value("mask", 9, &[192, 0])), "fixed to 192 along axis 0");
    refused(&inputs(field(1, b"momenta")), "is not a tensor");
    let outputs = |outputs| File { outputs, ..File::default() };
    refused(
        &outputs(vec![value("displacement", 1, &[0, 3])]),
        "must have the output \"momenta_out\"; it has displacement",
    );
    refused(&outputs(vec![value("displacement", 1, &[0, 3]), value("momenta_out", 10, &[0, 3])]), "momenta_out");
    let constant = File { inputs: vec![value("c", 1, &[3])], initializers: vec![field(8, b"c")], ..File::default() };
    assert!(Contract::read(&constant.bytes()).is_ok(), "an input with a value is a constant");
}

#[test]
fn atoms_are_matched_with_species_and_masses() {
    let metadata = Metadata::parse(METADATA).unwrap();
    assert_eq!(metadata.assign(&[8, 1, 1], &[15.999, 1.008, 1.0085]).unwrap(), [1, 0, 0]);
    let message = |z, m| metadata.assign(&[8, z], &[15.999, m]).unwrap_err().to_string();
    assert!(message(6, 12.0).contains("atom 1 is C, the model knows H, O"));
    assert!(message(0, 12.0).contains("atom 1 is X"));
    assert!(message(1, 2.014).contains("atom 1 (H) has a mass of 2.014 u, the model was trained with 1.008 u"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(at in 0usize..600, byte: u8, cut in 0usize..600, noise: Vec<u8>) {
        let mut bytes = File::default().bytes();
        let length = bytes.len();
        bytes[at % length] = byte;
        let _ = Contract::read(&bytes);
        let _ = Contract::read(&bytes[..cut % length]);
        let _ = Contract::read(&noise);
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let mut inner = node("If", "", &[]);
    for _ in 0..2000 {
        inner = node("If", "", &[[field(1, b"b"), field(6, &field(1, &inner))].concat()]);
    }
    assert!(matches!(Contract::read(&File { nodes: vec![inner], ..File::default() }.bytes()), Err(Error::Model(_))));
}
