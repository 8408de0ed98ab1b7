//! Time of the neighbour search and of the NEF assembly for 774 atoms at the density of water, one thread,
//! best of 200 (the machine may be busy). //! Run with `cargo run --release -p flashmd --example nef_time`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use flashmd::Cell;
use flashmd::nef::{Nef, Part};
use flashmd::neighbors::NeighborSearch;
use flashmd::random::{Purpose, Stream};
use flashmd::rotation::Rotation;

const ATOMS: usize = 774;
const EDGE: f64 = 19.77;
const REPEATS: u32 = 200;

fn main() -> flashmd::Result<()> {
    let mut stream = Stream::new(0, Purpose::Check, 0);
    let positions: Vec<[f64; 3]> = (0..ATOMS).map(|_| std::array::from_fn(|_| EDGE * stream.uniform())).collect();
    let cell = Cell::new([[EDGE, 0.0, 0.0], [0.0, EDGE, 0.0], [0.0, 0.0, EDGE]], [true; 3])?;
    let rotation = Rotation::random(&mut stream);
    for cutoff in [5.0, 6.0] {
        let (mut search, mut nef) = (NeighborSearch::new(cutoff)?, Nef::default());
        let (mut searching, mut assembling) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..REPEATS {
            let start = Instant::now();
            search.update(&positions, &cell)?;
            searching = searching.min(start.elapsed().as_secs_f64());
            let start = Instant::now();
            nef.assemble(&mut [Part { search: &mut search, rotation: Some(&rotation) }])?;
            assembling = assembling.min(start.elapsed().as_secs_f64());
        }
        println!(
            "cutoff {cutoff} Å, {} edges, K = {}: search {:.3} ms, assembly {:.3} ms",
            2 * search.pairs().len(),
            nef.slots,
            searching * 1e3,
            assembling * 1e3
        );
    }
    Ok(())
}
