//! The contract loader: whatever the bytes, a contract or one clean sentence.
#![no_main]

use flashmd::Error;
use flashmd::model::{Contract, Metadata};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let error = match bytes.first() {
        Some(b'{') => Metadata::parse(&String::from_utf8_lossy(bytes)).err(),
        _ => Contract::read(bytes).err(),
    };
    match error {
        None => {}
        Some(error @ Error::Model { .. }) => {
            let message = error.to_string();
            assert!(!message.is_empty() && !message.chars().any(char::is_control), "{message:?}");
        }
        Some(other) => panic!("a file is not a model, not {other:?}"),
    }
});
