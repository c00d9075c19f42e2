// Written by Hypersonic.
//! @MODEL@ as a host sees it: its tensors, rows of floats as its kernel packs them and back, and the check of the
//! trailer that the kernel leaves behind its results. The standard library only.
//!
//! ```text
//! let x = INPUTS[0].pack(&values, rows)?;              // the kernel's input buffer
//! let mut y = vec![0; OUTPUTS[0].output_bytes(rows)?]; // its output buffer
//! OUTPUTS[0].check_trailer(&y, rows)?;                 // after the run
//! let results = OUTPUTS[0].unpack(&y, rows)?;
//! ```
#![allow(dead_code)]

use std::fmt;

/// Name of the model.
pub const MODEL_NAME: &str = @MODEL_TEXT@;
/// Name of the kernel in the xclbin.
pub const KERNEL_NAME: &str = "@KERNEL@";
/// Version of the kernel ABI: how rows are packed, what the trailer holds.
pub const ABI_VERSION: u32 = @ABI@;
/// Identity of the model's bits.
pub const FINGERPRINT: &str = "@FINGERPRINT@";
/// Its first bytes, as the trailer has them.
pub const FINGERPRINT_BYTES: [u8; 16] = [@FINGERPRINT_BYTES@];
/// Path in the package of the weights that the kernel reads through an argument of its own; empty: it has none.
pub const WEIGHTS_PATH: &str = "@WEIGHTS_PATH@";
/// Buffers are a multiple of this many bytes, filled up with zeros; the trailer has as many.
pub const BLOCK_BYTES: usize = 64;

/// What a cast does with the fraction bits that it drops (`AP_TRN` and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rounding {
    Trn,
    TrnZero,
    Rnd,
    RndZero,
    RndMinInf,
    RndInf,
    RndConv,
}

/// What a cast does with values out of range (`AP_WRAP` and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Overflow {
    Wrap,
    WrapSm,
    Sat,
    SatZero,
    SatSym,
}

/// A fixed-point type: a code c stands for the value c × 2^-fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// Whether codes can be negative.
    pub signed: bool,
    /// Bits.
    pub width: u32,
    /// Bits right of the binary point; negative where the grid is coarser than 1.
    pub fraction: i32,
    /// What becomes of dropped fraction bits.
    pub rounding: Rounding,
    /// What becomes of values out of range.
    pub overflow: Overflow,
    /// Saturated bits of the wrapping modes, else 0.
    pub saturated: u32,
    /// As Hypersonic writes it.
    pub text: &'static str,
}

/// An input or output of the model, and its rows at the kernel's boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// ONNX name.
    pub name: &'static str,
    /// The kernel's argument.
    pub argument: &'static str,
    /// Type of the elements.
    pub ty: Type,
    /// ONNX shape, without the batch axis.
    pub shape: &'static [usize],
    /// Axis i of a packed row is ONNX axis `perm[i]`.
    pub perm: &'static [usize],
    /// Elements of a row.
    pub elements: usize,
    /// Bytes of a packed element: 1, 2, 4 or 8, little-endian, sign- or zero-extended.
    pub element_bytes: usize,
    /// Bytes from one packed row to the next.
    pub stride: usize,
}

/// The inputs, in model order.
pub const INPUTS: [Tensor; @INPUTS@] = [
@INPUT_TENSORS@];
/// The outputs, in model order.
pub const OUTPUTS: [Tensor; @OUTPUTS@] = [
@OUTPUT_TENSORS@];

