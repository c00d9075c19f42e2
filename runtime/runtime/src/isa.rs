//! Instruction sets: the same Rust loops, compiled several times.
//!
//! The only `unsafe` is the call into a copy compiled for more features than the build's target has.

use serde::Serialize;

/// What the loops are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Isa {
    /// The build's target, nothing more.
    Generic,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512,
    /// The same, with VNNI's dot products of 8 and 16 bits.
    Avx512Vnni,
    /// The same, with VBMI2's shifts of two words.
    Avx512Vbmi2,
}

impl Isa {
    /// All, from the plainest.
    pub const ALL: [Self; 5] = [Self::Generic, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Avx512Vbmi2];

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Generic => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => {
                Self::Avx512.is_available() && std::arch::is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vbmi2 => {
                Self::Avx512Vnni.is_available() && std::arch::is_x86_feature_detected!("avx512vbmi2")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Avx512Vnni | Self::Avx512Vbmi2 => false,
        }
    }

    /// The best that this machine has.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Self::Generic)
    }
}

/// Proof that an instruction set is there: only [`Checked::new`] makes one.
#[derive(Debug, Clone, Copy)]
pub struct Checked(Isa);

impl Checked {
    /// The proof, where the machine has `isa`.
    pub fn new(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Self(isa))
    }

    /// For the best set that this machine has.
    pub fn best() -> Self {
        Self(Isa::best())
    }

    /// The instruction set.
    pub fn isa(self) -> Isa {
        self.0
    }

    /// Runs the copy of `kernel` that is compiled for the instruction set.
    #[allow(unsafe_code)]
    pub fn run<K: Kernel>(self, kernel: K) {
        match self.0 {
            Isa::Generic => kernel.run(),
            // SAFETY: a `Checked` exists only where the features of its set were detected, and the functions
            // ask for nothing but those features.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            // The compiler makes no use of more in these loops.
            Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => unsafe { avx512(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni | Isa::Avx512Vbmi2 => kernel.run(),
        }
    }
}

/// Work that is compiled once for each instruction set. `run` and what it calls in loops must be
/// `#[inline(always)]`, else they are compiled for the build's target only.
pub trait Kernel {
    /// Does the work.
    fn run(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<K: Kernel>(kernel: K) {
    kernel.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512<K: Kernel>(kernel: K) {
    kernel.run();
}
