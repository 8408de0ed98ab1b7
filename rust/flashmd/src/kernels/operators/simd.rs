//! Instruction sets: one source compiled for each, with the same bits.
//!
//! Every function is written once for arrays of sixteen numbers; the compiler turns them into registers of the set it is
//! compiled for. No sum depends on the set's width, so all of them give the same bits.

/// What the processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionSet {
    /// AVX-512 F, BW, DQ and VL.
    Avx512,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// What every processor of its kind has; on 64-bit ARM that is fused multiply-add too.
    Baseline,
}

impl InstructionSet {
    /// The best set of this processor.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            let narrow = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            match (narrow, narrow && wide) {
                (_, true) => Self::Avx512,
                (true, false) => Self::Avx2,
                (false, false) => Self::Baseline,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::Baseline
    }

    /// The best set; `None` where kernels would be slower than ONNX Runtime.
    pub fn detect() -> Option<Self> {
        let best = Self::best();
        (best != Self::Baseline || cfg!(target_arch = "aarch64")).then_some(best)
    }

    /// "avx512", "avx2", "neon" or "baseline".
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Baseline if cfg!(target_arch = "aarch64") => "neon",
            Self::Baseline => "baseline",
        }
    }
}

/// While it lives, this thread takes numbers too small for full precision as zero: processors are slow with them, and the
/// tails of radial functions are full of them.
#[derive(Debug)]
pub(in crate::kernels) struct FlushToZero {
    #[cfg(target_arch = "x86_64")]
    before: u32,
}

impl FlushToZero {
    /// Flush-to-zero and denormals-are-zero of MXCSR.
    #[cfg(target_arch = "x86_64")]
    const BITS: u32 = 1 << 15 | 1 << 6;

    pub(in crate::kernels) fn begin() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let before = control();
            set_control(before | Self::BITS);
            Self { before }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self {}
    }
}

#[cfg(target_arch = "x86_64")]
impl Drop for FlushToZero {
    fn drop(&mut self) {
        set_control(self.before);
    }
}

/// The control register of floating-point arithmetic.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn control() -> u32 {
    let mut value = 0_u32;
    // SAFETY: the instruction writes the register's four bytes to the place it is given.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
    value
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn set_control(value: u32) {
    // SAFETY: the value is one that was read, with bits set that every processor with SSE2 knows. Rust assumes that the
    // rounding mode and exceptions are the default, which these bits leave; what they change is the result of operations on
    // numbers below 1.2e-38, which no compiled constant of the kernels is.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags)) };
}

/// A function compiled once for each instruction set; the first argument of what comes out says which one is run.
///
/// What the body calls must be `#[inline(always)]`, or it is compiled for the baseline: so no `array::from_fn`.
macro_rules! for_each_set {
    (
        $(#[$doc:meta])*
        fn $name:ident $(<$(const $generic:ident : usize),+>)? ( $($arg:ident : $type:ty),* $(,)? ) $body:block
    ) => {
        $(#[$doc])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        fn $name $(<$(const $generic: usize),+>)? (set: $crate::kernels::InstructionSet, $($arg: $type),*) {
            #[inline(always)]
            fn body $(<$(const $generic: usize),+>)? ($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn wide $(<$(const $generic: usize),+>)? ($($arg: $type),*) { body $(::<$($generic),+>)? ($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn narrow $(<$(const $generic: usize),+>)? ($($arg: $type),*) { body $(::<$($generic),+>)? ($($arg),*) }
                match set {
                    // SAFETY: callers pass what `InstructionSet::best` gave, or less, which the processor has.
                    $crate::kernels::InstructionSet::Avx512 => unsafe { wide $(::<$($generic),+>)? ($($arg),*) },
                    $crate::kernels::InstructionSet::Avx2 => unsafe { narrow $(::<$($generic),+>)? ($($arg),*) },
                    $crate::kernels::InstructionSet::Baseline => body $(::<$($generic),+>)? ($($arg),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = set;
                body $(::<$($generic),+>)? ($($arg),*)
            }
        }
    };
}

pub(crate) use for_each_set;
