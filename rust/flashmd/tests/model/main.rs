//! The contract on protobufs built by hand: what is read, and for which fault a file is refused.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod contract;
mod hostile;
mod metadata;
mod operators;
mod protobuf;
