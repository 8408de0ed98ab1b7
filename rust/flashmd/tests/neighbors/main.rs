//! The neighbour search and the arrays it fills.
#![allow(unreachable_pub, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod geometry;
mod oracle;
mod padded_edges;
mod search;
