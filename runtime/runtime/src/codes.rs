//! The host's numbers and a Program's codes: the one place where they become each other.
//!
//! A [`Layout`] knows one `Input` or `Output` node: the order of its elements in ONNX and in hardware, and its
//! type. Rows are converted independently, so callers may split them over threads.

use std::ops::Range;

use half::{bf16, f16, slice::HalfFloatSliceExt};
use hs_fixed::{Format, Type};
use hs_hw::{Node, Op, abi::RowLayout};

use crate::{
    Datatype, RunError, Tensor, Values,
    isa::{Checked, Isa},
    order::Order,
    quantize::{NanAt, Quantizer, low},
};

/// Order and type of one model input or output.
#[derive(Debug, Clone)]
pub struct Layout {
    tensor: String,
    onnx_shape: Vec<usize>,
    ty: Type,
    quantizer: Quantizer,
    pub(crate) packed: RowLayout,
    pub(crate) order: Order,
    pub(crate) len: usize,
    pub(crate) isa: Checked,
}

/// What the elements of a client's tensor are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Meaning {
    /// Numbers, to be cast.
    Numbers,
    /// Codes already.
    Codes,
}

impl Layout {
    /// The layout of an `Input` or `Output` node of a verified Program; `None` for other nodes.
    pub fn of(node: &Node) -> Option<Self> {
        let (Op::Input { tensor, onnx_shape, perm, .. } | Op::Output { tensor, onnx_shape, perm, .. }) =
            &node.op
        else {
            return None;
        };
        let isa = Checked::best();
        Some(Self {
            tensor: tensor.clone(),
            onnx_shape: onnx_shape.clone(),
            ty: node.ty,
            quantizer: Quantizer::new(node.ty, isa),
            packed: RowLayout::of(node),
            order: Order::of(onnx_shape, perm),
            len: node.len(),
            isa,
        })
    }

    /// The same, converting by the loops of this instruction set instead of the machine's best. No bit changes.
    pub fn with_isa(self, isa: Checked) -> Self {
        Self { quantizer: Quantizer::new(self.ty, isa), isa, ..self }
    }

    /// The instruction set of its loops, with its proof.
    pub fn checked(&self) -> Checked {
        self.isa
    }

    /// What its loops are compiled for.
    pub fn isa(&self) -> Isa {
        self.isa.isa()
    }

    /// ONNX name.
    pub fn tensor(&self) -> &str {
        &self.tensor
    }

    /// ONNX shape, without the batch axis.
    pub fn onnx_shape(&self) -> &[usize] {
        &self.onnx_shape
    }

    /// Type of the codes.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// Its rows in a card's memory.
    pub fn packed(&self) -> &RowLayout {
        &self.packed
    }

    /// Elements of a row.
    pub fn row_len(&self) -> usize {
        self.len
    }

    /// Number of rows of `tensor`, which must have the shape `[rows, onnx_shape…]`.
    pub fn rows(&self, tensor: &Tensor) -> Result<usize, RunError> {
        self.rows_of(tensor.shape())
    }

    /// Number of rows of a tensor of this shape, which must be `[rows, onnx_shape…]`.
    pub fn rows_of(&self, shape: &[usize]) -> Result<usize, RunError> {
        match shape.split_first() {
            Some((rows, row)) if row == self.onnx_shape => Ok(*rows),
            _ => Err(RunError::Shape {
                input: self.tensor.clone(),
                found: shape.to_vec(),
                expected: self.onnx_shape.clone(),
            }),
        }
    }

