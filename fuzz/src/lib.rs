//! Numbers and cells from the bytes a fuzzer makes up.

use flashmd::linalg::{Mat3, Vec3};

/// Reads numbers off the front of the input; past its end everything is zero.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let count = self.0.len().min(N);
        bytes[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        bytes
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    /// Any of the 2⁶⁴ floats if `wild`, else a multiple of 1/1024 below 32 in size.
    pub fn number(&mut self, wild: bool) -> f64 {
        if wild { f64::from_le_bytes(self.take()) } else { f64::from(i16::from_le_bytes(self.take())) / 1024.0 }
    }

    /// Three of them.
    pub fn vector(&mut self, wild: bool) -> Vec3 {
        std::array::from_fn(|_| self.number(wild))
    }

    /// Nine of them.
    pub fn matrix(&mut self, wild: bool) -> Mat3 {
        std::array::from_fn(|_| self.vector(wild))
    }

    /// Three flags, and two more bits for the target.
    pub fn flags(&mut self) -> ([bool; 3], [bool; 2]) {
        let byte = self.byte();
        let bit = |k: usize| byte >> k & 1 == 1;
        (std::array::from_fn(bit), [bit(3), bit(4)])
    }
}
