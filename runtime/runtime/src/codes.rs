//! The host's numbers and a Program's codes: the one place where they become each other.
//!
//! A [`Layout`] knows one `Input` or `Output` node: the order of its elements in ONNX and in hardware, and its
//! type. Rows are converted independently, so callers may split them over threads.

use std::ops::Range;

use hs_fixed::{Format, Type};
use hs_hw::{Node, Op};

use crate::{
    Data, RunError, Tensor,
    quantize::{NanAt, Quantizer},
};

/// Order and type of one model input or output.
#[derive(Debug, Clone)]
pub struct Layout {
    tensor: String,
    onnx_shape: Vec<usize>,
    ty: Type,
    quantizer: Quantizer,
    /// Hardware element → ONNX element; `None` when they are the same.
    order: Option<Box<[u32]>>,
    len: usize,
}

impl Layout {
    /// The layout of an `Input` or `Output` node of a verified Program; `None` for other nodes.
    pub fn of(node: &Node) -> Option<Self> {
        let (Op::Input { tensor, onnx_shape, perm, .. } | Op::Output { tensor, onnx_shape, perm, .. }) =
            &node.op
        else {
            return None;
        };
        let identity = perm.iter().copied().eq(0..perm.len());
        Some(Self {
            tensor: tensor.clone(),
            onnx_shape: onnx_shape.clone(),
            ty: node.ty,
            quantizer: Quantizer::new(node.ty),
            order: (!identity).then(|| hardware_to_onnx(onnx_shape, perm)),
            len: node.len(),
        })
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

    /// Codes, in hardware order, of `rows` of a tensor that [`rows`](Self::rows) has accepted. Floats are cast
    /// as `Type::quantize` does, integers and booleans exactly as their value is cast.
    ///
    /// # Errors
    /// NaN, with its place.
    ///
    /// # Panics
    /// When `out` has not `rows.len() × row_len` places or the rows are not there.
    pub fn encode(&self, tensor: &Tensor, rows: Range<usize>, out: &mut [i64]) -> Result<(), RunError> {
        let first = rows.start;
        let span = self.span(rows, out.len());
        let q = &self.quantizer;
        let converted = match tensor.data() {
            Data::F32(v) => q.f32(&v[span], out),
            Data::F64(v) => q.f64(&v[span], out),
            Data::F16(v) => pieces(q, out, |range, wide| {
                let values = &v[span.start + range.start..span.start + range.end];
                values.iter().zip(wide).for_each(|(x, w)| *w = f32::from(*x));
            }),
            Data::Bool(v) => self.integers(&v[span], 1, false, out),
            Data::I8(v) => self.integers(&v[span], 8, true, out),
            Data::I16(v) => self.integers(&v[span], 16, true, out),
            Data::I32(v) => self.integers(&v[span], 32, true, out),
            Data::I64(v) => self.integers(&v[span], 64, true, out),
            Data::U8(v) => self.integers(&v[span], 8, false, out),
            Data::U16(v) => self.integers(&v[span], 16, false, out),
            Data::U32(v) => self.integers(&v[span], 32, false, out),
            Data::U64(v) => self.integers(&v[span], 64, false, out),
        };
        self.finish(converted, first, out)
    }

    /// As [`encode`](Self::encode), for single-precision values as they travel: `values` are the little-endian bytes
    /// of the whole tensor, of any alignment.
    ///
    /// # Errors
    /// NaN, with its place.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_f32_bytes(
        &self,
        values: &[u8],
        rows: Range<usize>,
        out: &mut [i64],
    ) -> Result<(), RunError> {
        let first = rows.start;
        let span = self.span(rows, out.len());
        let bytes = &values[span.start * 4..span.end * 4];
        let converted = match bytemuck::try_cast_slice::<u8, f32>(bytes) {
            Ok(values) if cfg!(target_endian = "little") => self.quantizer.f32(values, out),
            _ => pieces(&self.quantizer, out, |range, wide| {
                let values = bytes[range.start * 4..range.end * 4].chunks_exact(4);
                values.zip(wide).for_each(|(x, w)| *w = f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
            }),
        };
        self.finish(converted, first, out)
    }

    /// Names the place of a NaN; else puts the codes of rows from `first` on into hardware order.
    fn finish(&self, converted: Result<(), NanAt>, first: usize, out: &mut [i64]) -> Result<(), RunError> {
        converted.map_err(|NanAt(i)| RunError::Nan {
            input: self.tensor.clone(),
            row: first + i / self.len,
            element: i % self.len,
        })?;
        self.to_hardware(out);
        Ok(())
    }

    /// As [`encode`](Self::encode), for a tensor of integers that are codes already.
    ///
    /// # Errors
    /// Elements that are no integers, and integers that are no codes of the type.
    ///
    /// # Panics
    /// As [`encode`](Self::encode).
    pub fn encode_raw(&self, tensor: &Tensor, rows: Range<usize>, out: &mut [i64]) -> Result<(), RunError> {
        let first = rows.start;
        let span = self.span(rows, out.len());
        match tensor.data() {
            Data::Bool(v) => self.raw(&v[span], first, out),
            Data::I8(v) => self.raw(&v[span], first, out),
            Data::I16(v) => self.raw(&v[span], first, out),
            Data::I32(v) => self.raw(&v[span], first, out),
            Data::I64(v) => self.raw(&v[span], first, out),
            Data::U8(v) => self.raw(&v[span], first, out),
            Data::U16(v) => self.raw(&v[span], first, out),
            Data::U32(v) => self.raw(&v[span], first, out),
            Data::U64(v) => self.raw(&v[span], first, out),
            Data::F16(_) | Data::F32(_) | Data::F64(_) => Err(RunError::Dtype {
                input: self.tensor.clone(),
                found: tensor.dtype(),
                expected: format!("raw codes of {} as integers", self.ty),
            }),
        }?;
        self.to_hardware(out);
        Ok(())
    }

    fn span(&self, rows: Range<usize>, places: usize) -> Range<usize> {
        assert_eq!(places, rows.len() * self.len, "places for {} rows of {}", rows.len(), self.len);
        rows.start * self.len..rows.end * self.len
    }

    fn integers<T: Copy + Into<i128>>(
        &self,
        v: &[T],
        width: u32,
        signed: bool,
        out: &mut [i64],
    ) -> Result<(), NanAt> {
        let from = Format::new(signed, width, width as i32).expect("at most 64 bits");
        for (v, out) in v.iter().zip(out) {
            *out = self.ty.cast((*v).into(), from) as i64;
        }
        Ok(())
    }

    fn raw<T: Copy + Into<i128>>(&self, v: &[T], first: usize, out: &mut [i64]) -> Result<(), RunError> {
        for (i, (v, out)) in v.iter().zip(out).enumerate() {
            let code: i128 = (*v).into();
            if !self.ty.format.contains(code) {
                return Err(RunError::Code {
                    input: self.tensor.clone(),
                    row: first + i / self.len,
                    element: i % self.len,
                    code,
                    ty: self.ty.to_string(),
                });
            }
            *out = code as i64;
        }
        Ok(())
    }

    fn to_hardware(&self, codes: &mut [i64]) {
        let Some(order) = &self.order else { return };
        let mut row = vec![0; self.len];
        for codes in codes.chunks_exact_mut(self.len) {
            row.copy_from_slice(codes);
            for (to, from) in codes.iter_mut().zip(order) {
                *to = row[*from as usize];
            }
        }
    }

    fn decode<T>(&self, codes: &[i64], out: &mut [T], value: impl Fn(i64) -> T) {
        assert_eq!(codes.len(), out.len(), "places for the values");
        let Some(order) = &self.order else {
            out.iter_mut().zip(codes).for_each(|(out, code)| *out = value(*code));
            return;
        };
        for (codes, out) in codes.chunks_exact(self.len).zip(out.chunks_exact_mut(self.len)) {
            for (code, to) in codes.iter().zip(order) {
                out[*to as usize] = value(*code);
            }
        }
    }

    /// Values in ONNX order of whole rows of codes in hardware order, rounded once, to nearest even, where
    /// single precision cannot hold them.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn decode_f32(&self, codes: &[i64], out: &mut [f32]) {
        let frac = self.ty.format.frac();
        if frac.abs() <= 60 {
            // Only the conversion of the integer rounds: the scale keeps it within the normal numbers.
            let scale = 2f32.powi(-frac);
            self.decode(codes, out, |c| c as f32 * scale);
        } else {
            let value = |c| self.ty.format.value(i128::from(c));
            let exact = |c: i64| c.unsigned_abs() < 1 << 53;
            self.decode(codes, out, |c| {
                if exact(c) { value(c) as f32 } else { self.ty.format.value((c as f32) as i128) as f32 }
            });
        }
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

/// Codes of values that `fill` makes single-precision floats of, a range of `out` at a time.
fn pieces(q: &Quantizer, out: &mut [i64], fill: impl Fn(Range<usize>, &mut [f32])) -> Result<(), NanAt> {
    let mut wide = [0f32; 256];
    for (c, out) in out.chunks_mut(256).enumerate() {
        let wide = &mut wide[..out.len()];
        fill(c * 256..c * 256 + out.len(), wide);
        q.f32(wide, out).map_err(|NanAt(i)| NanAt(c * 256 + i))?;
    }
    Ok(())
}

/// For each element of the hardware tensor, whose axis i is ONNX axis `perm[i]`, its ONNX index.
fn hardware_to_onnx(onnx_shape: &[usize], perm: &[usize]) -> Box<[u32]> {
    let mut strides = vec![1; onnx_shape.len()];
    for axis in (1..onnx_shape.len()).rev() {
        strides[axis - 1] = strides[axis] * onnx_shape[axis];
    }
    let mut order = vec![0u32];
    for p in perm {
        let step = |i: usize| (i * strides[*p]) as u32;
        order = order.iter().flat_map(|base| (0..onnx_shape[*p]).map(move |i| base + step(i))).collect();
    }
    order.into()
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
            let done = l.encode_f32_bytes(&bytes[shift..], 1..3, &mut codes);
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
