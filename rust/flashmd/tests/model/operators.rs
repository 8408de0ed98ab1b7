//! Operators and functions of a graph.

use flashmd::error::ModelFault;
use flashmd::model::Contract;

use crate::protobuf::{File, field, node, reduction};
use crate::refused;

#[test]
fn opset_and_operators_are_checked() {
    refused!(File { opsets: vec![("", 19)], ..File::default() }, ModelFault::OtherOpset { got: 19, wanted: 20 });
    refused!(File { opsets: vec![("com.example", 1)], ..File::default() }, ModelFault::NoOpset { .. });
    let only = |nodes| File { nodes, ..File::default() };
    refused!(only(vec![node("Secret", "org.example", &[])]), ModelFault::ForeignOperator { operator, domain, .. } if (operator.as_str(), domain.as_str()) == ("\"Secret\"", "\"org.example\""));
    refused!(only(vec![node("Gelu", "com.microsoft", &[])]), ModelFault::ForeignOperator { .. });
    for operator in ["ScatterND", "ScatterElements"] {
        refused!(only(vec![node(operator, "", &[reduction("add")])]), ModelFault::ScatterReduction { .. });
        assert!(Contract::read(&only(vec![node(operator, "", &[reduction("none")])]).bytes()).is_ok());
        assert!(Contract::read(&only(vec![node(operator, "", &[])]).bytes()).is_ok());
        let by_reference = [field(1, b"reduction"), field(21, b"how")].concat();
        refused!(only(vec![node(operator, "", &[by_reference])]), ModelFault::ScatterReduction { .. });
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
        refused!(File { nodes: vec![twice], ..File::default() }, ModelFault::ScatterReduction { .. });
    }
    let call = vec![node("F", "local", &[])];
    let with = |functions| File { nodes: call.clone(), functions, ..File::default() };
    assert!(Contract::read(&with(vec![function("F", &node("Add", "", &[]))]).bytes()).is_ok());
    refused!(with(vec![function("F", &scatter)]), ModelFault::ScatterReduction { .. });
}

#[test]
fn nothing_runs_without_end_or_at_random() {
    let only = |nodes| File { nodes, ..File::default() };
    for operator in ["Loop", "Scan", "SequenceMap"] {
        refused!(only(vec![node(operator, "", &[])]), ModelFault::RepeatingOperator { .. });
        refused!(only(vec![node(operator, "ai.onnx", &[])]), ModelFault::RepeatingOperator { .. });
        let hidden = node("If", "", &[[field(1, b"then"), field(6, &field(1, &node(operator, "", &[])))].concat()]);
        refused!(only(vec![hidden]), ModelFault::RepeatingOperator { .. });
    }
    for operator in ["RandomNormal", "RandomUniformLike", "Multinomial", "Bernoulli"] {
        refused!(only(vec![node(operator, "", &[])]), ModelFault::RandomOperator { .. });
    }
}

#[test]
fn functions_do_not_call_functions() {
    let with = |functions| File { nodes: vec![node("F", "local", &[])], functions, ..File::default() };
    refused!(with(vec![function("F", &node("F", "local", &[]))]), ModelFault::ForeignOperator { operator, .. } if operator == "\"F\"");
    let chain = vec![function("F", &node("G", "local", &[])), function("G", &node("F", "local", &[]))];
    refused!(with(chain), ModelFault::ForeignOperator { .. });
    refused!(with(vec![function("F", b""), function("F", b"")]), ModelFault::DuplicateFunction { .. });
    for domain in ["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"] {
        let shadow = [field(1, b"Relu"), field(7, &node("Relu", "", &[])), field(10, domain.as_bytes())].concat();
        refused!(with(vec![shadow]), ModelFault::ReservedDomain { .. });
    }
}

#[test]
fn calls_of_large_functions_add_up() {
    let body: Vec<u8> = (0..1000).flat_map(|_| field(7, &node("Neg", "", &[]))).collect();
    let functions = vec![[field(1, b"F"), body, field(10, b"local")].concat()];
    let file =
        |calls| File { nodes: vec![node("F", "local", &[]); calls], functions: functions.clone(), ..File::default() };
    assert!(Contract::read(&file(200).bytes()).is_ok());
    refused!(file(300), ModelFault::TooManyOperators { .. });
}
