//! What single operators and memories take on an UltraScale+ device.
//!
//! DSP, BRAM and URAM follow the shapes of the blocks. LUT and FF are rough: a ripple of one LUT a bit, one register
//! after each operator.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

use hs_fixed::Format;
use serde::Serialize;

/// Blocks of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Resources {
    /// Look-up tables.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// DSP slices.
    pub dsp: u64,
    /// Block RAMs of 18 Kib.
    pub bram18: u64,
    /// UltraRAMs.
    pub uram: u64,
}

impl Resources {
    /// Name and number of each kind, in order.
    pub fn kinds(&self) -> [(&'static str, u64); 5] {
        [("LUT", self.lut), ("FF", self.ff), ("DSP", self.dsp), ("BRAM18", self.bram18), ("URAM", self.uram)]
    }

    pub(super) fn lut(lut: u64) -> Self {
        Self { lut, ..Self::default() }
    }

    pub(super) fn ff(ff: u64) -> Self {
        Self { ff, ..Self::default() }
    }

    /// Logic with a register behind it.
    pub(super) fn logic(lut: u64, ff: u64) -> Self {
        Self { lut, ff, ..Self::default() }
    }
}

impl Add for Resources {
    type Output = Self;

    fn add(self, o: Self) -> Self {
        Self {
            lut: self.lut + o.lut,
            ff: self.ff + o.ff,
            dsp: self.dsp + o.dsp,
            bram18: self.bram18 + o.bram18,
            uram: self.uram + o.uram,
        }
    }
}

impl AddAssign for Resources {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

impl Mul<u64> for Resources {
    type Output = Self;

