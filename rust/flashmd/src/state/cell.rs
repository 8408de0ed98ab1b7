//! The simulation cell: triclinic, any mix of periodic axes.

use crate::error::{Error, Result};
use crate::linalg::{Mat3, Vec3, cross, det, dot, norm, scale, sub};

/// Smallest volume of the cell relative to the product of its edge lengths that still counts as a volume: round-off in
/// the reciprocal vectors grows with its inverse, and has to stay below the slack of the neighbour search.
const DEGENERATE: f64 = 1e-6;
/// Largest entry of the matrix, Å: beyond it a coordinate has lost the digits that chemistry needs.
const LARGEST: f64 = 1e9;
/// Smallest distance of the faces of a periodic axis, Å: below it counts of images overflow.
const THINNEST: f64 = 1e-6;

/// Lattice vectors as rows, Å, and which of them are periodic.
///
/// Rows of axes that are not periodic mean nothing to the physics and may be zero. Internally they are replaced
/// by unit vectors perpendicular to the periodic ones, so that fractional coordinates exist in every case.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    matrix: Mat3,
    pbc: [bool; 3],
    /// Rows b_k with b_k · a_l = δ_kl over the completed cell, 1/Å.
    reciprocal: Mat3,
}

impl Default for Cell {
    fn default() -> Self {
        Self::open()
    }
}

impl Cell {
    /// A checked cell.
    ///
    /// # Errors
    /// `Input` if a number is not finite or beyond 1e9 Å, or the periodic rows do not span a volume at least 1e-6 Å thick.
    pub fn new(matrix: Mat3, pbc: [bool; 3]) -> Result<Self> {
        if matrix.iter().flatten().any(|x| !x.is_finite()) {
            return Err(Error::Input(format!("the cell holds a number that is not finite: {matrix:?}")));
        }
        if matrix.iter().flatten().any(|x| x.abs() > LARGEST) {
            return Err(Error::Input(format!(
                "the cell {matrix:?} is too large to compute with: its numbers are Å, of at most {LARGEST:e}"
            )));
        }
        let completed = complete(&matrix, pbc)?;
        let volume = det(&completed);
        let reciprocal = [
            scale(1.0 / volume, cross(completed[1], completed[2])),
            scale(1.0 / volume, cross(completed[2], completed[0])),
            scale(1.0 / volume, cross(completed[0], completed[1])),
        ];
        let cell = Self { matrix, pbc, reciprocal };
        if !(0..3).all(|k| !pbc[k] || cell.height(k) >= THINNEST) {
            return Err(Error::Input(format!(
                "the cell {matrix:?} is too thin to compute with: its numbers are Å, and opposite faces must be at least \
                 {THINNEST:e} apart"
            )));
        }
        Ok(cell)
    }

    /// A cell with no periodic axis.
    pub fn open() -> Self {
        Self { matrix: [[0.0; 3]; 3], pbc: [false; 3], reciprocal: crate::linalg::IDENTITY }
    }

    /// Lattice vectors as given, rows, Å.
    pub fn matrix(&self) -> &Mat3 {
        &self.matrix
    }

    /// Volume spanned by the lattice vectors as given, Å³; zero unless there are three.
    pub fn volume(&self) -> f64 {
        det(&self.matrix).abs()
    }

    /// Which axes are periodic.
    pub fn pbc(&self) -> [bool; 3] {
        self.pbc
    }

    /// Coordinate of `r` along axis `k`: fractional for periodic axes, Å for the others.
    #[inline]
    pub fn coordinate(&self, r: Vec3, k: usize) -> f64 {
        dot(r, self.reciprocal[k])
    }

    /// Distance of the two faces that axis `k` joins, Å (1 for axes that are not periodic).
    pub fn height(&self, k: usize) -> f64 {
        1.0 / norm(self.reciprocal[k])
    }

    /// True if the three face normals are perpendicular to each other.
    pub fn is_orthogonal(&self) -> bool {
        let b = &self.reciprocal;
        [(0, 1), (0, 2), (1, 2)].iter().all(|&(k, l)| dot(b[k], b[l]).abs() <= 1e-12 * norm(b[k]) * norm(b[l]))
    }

    /// S·cell for an integer shift, Å; axes that are not periodic do not contribute.
    #[inline]
    pub fn translation(&self, shift: [i64; 3]) -> Vec3 {
        let mut t = [0.0; 3];
        for k in 0..3 {
            if self.pbc[k] && shift[k] != 0 {
                let s = shift[k] as f64;
                for c in 0..3 {
                    t[c] += s * self.matrix[k][c];
                }
            }
        }
        t
    }

    /// Which cell `r` is in: the integer shift n with r − n·cell inside the cell, 0 along open axes.
    #[inline]
    pub fn image_of(&self, r: Vec3) -> [i64; 3] {
        std::array::from_fn(|k| if self.pbc[k] { floor(self.coordinate(r, k)) } else { 0 })
    }

    /// `r` moved into the cell along the periodic axes, Å.
    pub fn wrap(&self, r: Vec3) -> Vec3 {
        sub(r, self.translation(self.image_of(r)))
    }
}

/// Largest integer that is not above `x`; the one in the standard library is a function call on plain x86-64.
#[inline]
fn floor(x: f64) -> i64 {
    let truncated = x as i64;
    truncated.saturating_sub(i64::from(x < truncated as f64))
}

/// Replaces the rows of open axes by unit vectors perpendicular to the periodic rows.
fn complete(matrix: &Mat3, pbc: [bool; 3]) -> Result<Mat3> {
    let mut rows = *matrix;
    let periodic: Vec<usize> = (0..3).filter(|&k| pbc[k]).collect();
    for &k in &periodic {
        if norm(rows[k]) == 0.0 {
            return Err(degenerate(matrix, pbc, "a periodic axis has length zero"));
        }
    }
    match periodic.as_slice() {
        [] => rows = crate::linalg::IDENTITY,
        [k] => {
            let (l, m) = ((k + 1) % 3, (k + 2) % 3);
            rows[l] = any_perpendicular(rows[*k]);
            rows[m] = unit(cross(rows[*k], rows[l]));
        }
        [k, l] => {
            let open = 3 - k - l;
            let normal = cross(rows[*k], rows[*l]);
            if norm(normal) <= DEGENERATE * norm(rows[*k]) * norm(rows[*l]) {
                return Err(degenerate(matrix, pbc, "two periodic axes are parallel"));
            }
            rows[open] = unit(normal);
        }
        _ => {}
    }
    let edges: f64 = rows.iter().map(|&a| norm(a)).product();
    if det(&rows).abs() <= DEGENERATE * edges {
        return Err(degenerate(matrix, pbc, "the periodic axes do not span a volume"));
    }
    Ok(rows)
}

fn degenerate(matrix: &Mat3, pbc: [bool; 3], why: &str) -> Error {
    Error::Input(format!(
        "cell {matrix:?} with pbc {pbc:?}: {why}; give every periodic axis its own lattice vector, or set pbc to False"
    ))
}

fn unit(a: Vec3) -> Vec3 {
    scale(1.0 / norm(a), a)
}

/// A unit vector perpendicular to `a`, built on the axis least along it.
fn any_perpendicular(a: Vec3) -> Vec3 {
    let least = (0..3).fold(0, |best, k| if a[k].abs() < a[best].abs() { k } else { best });
    let mut e = [0.0; 3];
    e[least] = 1.0;
    unit(cross(unit(a), e))
}
