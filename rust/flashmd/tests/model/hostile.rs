//! Files that are made to do harm.

use flashmd::error::ModelFault;
use flashmd::model::Contract;

use crate::protobuf::{File, fault_of, field, node, number, value, varint};
use crate::refused;
use proptest::prelude::*;

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
        let fault = fault_of(&flood(prefix, tag));
        assert!(matches!(fault, ModelFault::TooManyFields { .. }), "{prefix:?} {tag}: {fault:?}");
    }
}

#[test]
fn claims_of_more_than_there_is_are_refused() {
    for claim in [1u64 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, u64::MAX] {
        let cut = [varint(7 << 3 | 2), varint(claim), vec![0; 64]].concat();
        assert_eq!(fault_of(&cut), ModelFault::CutOff, "{claim}");
    }
    refused!(File { nodes: vec![], ..File::default() }.foreign(20), ModelFault::TrainingSettings);
    refused!(File { nodes: vec![], ..File::default() }.foreign(26), ModelFault::TrainingSettings);
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
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let mut inner = node("If", "", &[]);
    for _ in 0..2000 {
        inner = node("If", "", &[[field(1, b"b"), field(6, &field(1, &inner))].concat()]);
    }
    refused!(File { nodes: vec![inner], ..File::default() }, ModelFault::NestedTooDeeply { .. });
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
