//! The planner of stages, and the kernels on the small structure that a model is checked on: whatever graph is in the file,
//! a model or one clean sentence. ONNX Runtime is opened from the absolute path in `FLASHMD_ONNXRUNTIME`.
#![no_main]

use std::path::Path;

use flashmd::Error;
use flashmd::model::{Device, Kernels, Model, Placement, library};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: {
        let path = std::env::var("FLASHMD_ONNXRUNTIME").expect("FLASHMD_ONNXRUNTIME: path of libonnxruntime");
        library::load(Path::new(&path)).expect("ONNX Runtime");
    },
    |bytes: &[u8]| {
        let placement = Placement { device: Device::Cpu, threads: 1, kernels: Kernels::Auto };
        match Model::load(bytes, "fuzzed", placement) {
            Ok(_) => {}
            Err(error @ Error::Model { .. }) => {
                let message = error.to_string();
                assert!(!message.is_empty() && !message.chars().any(char::is_control), "{message:?}");
            }
            Err(other) => panic!("a file is not a model, not {other:?}"),
        }
    }
);