/// What is wrong with values or buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A slice of the wrong length.
    Length {
        /// Name of the tensor.
        tensor: &'static str,
        /// Values or bytes found.
        found: usize,
        /// Expected; of a buffer, at least.
        expected: usize,
    },
    /// So many rows that no buffer can hold them.
    Rows(usize),
    /// Not a number among the values of an input.
    Nan {
        /// Name of the input.
        tensor: &'static str,
        /// Row, from 0.
        row: usize,
        /// Element of the row in ONNX order, from 0.
        element: usize,
    },
    /// Nothing of ours stands where the trailer should be.
    NoTrailer(&'static str),
    /// A kernel of another ABI version.
    Abi(u32),
    /// A kernel of another model: the first bytes of its fingerprint.
    Fingerprint([u8; 16]),
    /// The kernel did another number of rows.
    Done {
        /// What it did.
        found: u32,
        /// What was asked for.
        expected: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { tensor, found, expected } => {
                write!(f, "'{tensor}' has a length of {found}, expected {expected}")
            }
            Self::Rows(rows) => write!(f, "{rows} rows are more than memory can hold; pass fewer"),
            Self::Nan { tensor, row, element } => {
                write!(f, "input '{tensor}', row {row}, element {element} is NaN; fixed point has no such value")
            }
            Self::NoTrailer(tensor) => write!(
                f,
                "output '{tensor}': there is no trailer behind the rows: the kernel did not finish, or it is none of \
                 Hypersonic's; load the xclbin that was built from this package"
            ),
            Self::Abi(found) => write!(
                f,
                "the kernel has ABI version {found}, this module is for version {ABI_VERSION}; compile the model \
                 again and build its xclbin"
            ),
            Self::Fingerprint(found) => {
                f.write_str("the kernel computes another model, of fingerprint ")?;
                found.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
                write!(f, "..., not {}...; load the xclbin that was built from this package", &FINGERPRINT[..32])
            }
            Self::Done { found, expected } => write!(f, "the kernel did {found} of {expected} rows"),
        }
    }
}

impl std::error::Error for Error {}

/// The input of this ONNX name.
pub fn input(name: &str) -> Option<&'static Tensor> {
    const ALL: &[Tensor] = &INPUTS;
    ALL.iter().find(|t| t.name == name)
}

/// The output of this ONNX name.
pub fn output(name: &str) -> Option<&'static Tensor> {
    const ALL: &[Tensor] = &OUTPUTS;
    ALL.iter().find(|t| t.name == name)
}

