//! Random frames: uniform in O(3).

use crate::linalg::{Mat3, Vec3, row_times, times_column};
use crate::random::Stream;

/// An orthogonal matrix R; vectors turn as R·v.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotation(Mat3);

impl Rotation {
    /// R uniform in SO(3) from a random unit quaternion (Shoemake 1992), times −1 with probability ½.
    pub fn random(stream: &mut Stream) -> Self {
        let q: [f64; 4] = std::array::from_fn(|_| stream.normal());
        let length = q.iter().map(|x| x * x).sum::<f64>().sqrt();
        let [w, x, y, z] = q.map(|c| c / length);
        let sign = if stream.uniform() < 0.5 { -1.0 } else { 1.0 };
        let proper = [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ];
        Self(proper.map(|row| row.map(|r| sign * r)))
    }

    /// −R: proper if R is improper, and the other way round.
    #[must_use]
    pub fn inverted(&self) -> Self {
        Self(self.0.map(|row| row.map(|r| -r)))
    }

    /// The matrix, rows first.
    pub fn matrix(&self) -> &Mat3 {
        &self.0
    }

    /// R·v
    #[inline]
    pub fn apply(&self, v: Vec3) -> Vec3 {
        times_column(&self.0, v)
    }

    /// Rᵀ·v
    #[inline]
    pub fn undo(&self, v: Vec3) -> Vec3 {
        row_times(v, &self.0)
    }
}