    fn mul(self, n: u64) -> Self {
        Self {
            lut: self.lut * n,
            ff: self.ff * n,
            dsp: self.dsp * n,
            bram18: self.bram18 * n,
            uram: self.uram * n,
        }
    }
}

impl Sum for Resources {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// Bits of a number as a signed operand: an unsigned one needs a sign bit.
pub(super) fn signed_bits(format: Format) -> u64 {
    u64::from(format.width() + u32::from(!format.is_signed()))
}

/// Operands up to this many bits are multiplied in LUTs (an assumption: HLS decides by its own tables).
const LUT_OPERAND: u64 = 4;

/// DSP slices of a signed product: a DSP48E2 multiplies 27 × 18 bits (UG579); wider operands are cut into pieces of 26
/// and 17 bits and a sign.
pub(super) fn dsp(a: u64, b: u64) -> u64 {
    let pieces = |w: u64, port: u64| if w <= port { 1 } else { (w - 1).div_ceil(port - 1) };
    (pieces(a, 27) * pieces(b, 18)).min(pieces(a, 18) * pieces(b, 27))
}

/// A multiplier of two signed operands of `a` and `b` bits; in LUTs, one for each pair of bits.
pub(super) fn multiplier(a: u64, b: u64) -> Resources {
    if a.min(b) <= LUT_OPERAND {
        Resources::logic(a * b, a + b)
    } else {
        Resources { dsp: dsp(a, b), ff: a + b, ..Resources::default() }
    }
}

/// A multiplier by a constant: nothing for 0, wires for powers of two, else like a variable of its type. HLS turns
/// many more constants into adders; counting them as multipliers errs on the safe side.
pub(super) fn multiplier_by(a: u64, b: u64, constant: i64) -> Resources {
    if is_wire(constant) { Resources::default() } else { multiplier(a, b) }
}

/// Whether a product with the constant needs no multiplier.
pub(super) fn is_wire(constant: i64) -> bool {
    constant == 0 || constant.unsigned_abs().is_power_of_two()
}

/// An adder of `bits` bits: a LUT and a register each (UG574: a CLB's carry chain adds one bit a LUT).
pub(super) fn adder(bits: u64) -> Resources {
    Resources::logic(bits, bits)
}

/// A comparison and the choice that it decides: 2 LUTs a bit.
pub(super) fn pick(bits: u64) -> Resources {
    Resources::logic(2 * bits, bits)
}

/// A choice of one of `ways` words: 3 more ways a LUT and bit (UG574: a LUT6 is a 4:1 multiplexer).
pub(super) fn mux(ways: u64, bits: u64) -> Resources {
    Resources::lut(ways.saturating_sub(1).div_ceil(3) * bits)
}

/// Shapes of a block RAM of 18 Kib: words × bits (UG573).
const BRAM18: [(u64, u64); 6] = [(16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36)];

/// Block RAMs of 18 Kib for `words` words of `bits` bits.
pub(super) fn bram18(words: u64, bits: u64) -> u64 {
    let tiles = |(w, b): &(u64, u64)| words.div_ceil(*w) * bits.div_ceil(*b);
    BRAM18.iter().map(tiles).min().unwrap_or(0)
}

/// UltraRAMs for `words` words of `bits` bits: 4096 × 72 each (UG573).
pub(super) fn uram(words: u64, bits: u64) -> u64 {
    words.div_ceil(4096) * bits.div_ceil(72)
}

/// Words up to which a memory is made of LUTs: a LUT6 holds 64 bits (UG574).
const LUT_WORDS: u64 = 64;

/// A memory of `words` words of `bits` bits: LUTs when it is shallow, else block RAM.
pub(super) fn memory(words: u64, bits: u64) -> Resources {
    if words <= 1 {
        Resources::ff(words * bits)
    } else if words <= LUT_WORDS {
        Resources::logic(bits, bits)
    } else {
        Resources { bram18: bram18(words, bits), ff: bits, ..Resources::default() }
    }
}

/// A table of constants that is read at `reads` places in one cycle; a copy serves two (a block RAM has two ports).
pub(super) fn table(words: u64, bits: u64, reads: u64) -> Resources {
    if words <= LUT_WORDS {
        Resources::logic(bits, bits) * reads
    } else {
        Resources {
            bram18: bram18(words, bits) * reads.div_ceil(2),
            ff: bits * reads,
            ..Resources::default()
        }
    }
}

/// Depth and bits up to which HLS makes a FIFO of shift registers (UG1399, `auto_srl_max_depth`, `auto_srl_max_bits`).
const SRL_DEPTH: u64 = 2;
const SRL_BITS: u64 = 1024;

/// A FIFO of `depth` beats of `bits` bits: shift registers of 32 words a LUT (UG574), else block RAM as 1024 × 18 (a
/// published report has 78 for one of 1400 bits).
pub(super) fn fifo(depth: u64, bits: u64) -> Resources {
    if depth <= SRL_DEPTH || depth * bits <= SRL_BITS {
        Resources::logic(bits * depth.div_ceil(32), bits)
    } else {
        let bram18 = depth.div_ceil(1024) * bits.div_ceil(18);
        Resources { bram18, lut: bits / 2, ff: bits, ..Resources::default() }
    }
}

/// A delay of `words` words: shift registers of 32 words a LUT (UG574).
pub(super) fn delay(words: u64, bits: u64) -> Resources {
    Resources::logic(words.div_ceil(32) * bits, bits)
}

/// A value that is rounded and saturated from `from` to `to` bits: an adder and a choice.
pub(super) fn cast(from: u64, to: u64) -> Resources {
    Resources::logic(from + to, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_by_the_shape_of_a_dsp() {
        assert_eq!(dsp(16, 16), 1);
        assert_eq!(dsp(27, 18), 1);
        assert_eq!(dsp(18, 27), 1);
        assert_eq!(dsp(19, 19), 2);
        assert_eq!(dsp(28, 18), 2);
        // 32 bits: two pieces either way.
        assert_eq!(dsp(32, 32), 4);
        assert_eq!(dsp(32, 16), 2);
        assert_eq!(multiplier(8, 4).dsp, 0);
        assert_eq!(multiplier(8, 4).lut, 32);
        for wire in [0, 1, -1, 64, -1024, i64::MIN] {
            assert_eq!(multiplier_by(8, 8, wire), Resources::default());
        }
        assert_eq!(multiplier_by(8, 8, 3).dsp, 1);
    }

    #[test]
    fn memories_by_the_shapes_of_the_blocks() {
        assert_eq!(bram18(512, 36), 1);
        assert_eq!(bram18(513, 36), 2);
        assert_eq!(bram18(1024, 18), 1);
        assert_eq!(bram18(16384, 1), 1);
        // 4096 words of 8 bits: two of 4096 × 4, or two of 2048 × 9.
        assert_eq!(bram18(4096, 8), 2);
        assert_eq!(uram(4096, 72), 1);
        assert_eq!(uram(4097, 73), 4);
        assert_eq!(memory(64, 8).bram18, 0);
        assert_eq!(memory(65, 8).bram18, 1);
        // Ten reads of a table of 1024 words of 18 bits: five copies with two ports.
        assert_eq!(table(1024, 18, 10).bram18, 5);
    }

    #[test]
    fn wide_fifos_deeper_than_two_cost_block_ram() {
        assert_eq!(fifo(2, 1400).bram18, 0);
        assert_eq!(fifo(16, 64).bram18, 0);
        assert_eq!(fifo(17, 64).bram18, 4);
        assert_eq!(fifo(3, 1400).bram18, 78);
    }
}