impl Tensor {
    /// Bytes of packed rows, filled up to whole blocks: the size of an input buffer, and where an output's trailer
    /// begins.
    pub fn row_bytes(&self, rows: usize) -> Result<usize, Error> {
        // Room is left for the trailer.
        let most = usize::MAX - 2 * BLOCK_BYTES;
        let bytes = self.stride.checked_mul(rows).filter(|b| *b <= most).ok_or(Error::Rows(rows))?;
        Ok((bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES)
    }

    /// Size of an output buffer: the rows and the trailer.
    pub fn output_bytes(&self, rows: usize) -> Result<usize, Error> {
        Ok(self.row_bytes(rows)? + BLOCK_BYTES)
    }

    /// Packs rows of values in ONNX order, `elements` a row, into `row_bytes` bytes. Values are rounded and brought
    /// into range as the input's type says; infinities become the ends of the range; NaN is an error.
    pub fn pack(&self, values: &[f32], rows: usize) -> Result<Vec<u8>, Error> {
        let mut packed = vec![0; self.row_bytes(rows)?];
        // An element takes a byte at least, so there are no more of them than bytes.
        let expected = self.elements * rows;
        if values.len() != expected {
            return Err(Error::Length { tensor: self.name, found: values.len(), expected });
        }
        let places = self.places();
        for row in 0..rows {
            let from = &values[row * self.elements..][..self.elements];
            let to = packed[row * self.stride..].chunks_exact_mut(self.element_bytes);
            for (place, to) in places.iter().zip(to) {
                let nan = Error::Nan { tensor: self.name, row, element: *place };
                let code = self.ty.code(from[*place]).ok_or(nan)?;
                to.copy_from_slice(&code.to_le_bytes()[..self.element_bytes]);
            }
        }
        Ok(packed)
    }

    /// The values, in ONNX order, of packed rows, whatever follows them.
    pub fn unpack(&self, packed: &[u8], rows: usize) -> Result<Vec<f32>, Error> {
        let expected = self.row_bytes(rows)?;
        if packed.len() < expected {
            return Err(Error::Length { tensor: self.name, found: packed.len(), expected });
        }
        let mut values = vec![0.0; self.elements * rows];
        let places = self.places();
        for row in 0..rows {
            let to = &mut values[row * self.elements..][..self.elements];
            let from = packed[row * self.stride..].chunks_exact(self.element_bytes);
            for (place, from) in places.iter().zip(from) {
                let bits = from.iter().rev().fold(0u64, |bits, b| bits << 8 | u64::from(*b));
                to[*place] = self.ty.value(self.ty.keep(bits));
            }
        }
        Ok(values)
    }

    /// Checks the trailer of an output buffer after a run of `rows` rows: that of a kernel of this ABI and this model
    /// that did them all.
    pub fn check_trailer(&self, packed: &[u8], rows: usize) -> Result<(), Error> {
        let (at, expected) = (self.row_bytes(rows)?, self.output_bytes(rows)?);
        if packed.len() < expected {
            return Err(Error::Length { tensor: self.name, found: packed.len(), expected });
        }
        let trailer = &packed[at..at + BLOCK_BYTES];
        if &trailer[..8] != b"hypersnc" {
            return Err(Error::NoTrailer(self.name));
        }
        let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| trailer[at + i]));
        if number(8) != ABI_VERSION {
            return Err(Error::Abi(number(8)));
        }
        if trailer[16..32] != FINGERPRINT_BYTES {
            let mut found = [0; 16];
            found.copy_from_slice(&trailer[16..32]);
            return Err(Error::Fingerprint(found));
        }
        if number(12) as usize != rows {
            return Err(Error::Done { found: number(12), expected: rows });
        }
        Ok(())
    }

    /// For each element of a packed row, its place in a row of ONNX order.
    fn places(&self) -> Vec<usize> {
        let mut step = vec![1; self.shape.len()];
        for axis in (1..self.shape.len()).rev() {
            step[axis - 1] = step[axis] * self.shape[axis];
        }
        self.perm.iter().fold(vec![0], |places, axis| {
            places.iter().flat_map(|p| (0..self.shape[*axis]).map(move |i| (p, i))).map(|(p, i)| p + i * step[*axis]).collect()
        })
    }
}

impl Type {
    /// Smallest code.
    pub fn lowest(&self) -> i64 {
        if self.signed { i64::MIN >> (64 - self.width) } else { 0 }
    }

    /// Largest code.
    pub fn highest(&self) -> i64 {
        ((1u64 << (self.width - u32::from(self.signed))) - 1) as i64
    }

    /// The code that a number is cast to: its exact binary value is rounded, then brought into range. `None` for NaN.
    pub fn code(&self, value: f32) -> Option<i64> {
        if value.is_nan() {
            return None;
        }
        let bits = f64::from(value).to_bits();
        let negative = bits >> 63 == 1;
        let exponent = (bits >> 52 & 0x7ff) as i32;
        if exponent == 0x7ff {
            return Some(self.clip(negative));
        }
        if exponent == 0 {
            // Zero: every other single-precision number is a normal double.
            return Some(0);
        }
        let magnitude = (bits & ((1 << 52) - 1) | 1 << 52) as i64;
        // The value is code × 2^(exponent - 1075), and so has `drop` fraction bits more than the type.
        let code = if negative { -magnitude } else { magnitude };
        let drop = 1075 - exponent - self.fraction;
        let above = drop + self.width as i32;
        let deleted = (0..55).contains(&above) && code >> above & 1 == 1;
        let (lo, hi) = (self.lowest(), self.highest());
        let in_range = |code: i64| if code == lo { self.clip(true) } else { code };
        if drop > 0 {
            // 54 bits are code and sign: beyond them all bits are the sign.
            let shift = drop.min(60);
            let kept = code >> shift;
            let half = code >> (shift - 1) & 1 == 1;
            let rest = code as u64 & field(0, shift as u32 - 1) != 0;
            let rounded = kept + i64::from(self.rounds_up(negative, kept & 1 == 1, half, rest));
            let inside = (lo..=hi).contains(&rounded);
            return Some(if inside {
                in_range(rounded)
            } else {
                self.out_of_range(rounded as u64, rounded < 0, deleted)
            });
        }
        let up = drop.unsigned_abs();
        let low = if up < 64 { (code as u64) << up } else { 0 };
        let whole = up < 64 && low as i64 >> up == code;
        let inside = whole && (lo..=hi).contains(&(low as i64));
        Some(if inside { in_range(low as i64) } else { self.out_of_range(low, negative, deleted) })
    }

