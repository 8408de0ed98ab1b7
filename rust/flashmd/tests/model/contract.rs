//! Tensors, metadata entry and data of a file.

use flashmd::error::ModelFault;
use flashmd::model::{Contract, Input, Kind, Output};

use crate::protobuf::{File, METADATA, fault_of, field, node, number, value};
use crate::refused;

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
    refused!(
        File { metadata: vec![json.into()], ..File::default() },
        ModelFault::MissingOutput { kind: "energy", output: "energy", .. }
    );
}

#[test]
fn what_is_not_onnx_is_refused() {
    for bytes in [&b""[..], b"hello", b"PK\x03\x04", &[0xff; 64], METADATA.as_bytes()] {
        let fault = fault_of(bytes);
        assert!(matches!(fault, ModelFault::NotOnnx { .. } | ModelFault::CutOff), "{fault:?}");
    }
    refused!(File { metadata: vec![], ..File::default() }, ModelFault::NoMetadata);
    refused!(
        File { metadata: vec![METADATA.into(), METADATA.into()], ..File::default() },
        ModelFault::TwoMetadataEntries
    );
}

#[test]
fn external_data_is_refused_wherever_it_hides() {
    let entry = field(13, &[field(1, b"location"), field(2, b"/etc/passwd")].concat());
    for tensor in [[field(8, b"w"), number(14, 1)].concat(), [field(8, b"w"), entry].concat()] {
        refused!(File { initializers: vec![tensor.clone()], ..File::default() }, ModelFault::ExternalData { .. });
        let constant = node("Constant", "", &[[field(1, b"value"), field(5, &tensor)].concat()]);
        refused!(File { nodes: vec![constant], ..File::default() }, ModelFault::ExternalData { .. });
        let sparse = node("Constant", "", &[[field(1, b"sparse_value"), field(22, &field(1, &tensor))].concat()]);
        refused!(File { nodes: vec![sparse], ..File::default() }, ModelFault::ExternalData { .. });
    }
}

#[test]
fn inputs_and_outputs_are_checked() {
    let inputs = |v| File { inputs: vec![v], ..File::default() };
    refused!(inputs(value("positions", 1, &[0, 3])), ModelFault::UnknownInput { name, .. } if name == "\"positions\"");
    refused!(inputs(value("head", 11, &[2])), ModelFault::WrongType { got, wanted, .. } if (got.as_str(), wanted.as_str()) == ("float64", "float32"));
    for size in [0, 2] {
        assert!(Contract::read(&inputs(value("head", 1, &[size])).bytes()).is_ok(), "as many scalars as a model has");
    }
    refused!(inputs(value("momenta", 11, &[0, 3])), ModelFault::WrongType { got, wanted, .. } if (got.as_str(), wanted.as_str()) == ("float64", "float32"));
    refused!(inputs(value("neighbors", 7, &[0, 0])), ModelFault::WrongType { got, wanted, .. } if (got.as_str(), wanted.as_str()) == ("int64", "int32"));
    refused!(inputs(value("momenta", 1, &[0])), ModelFault::WrongAxes { got: 1, .. });
    refused!(inputs(value("momenta", 1, &[0, 4])), ModelFault::WrongSize { got: 4, axis: 1, .. });
    refused!(inputs(value("mask", 9, &[192, 0])), ModelFault::FixedSize { size: 192, axis: 0, .. });
    refused!(inputs(field(1, b"momenta")), ModelFault::NotATensor { .. });
    let outputs = |outputs| File { outputs, ..File::default() };
    refused!(
        outputs(vec![value("displacement", 1, &[0, 3])]),
        ModelFault::MissingOutput { output: "momenta_out", got, .. } if got == "displacement"
    );
    refused!(outputs(vec![value("displacement", 1, &[0, 3]), value("momenta_out", 10, &[0, 3])]), ModelFault::WrongType { name, .. } if name == "\"momenta_out\"");
    let constant = File { inputs: vec![value("c", 1, &[3])], initializers: vec![field(8, b"c")], ..File::default() };
    assert!(Contract::read(&constant.bytes()).is_ok(), "an input with a value is a constant");
}

#[test]
fn an_output_that_a_kind_does_not_use_may_have_another_shape() {
    let json = r#"{"contract": 1, "kind": "energy", "cutoff_A": 5, "species": ["O"]}"#;
    let with = |others: &[Vec<u8>]| [others, &[value("uncertainty", 1, &[0, 1])]].concat();
    let outputs = with(&[value("energy", 1, &[0])]);
    let contract = Contract::read(&File { metadata: vec![json.into()], outputs, ..File::default() }.bytes()).unwrap();
    assert_eq!(contract.outputs, [Output::Energy]);
    let outputs = with(&[value("displacement", 1, &[0, 3]), value("momenta_out", 1, &[0, 3])]);
    refused!(File { outputs, ..File::default() }, ModelFault::WrongSize { got: 1, wanted: 2, .. });
}
