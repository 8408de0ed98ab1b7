//! A cell is refused or computes: wrapped points are in it, a translation apart from where they were.
#![no_main]

use flashmd::linalg::{Vec3, add, norm, sub};
use flashmd::{Cell, Error};
use flashmd_fuzz::Reader;
use libfuzzer_sys::fuzz_target;

/// Further out than this a float does not know which cell it is in.
const FAR: f64 = 1e9;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    let (pbc, [wild, wild_point]) = reader.flags();
    let matrix = reader.matrix(wild);
    let cell = match Cell::new(matrix, pbc) {
        Ok(cell) => cell,
        Err(Error::Input(message)) => return assert!(!message.is_empty() && !message.contains('\n')),
        Err(other) => panic!("a cell is bad input, not {other:?}"),
    };
    assert_eq!((cell.matrix(), cell.pbc()), (&matrix, pbc));
    assert!(cell.volume() >= 0.0);
    let _ = cell.is_orthogonal();
    assert!((0..3).all(|k| cell.height(k) > 0.0 && cell.height(k).is_finite()), "{cell:?}");
    for _ in 0..4 {
        check_point(&cell, reader.vector(wild_point));
    }
});

fn check_point(cell: &Cell, point: Vec3) {
    let image = cell.image_of(point);
    assert!((0..3).all(|k| cell.pbc()[k] || image[k] == 0));
    if (0..3).any(|k| !(cell.coordinate(point, k).abs() < FAR)) {
        return;
    }
    let wrapped = cell.wrap(point);
    let travel = cell.translation(image);
    let size = norm(point) + norm(travel);
    assert!(norm(sub(add(wrapped, travel), point)) <= 1e-15 * size, "{cell:?} {point:?}");
    for k in (0..3).filter(|&k| cell.pbc()[k]) {
        // Round-off of the position, in cells; a skewed cell makes it larger.
        let blur = 1e-9 + 1e-9 * size / cell.height(k);
        let at = cell.coordinate(wrapped, k);
        assert!((-blur..=1.0 + blur).contains(&at), "{cell:?} {point:?} {at}");
    }
}