    /// Codes, in hardware order, of `rows` of a tensor whose shape [`rows_of`](Self::rows_of) has accepted. Floats are
    /// cast as `Type::quantize` does, integers and booleans exactly as their value is cast.
    ///
    /// # Errors
    /// NaN, with its place; elements that are no numbers.
    ///
    /// # Panics
    /// When `out` has not `rows.len() × row_len` places or the rows are not there.
    pub fn encode<'a>(
        &self,
        values: impl Into<Values<'a>>,
        rows: Range<usize>,
        out: &mut [i64],
    ) -> Result<(), RunError> {
        self.to_codes(&values.into(), Meaning::Numbers, rows, out)
    }

    /// As [`encode`](Self::encode), for a tensor of integers that are codes already.
    ///
    /// # Errors
    /// Elements that are no integers, and integers that are no codes of the type.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_raw<'a>(
        &self,
        values: impl Into<Values<'a>>,
        rows: Range<usize>,
        out: &mut [i64],
    ) -> Result<(), RunError> {
        self.to_codes(&values.into(), Meaning::Codes, rows, out)
    }

    fn to_codes(
        &self,
        values: &Values<'_>,
        meaning: Meaning,
        rows: Range<usize>,
        out: &mut [i64],
    ) -> Result<(), RunError> {
        self.to_low::<8>(values, meaning, rows, bytemuck::cast_slice_mut(out))?;
        // Nothing to do where the machine is little-endian.
        out.iter_mut().for_each(|code| *code = i64::from_le(*code));
        Ok(())
    }

    /// As [`encode`](Self::encode), the low `N` bytes of each code, the lowest first.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_low<'a, const N: usize>(
        &self,
        values: impl Into<Values<'a>>,
        rows: Range<usize>,
        out: &mut [[u8; N]],
    ) -> Result<(), RunError> {
        self.to_low(&values.into(), Meaning::Numbers, rows, out)
    }

    /// As [`encode_raw`](Self::encode_raw), the low `N` bytes of each code, the lowest first.
    ///
    /// # Errors
    /// As [`encode_raw`](Self::encode_raw).
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_raw_low<'a, const N: usize>(
        &self,
        values: impl Into<Values<'a>>,
        rows: Range<usize>,
        out: &mut [[u8; N]],
    ) -> Result<(), RunError> {
        self.to_low(&values.into(), Meaning::Codes, rows, out)
    }

    fn to_low<const N: usize>(
        &self,
        values: &Values<'_>,
        meaning: Meaning,
        rows: Range<usize>,
        out: &mut [[u8; N]],
    ) -> Result<(), RunError> {
        assert_eq!(out.len(), rows.len() * self.len, "places for {} rows of {}", rows.len(), self.len);
        self.elements(values, meaning, rows, out)?;
        if !self.order.is_same() {
            let mut row = vec![[0; N]; self.len];
            for codes in out.chunks_exact_mut(self.len) {
                row.copy_from_slice(codes);
                self.order.to_hardware(self.isa, &row, codes);
            }
        }
        Ok(())
    }

    /// The low bytes of the codes of `rows`, in ONNX order.
    pub(crate) fn elements<const N: usize>(
        &self,
        values: &Values<'_>,
        meaning: Meaning,
        rows: Range<usize>,
        out: &mut [[u8; N]],
    ) -> Result<(), RunError> {
        let place = |i: usize| (rows.start + i / self.len, i % self.len);
        let span = rows.start * self.len..rows.end * self.len;
        match meaning {
            Meaning::Numbers => self.cast(values, span, out)?.map_err(|NanAt(i)| {
                let (row, element) = place(i);
                RunError::Nan { input: self.tensor.clone(), row, element }
            }),
            Meaning::Codes => self.check(values, span, out)?.map_err(|NotACode(i, code)| {
                let (row, element) = place(i);
                RunError::Code { input: self.tensor.clone(), row, element, code, ty: self.ty.to_string() }
            }),
        }
    }

    fn cast<const N: usize>(
        &self,
        values: &Values<'_>,
        span: Range<usize>,
        out: &mut [[u8; N]],
    ) -> Result<Result<(), NanAt>, RunError> {
        let q = &self.quantizer;
        Ok(match values.datatype() {
            Datatype::Fp32 => q.f32(values.elements(span), out),
            Datatype::Fp64 => q.f64(values.elements(span), out),
            Datatype::Fp16 => pieces(values.elements(span), out, |x, singles, out| {
                let mut halves = [f16::ZERO; PIECE];
                let halves = &mut halves[..x.len()];
                x.iter().zip(&mut *halves).for_each(|(x, half)| *half = f16::from_le_bytes(*x));
                let mut wide = [0f32; PIECE];
                let wide = &mut wide[..x.len()];
                halves.convert_to_f32_slice(wide);
                wide.iter().zip(&mut *singles).for_each(|(wide, single)| *single = wide.to_le_bytes());
                q.f32(singles, out)
            }),
            Datatype::Bf16 => pieces(values.elements(span), out, |x, singles, out| {
                let wide = x.iter().map(|x| bf16::from_le_bytes(*x).to_f32());
                wide.zip(&mut *singles).for_each(|(wide, single)| *single = wide.to_le_bytes());
                q.f32(singles, out)
            }),
            Datatype::Bool => self.integers(values.elements(span), out, 1, false, |[b]| u8::from(b != 0)),
            Datatype::Int8 => self.integers(values.elements(span), out, 8, true, i8::from_le_bytes),
            Datatype::Int16 => self.integers(values.elements(span), out, 16, true, i16::from_le_bytes),
            Datatype::Int32 => self.integers(values.elements(span), out, 32, true, i32::from_le_bytes),
            Datatype::Int64 => self.integers(values.elements(span), out, 64, true, i64::from_le_bytes),
            Datatype::Uint8 => self.integers(values.elements(span), out, 8, false, u8::from_le_bytes),
            Datatype::Uint16 => self.integers(values.elements(span), out, 16, false, u16::from_le_bytes),
            Datatype::Uint32 => self.integers(values.elements(span), out, 32, false, u32::from_le_bytes),
            Datatype::Uint64 => self.integers(values.elements(span), out, 64, false, u64::from_le_bytes),
            Datatype::Bytes => return Err(self.wrong_type(values.datatype(), "numbers")),
        })
    }

    fn integers<const I: usize, const N: usize, T: Into<i128>>(
        &self,
        x: &[[u8; I]],
        out: &mut [[u8; N]],
        width: u32,
        signed: bool,
        read: impl Fn([u8; I]) -> T,
    ) -> Result<(), NanAt> {
        let from = Format::new(signed, width, width as i32).expect("at most 64 bits");
        for (x, out) in x.iter().zip(out) {
            *out = low(self.ty.cast(read(*x).into(), from) as i64);
        }
        Ok(())
    }

    fn check<const N: usize>(
        &self,
        values: &Values<'_>,
        span: Range<usize>,
        out: &mut [[u8; N]],
    ) -> Result<Result<(), NotACode>, RunError> {
        Ok(match values.datatype() {
            Datatype::Bool => self.raw(values.elements(span), out, |[b]| u8::from(b != 0)),
            Datatype::Int8 => self.raw(values.elements(span), out, i8::from_le_bytes),
            Datatype::Int16 => self.raw(values.elements(span), out, i16::from_le_bytes),
            Datatype::Int32 => self.raw(values.elements(span), out, i32::from_le_bytes),
            Datatype::Int64 => self.raw(values.elements(span), out, i64::from_le_bytes),
            Datatype::Uint8 => self.raw(values.elements(span), out, u8::from_le_bytes),
            Datatype::Uint16 => self.raw(values.elements(span), out, u16::from_le_bytes),
            Datatype::Uint32 => self.raw(values.elements(span), out, u32::from_le_bytes),
            Datatype::Uint64 => self.raw(values.elements(span), out, u64::from_le_bytes),
            found @ (Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 | Datatype::Bytes) => {
                return Err(match found.dtype() {
                    Some(found) => RunError::Dtype {
                        input: self.tensor.clone(),
                        found,
                        expected: format!("raw codes of {} as integers", self.ty),
                    },
                    None => self.wrong_type(found, "raw codes as integers"),
                });
            }
        })
    }

    fn raw<const I: usize, const N: usize, T: Into<i128>>(
        &self,
        x: &[[u8; I]],
        out: &mut [[u8; N]],
        read: impl Fn([u8; I]) -> T,
    ) -> Result<(), NotACode> {
        for (i, (x, out)) in x.iter().zip(out).enumerate() {
            let code: i128 = read(*x).into();
            if !self.ty.format.contains(code) {
                return Err(NotACode(i, code));
            }
            *out = low(code as i64);
        }
        Ok(())
    }

    fn wrong_type(&self, found: Datatype, expected: &'static str) -> RunError {
        RunError::Datatype { input: self.tensor.clone(), found, expected }
    }

    fn decode<T>(&self, codes: &[i64], out: &mut [T], value: impl Fn(i64) -> T) {
        assert_eq!(codes.len(), out.len(), "places for the values");
        if self.order.is_same() {
            out.iter_mut().zip(codes).for_each(|(out, code)| *out = value(*code));
            return;
        }
        let mut row = vec![0; self.len];
        for (codes, out) in codes.chunks_exact(self.len).zip(out.chunks_exact_mut(self.len)) {
            self.order.to_onnx(self.isa, codes, &mut row);
            out.iter_mut().zip(&row).for_each(|(out, code)| *out = value(*code));
        }
    }

    /// Values in ONNX order of whole rows of codes in hardware order, rounded once, to nearest even, where
    /// single precision cannot hold them.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn decode_f32(&self, codes: &[i64], out: &mut [f32]) {
        match self.f32_scale() {
            Some(scale) => self.decode(codes, out, |c| c as f32 * scale),
            None => self.decode(codes, out, |c| self.far_f32(c)),
        }
    }

    /// Whether elements have the same order in ONNX and in hardware.
    pub fn is_in_order(&self) -> bool {
        self.order.is_same()
    }

    /// What the integer of a code, rounded to single precision, is multiplied with: only its conversion rounds, as
    /// the scale keeps it within the normal numbers. `None` where it does not.
    pub fn f32_scale(&self) -> Option<f32> {
        let frac = self.ty.format.frac();
        (frac.abs() <= 60).then(|| 2f32.powi(-frac))
    }

    /// The value of a code where there is no such scale.
    pub(crate) fn far_f32(&self, code: i64) -> f32 {
        // A code beyond 53 bits is rounded before it is scaled: the scaling rounds to double precision.
        let exact = code.unsigned_abs() < 1 << 53;
        let code = if exact { i128::from(code) } else { (code as f32) as i128 };
        self.ty.format.value(code) as f32
    }

    /// As [`decode_f32`](Self::decode_f32), in double precision: exact up to 53 bits.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn decode_f64(&self, codes: &[i64], out: &mut [f64]) {
        self.decode(codes, out, |c| self.ty.format.value(i128::from(c)));
    }

    /// The codes themselves in ONNX order.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn decode_raw(&self, codes: &[i64], out: &mut [i64]) {
        self.decode(codes, out, |c| c);
    }
}