    /// The value of a code, rounded once, to nearest even, where single precision cannot hold it.
    pub fn value(&self, code: i64) -> f32 {
        let fits = code.unsigned_abs() < 1 << 53;
        let number = if fits { code as f64 } else { f64::from(code as f32) };
        // In two steps, so that neither factor leaves the range of a double.
        let half = -self.fraction / 2;
        (number * 2f64.powi(half) * 2f64.powi(-self.fraction - half)) as f32
    }

    /// The code at the end of the range.
    fn clip(&self, negative: bool) -> i64 {
        let symmetric = negative && self.signed && self.overflow == Overflow::SatSym;
        (if negative { self.lowest() } else { self.highest() }) + i64::from(symmetric)
    }

    /// The low bits of `v` as a code: sign-extended where the type is signed.
    fn keep(&self, v: u64) -> i64 {
        let gap = 64 - self.width;
        if self.signed { (v << gap) as i64 >> gap } else { (v << gap >> gap) as i64 }
    }

    /// Whether a code whose fraction was cut off is one too small. `half` is the first bit cut off, `rest` the others.
    fn rounds_up(&self, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
        match self.rounding {
            Rounding::Trn => false,
            Rounding::TrnZero => negative && (half || rest),
            Rounding::Rnd => half,
            Rounding::RndZero => half && (negative || rest),
            Rounding::RndMinInf => half && rest,
            Rounding::RndInf => half && (!negative || rest),
            Rounding::RndConv => half && (odd || rest),
        }
    }

    /// The code of a rounded value out of range: `low` are its low bits, `deleted` the first bit above those kept.
    fn out_of_range(&self, low: u64, negative: bool, deleted: bool) -> i64 {
        let (w, n) = (self.width, self.saturated);
        match self.overflow {
            Overflow::SatZero => 0,
            Overflow::Sat | Overflow::SatSym => self.clip(negative),
            Overflow::Wrap if n == 0 => self.keep(low),
            Overflow::Wrap if self.signed => self.keep(with_top(low, w, n, negative)),
            Overflow::Wrap => self.keep(low | field(w - n, w)),
            Overflow::WrapSm if !self.signed => self.clip(negative),
            Overflow::WrapSm if n == 0 => {
                let same = deleted == bit(low, w - 1);
                self.keep(if same { low } else { set_bit(!low, w - 1, deleted) })
            }
            Overflow::WrapSm => {
                let flip = if n == 1 { negative != bit(low, w - 1) } else { bit(low, w - n) == negative };
                self.keep(with_top(if flip { !low } else { low }, w, n, negative))
            }
        }
    }
}

/// Ones at bits `from..to`.
fn field(from: u32, to: u32) -> u64 {
    let ones = |n: u32| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
    ones(to) & !ones(from)
}

fn bit(v: u64, at: u32) -> bool {
    v >> at & 1 == 1
}

fn set_bit(v: u64, at: u32, to: bool) -> u64 {
    if to { v | 1 << at } else { v & !(1 << at) }
}

/// Sign bit as given, the n - 1 bits below it its opposite.
fn with_top(v: u64, width: u32, n: u32, negative: bool) -> u64 {
    let v = set_bit(v, width - 1, negative);
    let top = if n > 1 { field(width - n, width - 1) } else { 0 };
    if negative { v & !top } else { v | top }
}
