//! Processor time of the neighbour search and of the NEF arrays for water-like boxes, one JSON line per size.
//!
//! Run with `cargo run --release -p flashmd --example nef_time -- [waters along an edge]... `.
#![allow(clippy::print_stdout)]

use flashmd::Cell;
use flashmd::linalg::{Vec3, add, scale};
use flashmd::nef::{Nef, Part};
use flashmd::neighbors::NeighborSearch;
use flashmd::random::{Purpose, Stream};

const SPACING: f64 = 3.1074;

fn water(n: usize, stream: &mut Stream) -> Vec<Vec3> {
    let mut positions = Vec::new();
    for at in 0..n * n * n {
        let site = [at / (n * n), at / n % n, at % n].map(|i| i as f64 * SPACING);
        let oxygen = add(site, scale(0.2, stream.normal3()));
        positions.push(oxygen);
        for _ in 0..2 {
            let u = stream.normal3();
            positions.push(add(oxygen, scale(0.96 / flashmd::linalg::norm(u), u)));
        }
    }
    positions
}

/// Processor time of this thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|x| x.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1e-9
}

fn main() -> flashmd::Result<()> {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    for n in sizes {
        let positions = water(n, &mut Stream::new(0, Purpose::Check, 0));
        let edge = n as f64 * SPACING;
        let cell = Cell::new([[edge, 0.0, 0.0], [0.0, edge, 0.0], [0.0, 0.0, edge]], [true; 3])?;
        let (mut search, mut nef) = (NeighborSearch::new(5.0)?, Nef::default());
        let (mut a, mut b) = (vec![], vec![]);
        for _ in 0..(300_000 / positions.len()).clamp(5, 200) {
            let start = cpu_seconds();
            search.update(&positions, &cell)?;
            a.push(cpu_seconds() - start);
            let start = cpu_seconds();
            nef.assemble(&[Part { search: &search, rotation: None }])?;
            b.push(cpu_seconds() - start);
        }
        a.sort_by(f64::total_cmp);
        b.sort_by(f64::total_cmp);
        let per = |x: &[f64]| x[x.len() / 2] * 1e9 / positions.len() as f64;
        println!("{} atoms K {} edges {}: search {:.0} assembly {:.0} ns/atom", positions.len(), nef.slots, search.edges(), per(&a), per(&b));
    }
    Ok(())
}