/// Index of the first integer that is no code, and the integer.
struct NotACode(usize, i128);

/// Elements of a piece.
const PIECE: usize = 256;

/// Converts a piece at a time by `convert`, which gets memory for the bytes of as many single-precision values.
fn pieces<const I: usize, const N: usize>(
    x: &[[u8; I]],
    out: &mut [[u8; N]],
    convert: impl Fn(&[[u8; I]], &mut [[u8; 4]], &mut [[u8; N]]) -> Result<(), NanAt>,
) -> Result<(), NanAt> {
    let mut singles = [[0; 4]; PIECE];
    for (p, (x, out)) in x.chunks(PIECE).zip(out.chunks_mut(PIECE)).enumerate() {
        convert(x, &mut singles[..x.len()], out).map_err(|NanAt(i)| NanAt(p * PIECE + i))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    fn input(onnx_shape: &[usize], perm: &[usize], ty: &str) -> Layout {
        let op = Op::Input {
            index: 0,
            tensor: "x".to_owned(),
            onnx_shape: onnx_shape.to_vec(),
            perm: perm.to_vec(),
        };
        let shape = perm.iter().map(|p| onnx_shape[*p]).collect();
        Layout::of(&Node { name: "in".to_owned(), op, inputs: vec![], shape, ty: ty.parse().unwrap() })
            .unwrap()
    }

    #[test]
    fn channels_move_last_and_back() {
        let l = input(&[2, 1, 3], &[1, 2, 0], "fixed<8,8>");
        let t = Tensor::of([2, 2, 1, 3], (0..12).map(|i| i as f32).collect()).unwrap();
        let mut codes = [0; 12];
        assert_eq!(l.rows(&t).unwrap(), 2);
        l.encode(&t, 0..2, &mut codes).unwrap();
        assert_eq!(codes, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let mut back = [0f32; 12];
        l.decode_f32(&codes, &mut back);
        assert_eq!(back, *t.as_slice::<f32>().unwrap());
        l.encode(&t, 1..2, &mut codes[..6]).unwrap();
        assert_eq!(codes[..6], [6, 9, 7, 10, 8, 11]);
        let raw = Tensor::of([2, 2, 1, 3], (0..12).map(|i| i as u8).collect()).unwrap();
        let mut again = [0; 12];
        l.encode_raw(&raw, 0..2, &mut again).unwrap();
        assert_eq!(again, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let mut out = [0; 12];
        l.decode_raw(&again, &mut out);
        assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn errors_name_input_row_and_element() {
        let l = input(&[3], &[0], "fixed<4,4>");
        let mut out = [0; 6];
        let mut x = vec![0f32; 12];
        x[7] = f32::NAN;
        let t = Tensor::of([4, 3], x).unwrap();
        let e = l.encode(&t, 1..3, &mut out).unwrap_err().to_string();
        assert_eq!(e, "input 'x', row 2, element 1 is NaN; fixed point has no such value");
        let raw = Tensor::of([2, 3], vec![0i32, 0, 0, 0, 0, 8]).unwrap();
        let e = l.encode_raw(&raw, 0..2, &mut out).unwrap_err().to_string();
        assert_eq!(e, "input 'x', row 1, element 2 is 8, which is no code of fixed<4,4,RND,SAT>");
        let e = l.encode_raw(&t, 0..2, &mut out).unwrap_err().to_string();
        assert!(e.contains("raw codes of fixed<4,4,RND,SAT> as integers"), "{e}");
        let e = l.rows(&Tensor::of([2, 4], vec![0u8; 8]).unwrap()).unwrap_err().to_string();
        assert_eq!(e, "input 'x' has shape [2, 4], expected [rows, 3]");
    }

    #[test]
    fn every_element_type_is_taken() {
        let l = input(&[2], &[0], "fixed<8,7>");
        let mut codes = [0; 2];
        for t in [
            Tensor::of([1, 2], vec![1.5f32, -300.0]).unwrap(),
            Tensor::of([1, 2], vec![1.5f64, f64::NEG_INFINITY]).unwrap(),
            Tensor::of([1, 2], vec![f16::from_f32(1.5), f16::from_f32(-65.0)]).unwrap(),
        ] {
            l.encode(&t, 0..1, &mut codes).unwrap();
            assert_eq!(codes, [3, -128], "{t:?}");
        }
        for t in [
            Tensor::of([1, 2], vec![1i64, i64::MAX]).unwrap(),
            Tensor::of([1, 2], vec![1u64, u64::MAX]).unwrap(),
            Tensor::of([1, 2], vec![1i8, 127]).unwrap(),
        ] {
            l.encode(&t, 0..1, &mut codes).unwrap();
            assert_eq!(codes, [2, 127], "{t:?}");
        }
    }

    #[test]
    fn bytes_of_any_alignment_are_values() {
        let l = input(&[300], &[0], "fixed<16,6>");
        let mut x: Vec<f32> = (0..900).map(|i| (i as f32 - 450.0) / 7.0).collect();
        let expected = |x: &[f32]| {
            let mut codes = vec![0; 600];
            let t = Tensor::of([3, 300], x.to_vec()).unwrap();
            l.encode(&t, 1..3, &mut codes).map(|()| codes).map_err(|e| e.to_string())
        };
        let found = |x: &[f32], shift: usize| {
            let mut bytes = vec![0; shift];
            x.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
            let mut codes = vec![0; 600];
            let done = l.encode(Values::new(Datatype::Fp32, &bytes[shift..]), 1..3, &mut codes);
            done.map(|()| codes).map_err(|e| e.to_string())
        };
        for shift in 0..4 {
            assert_eq!(found(&x, shift), expected(&x));
        }
        x[870] = f32::NAN;
        for shift in 0..4 {
            assert_eq!(found(&x, shift), expected(&x));
            assert!(expected(&x).unwrap_err().contains("row 2, element 270 is NaN"));
        }
    }

    #[test]
    fn values_are_rounded_once() {
        let l = input(&[1], &[0], "fixed<64,64>");
        let code = (1 << 60) + (1 << 36) + 1;
        let mut one = [0f32];
        l.decode_f32(&[code], &mut one);
        // Through f64 the lowest bit is lost first and the tie goes to even, 2^60.
        assert_eq!(one, [(1u64 << 60) as f32 + (1u64 << 37) as f32]);
        let mut two = [0f64];
        l.decode_f64(&[-3], &mut two);
        assert_eq!(two, [-3.0]);
        let far = input(&[1], &[0], "fixed<16,-100>");
        far.decode_f32(&[5], &mut one);
        assert_eq!(one, [5.0 * 2f32.powi(-116)]);
    }
}
