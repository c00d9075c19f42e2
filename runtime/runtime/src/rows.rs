//! Packed rows (SPEC.md, section 7) from a client's tensors and back, without codes in between.
//!
//! Bit for bit these are [`encode`](Layout::encode) and [`RowLayout::pack`](hs_hw::abi::RowLayout::pack),
//! [`RowLayout::unpack`](hs_hw::abi::RowLayout::unpack) and [`decode_f32`](Layout::decode_f32). Rows are independent:
//! threads may convert disjoint ranges of them, each into its part of one buffer.

use std::ops::Range;

use crate::{
    RunError, Values,
    codes::{Layout, Meaning},
    isa::Kernel,
};

/// Elements that are converted between two steps into order and stride, unless a row has more.
const GROUP: usize = 4096;

impl Layout {
    /// Writes `rows` of a tensor whose shape [`rows_of`](Self::rows_of) has accepted to the start of `to`, as packed
    /// rows, and zeros to the rest of it. Numbers are cast as by [`encode`](Self::encode). A whole buffer has
    /// `packed().bytes(rows)` bytes; row i of it starts at byte `i × packed().stride`.
    ///
    /// # Errors
    /// NaN, with its place; elements that are no numbers. Some rows may have been written.
    ///
    /// # Panics
    /// When `to` has less than `rows.len() × packed().stride` bytes or the rows are not there.
    pub fn pack<'a>(
        &self,
        values: impl Into<Values<'a>>,
        rows: Range<usize>,
        to: &mut [u8],
    ) -> Result<(), RunError> {
        self.pack_elements(&values.into(), Meaning::Numbers, rows, to)
    }

    /// As [`pack`](Self::pack), for a tensor of integers that are codes already.
    ///
    /// # Errors
    /// Elements that are no integers, and integers that are no codes of the type. Some rows may have been written.
    ///
    /// # Panics
    /// As [`pack`](Self::pack).
    pub fn pack_raw<'a>(
        &self,
        values: impl Into<Values<'a>>,
        rows: Range<usize>,
        to: &mut [u8],
    ) -> Result<(), RunError> {
        self.pack_elements(&values.into(), Meaning::Codes, rows, to)
    }

    /// Values in ONNX order of packed rows, rounded as by [`decode_f32`](Self::decode_f32). As many rows as `to` has
    /// places for; what follows them in `from` is not read.
    ///
    /// # Panics
    /// When `to` has no places for whole rows, or `from` not the bytes of as many rows.
    pub fn unpack_f32(&self, from: &[u8], to: &mut [f32]) {
        match self.f32_scale() {
            Some(scale) => self.unpack(from, to, move |c| c as f32 * scale, move |c| c as f32 * scale),
            None => self.unpack(from, to, |c| self.far_f32(c.into()), |c| self.far_f32(c)),
        }
    }

    /// As [`unpack_f32`](Self::unpack_f32), in double precision: exact up to 53 bits.
    ///
    /// # Panics
    /// As [`unpack_f32`](Self::unpack_f32).
    pub fn unpack_f64(&self, from: &[u8], to: &mut [f64]) {
        let format = self.ty().format;
        self.unpack(from, to, move |c| format.value(c.into()), move |c| format.value(c.into()));
    }

    /// As [`unpack_f32`](Self::unpack_f32), the codes themselves.
    ///
    /// # Panics
    /// As [`unpack_f32`](Self::unpack_f32).
    pub fn unpack_raw(&self, from: &[u8], to: &mut [i64]) {
        self.unpack(from, to, i64::from, |c| c);
    }

    fn pack_elements(
        &self,
        values: &Values<'_>,
        meaning: Meaning,
        rows: Range<usize>,
        to: &mut [u8],
    ) -> Result<(), RunError> {
        let (to, rest) = to.split_at_mut(rows.len() * self.packed.stride);
        rest.fill(0);
        if to.is_empty() {
            return Ok(());
        }
        match self.packed.element_bytes {
            1 => self.pack_as::<1>(values, meaning, rows, to),
            2 => self.pack_as::<2>(values, meaning, rows, to),
            4 => self.pack_as::<4>(values, meaning, rows, to),
            _ => self.pack_as::<8>(values, meaning, rows, to),
        }
    }

    /// As [`pack_elements`](Self::pack_elements), for elements of `N` bytes.
    fn pack_as<const N: usize>(
        &self,
        values: &Values<'_>,
        meaning: Meaning,
        rows: Range<usize>,
        to: &mut [u8],
    ) -> Result<(), RunError> {
        let l = &self.packed;
        if self.order.is_same() && l.stride == l.row_bytes {
            return self.elements::<N>(values, meaning, rows, to.as_chunks_mut().0);
        }
        let group = (GROUP / self.len).clamp(1, rows.len());
        let mut onnx = vec![[0; N]; group * self.len];
        for (start, to) in rows.clone().step_by(group).zip(to.chunks_mut(group * l.stride)) {
            let rows = start..rows.end.min(start + group);
            let onnx = &mut onnx[..rows.len() * self.len];
            self.elements(values, meaning, rows, onnx)?;
            for (onnx, to) in onnx.chunks_exact(self.len).zip(to.chunks_exact_mut(l.stride)) {
                // The padding, which is shorter; a number of bytes that is known is not a call.
                to[l.stride - 4..].fill(0);
                self.order.to_hardware(self.isa, onnx, to[..l.row_bytes].as_chunks_mut().0);
            }
        }
        Ok(())
    }

    /// Codes that 32 bits hold go through `narrow`, others through `wide`.
    fn unpack<T>(
        &self,
        from: &[u8],
        to: &mut [T],
        narrow: impl Fn(i32) -> T + Copy,
        wide: impl Fn(i64) -> T + Copy,
    ) {
        let l = &self.packed;
        match (l.element_bytes, l.signed) {
            (1, true) => self.unpack_as(from, to, move |b| narrow(i8::from_le_bytes(b).into())),
            (1, false) => self.unpack_as(from, to, move |b| narrow(u8::from_le_bytes(b).into())),
            (2, true) => self.unpack_as(from, to, move |b| narrow(i16::from_le_bytes(b).into())),
            (2, false) => self.unpack_as(from, to, move |b| narrow(u16::from_le_bytes(b).into())),
            (4, true) => self.unpack_as(from, to, move |b| narrow(i32::from_le_bytes(b))),
            (4, false) => self.unpack_as(from, to, move |b| wide(u32::from_le_bytes(b).into())),
            // An unsigned type of a tensor has at most 63 bits.
            _ => self.unpack_as(from, to, move |b| wide(i64::from_le_bytes(b))),
        }
    }

    fn unpack_as<const N: usize, T>(&self, from: &[u8], to: &mut [T], value: impl Fn([u8; N]) -> T + Copy) {
        let l = &self.packed;
        let rows = to.len().checked_div(self.len).unwrap_or(0);
        assert_eq!(to.len(), rows * self.len, "places for whole rows of {}", self.len);
        let from = &from[..rows * l.stride];
        if rows == 0 {
            return;
        }
        if self.order.is_same() {
            self.isa.run(Rows { from, stride: l.stride, bytes: l.row_bytes, to, value });
            return;
        }
        let mut onnx = vec![[0; N]; self.len];
        for (row, to) in from.chunks_exact(l.stride).zip(to.chunks_exact_mut(self.len)) {
            self.order.to_onnx(self.isa, row[..l.row_bytes].as_chunks().0, &mut onnx);
            let from = onnx.as_flattened();
            self.isa.run(Rows { from, stride: from.len(), bytes: from.len(), to, value });
        }
    }
}

/// Values of rows of `N`-byte elements, without their padding.
struct Rows<'a, const N: usize, T, V> {
    from: &'a [u8],
    stride: usize,
    /// Bytes of a row's elements.
    bytes: usize,
    to: &'a mut [T],
    value: V,
}

impl<const N: usize, T, V: Fn([u8; N]) -> T> Kernel for Rows<'_, N, T, V> {
    #[inline(always)]
    fn run(self) {
        // Rows without padding are one long row.
        let (stride, bytes) = if self.stride == self.bytes {
            (self.from.len(), self.from.len())
        } else {
            (self.stride, self.bytes)
        };
        for (row, to) in self.from.chunks_exact(stride).zip(self.to.chunks_exact_mut(bytes / N)) {
            for (element, to) in row[..bytes].as_chunks().0.iter().zip(to) {
                *to = (self.value)(*element);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use hs_fixed::{Format, Overflow, Rounding, Type};
    use hs_hw::{Node, Op};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Datatype,
        isa::{Checked, Isa},
    };

    fn layout(onnx_shape: &[usize], perm: &[usize], ty: Type) -> Layout {
        let op = Op::Input {
            index: 0,
            tensor: "x".to_owned(),
            onnx_shape: onnx_shape.to_vec(),
            perm: perm.to_vec(),
        };
        let shape = perm.iter().map(|p| onnx_shape[*p]).collect();
        Layout::of(&Node { name: "in".to_owned(), op, inputs: vec![], shape, ty }).unwrap()
    }

    /// Types whose rows have elements of every size.
    fn types() -> impl Strategy<Value = Type> {
        let modes = prop_oneof![
            3 => Just((Rounding::Rnd, Overflow::Sat)),
            1 => Just((Rounding::Trn, Overflow::WRAP)),
            1 => (0usize..7, 0usize..6).prop_map(|(r, o)| (Rounding::ALL[r], Overflow::ALL[o])),
        ];
        let frac = prop_oneof![4 => -3i32..40, 1 => -100i32..100];
        (any::<bool>(), 1u32..=64, frac, modes).prop_map(|(signed, width, frac, (rounding, overflow))| {
            let width = if signed { width } else { width.min(63) };
            let overflow = match overflow {
                Overflow::Wrap { n } => Overflow::Wrap { n: n.min(width) },
                other => other,
            };
            Type::new(Format::new(signed, width, width as i32 - frac).unwrap(), rounding, overflow)
        })
    }

    fn shapes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
        let known: [(&[usize], &[usize]); 8] = [
            (&[], &[]),
            (&[1], &[0]),
            (&[7], &[0]),
            (&[64], &[0]),
            (&[3, 4, 5], &[1, 2, 0]),
            (&[5, 33], &[1, 0]),
            (&[2, 3, 4], &[2, 1, 0]),
            (&[5000], &[0]),
        ];
        (0..known.len()).prop_map(move |i| (known[i].0.to_vec(), known[i].1.to_vec()))
    }

    /// Bytes of `n` elements that are no NaN: some of any size, most around the codes of `ty`.
    fn bytes(datatype: Datatype, ty: Type, n: usize, seed: u64) -> Vec<u8> {
        let mut state = seed | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut all = Vec::new();
        for _ in 0..n {
            let bits = random();
            let grid = (bits % 4096) as f64 / 4.0 - 512.0;
            let near = (bits >> 50) as f64 / 16384.0 * ty.format.max() as f64 * 1.2;
            let any = match bits >> 12 & 7 {
                0 => f64::from_bits(bits),
                1 => f64::INFINITY,
                2 => -near * 2f64.powi(-ty.format.frac()),
                3 => near * 2f64.powi(-ty.format.frac()),
                _ => grid * 2f64.powi(-ty.format.frac()),
            };
            let x = if any.is_nan() { 0.0 } else { any };
            match datatype {
                Datatype::Fp16 => all.extend(f16::from_f64(x).to_le_bytes()),
                Datatype::Bf16 => all.extend(bf16::from_f64(x).to_le_bytes()),
                Datatype::Fp32 => all.extend((x as f32).to_le_bytes()),
                Datatype::Fp64 => all.extend(x.to_le_bytes()),
                other => all.extend(&random().to_le_bytes()[..other.size().unwrap()]),
            }
        }
        all
    }

    fn isas() -> impl Iterator<Item = Checked> {
        Isa::ALL.into_iter().filter_map(Checked::new)
    }

    fn numbers() -> impl Strategy<Value = Datatype> {
        let all: Vec<_> = Datatype::ALL.iter().copied().filter(|d| *d != Datatype::Bytes).collect();
        prop_oneof![Just(Datatype::Fp32), (0..all.len()).prop_map(move |i| all[i])]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn rows_are_encoded_and_packed(
            ty in types(), (shape, perm) in shapes(), datatype in numbers(), rows in 0usize..6, seed: u64,
            shift in 0usize..8,
        ) {
            let l = layout(&shape, &perm, ty);
            let range = rows / 3..rows;
            let mut input = vec![0; shift];
            input.extend(bytes(datatype, ty, rows * l.row_len(), seed));
            let values = Values::new(datatype, &input[shift..]);
            let mut codes = vec![0; range.len() * l.row_len()];
            l.encode(values.clone(), range.clone(), &mut codes).unwrap();
            // The definition, element by element.
            for (code, at) in codes.iter().zip(0..).filter(|_| l.order.is_same()) {
                let at: usize = range.start * l.row_len() + at;
                let want = match datatype {
                    Datatype::Fp32 => ty.quantize(f32::from_le_bytes(values.elements(at..at + 1)[0]).into()),
                    Datatype::Fp64 => ty.quantize(f64::from_le_bytes(values.elements(at..at + 1)[0])),
                    Datatype::Fp16 => ty.quantize(f16::from_le_bytes(values.elements(at..at + 1)[0]).into()),
                    Datatype::Bf16 => ty.quantize(bf16::from_le_bytes(values.elements(at..at + 1)[0]).into()),
                    _ => continue,
                };
                prop_assert_eq!(i128::from(*code), want.unwrap());
            }
            let want = l.packed().pack(&codes);
            for isa in isas() {
                let l = l.clone().with_isa(isa);
                let mut got = vec![0xAA; want.len()];
                l.pack(values.clone(), range.clone(), &mut got).unwrap();
                prop_assert_eq!(&got, &want, "{} {:?} {:?}", ty, datatype, isa);
                // Row by row into the same buffer.
                let mut parts = vec![0xAA; want.len()];
                for (row, at) in range.clone().zip(0..) {
                    let end = if row + 1 == range.end { want.len() } else { (at + 1) * l.packed().stride };
                    l.pack(values.clone(), row..row + 1, &mut parts[at * l.packed().stride..end]).unwrap();
                }
                prop_assert_eq!(&parts, &want);
            }
        }

        #[test]
        fn codes_are_packed_and_come_back(
            ty in types(), (shape, perm) in shapes(), rows in 0usize..6, seed: u64,
        ) {
            let l = layout(&shape, &perm, ty);
            let n = rows * l.row_len();
            let gap = 64 - ty.format.width();
            let random = bytes(Datatype::Int64, ty, n, seed);
            let onnx: Vec<i64> = random
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .map(|c| if ty.format.is_signed() { c >> gap } else { (c as u64 >> gap) as i64 })
                .collect();
            let raw: Vec<u8> = onnx.iter().flat_map(|c| c.to_le_bytes()).collect();
            let mut codes = vec![0; n];
            l.encode_raw(Values::new(Datatype::Int64, &raw), 0..rows, &mut codes).unwrap();
            let want = l.packed().pack(&codes);
            let mut packed = vec![0xAA; want.len()];
            l.pack_raw(Values::new(Datatype::Int64, &raw), 0..rows, &mut packed).unwrap();
            prop_assert_eq!(&packed, &want);

            let (mut singles, mut doubles) = (vec![0f32; n], vec![0f64; n]);
            l.decode_f32(&codes, &mut singles);
            l.decode_f64(&codes, &mut doubles);
            packed.push(0xAA);
            for isa in isas() {
                let l = l.clone().with_isa(isa);
                let mut back = vec![1; n];
                l.unpack_raw(&packed, &mut back);
                prop_assert_eq!(&back, &onnx);
                let (mut single, mut double) = (vec![1f32; n], vec![1f64; n]);
                l.unpack_f32(&packed, &mut single);
                l.unpack_f64(&packed, &mut double);
                prop_assert_eq!(&single, &singles, "{} {:?}", ty, isa);
                prop_assert_eq!(&double, &doubles, "{} {:?}", ty, isa);
            }
        }
    }

    #[test]
    fn the_first_error_is_named_by_its_place_in_the_tensor() {
        let l = layout(&[3, 2], &[1, 0], "fixed<8,4>".parse().unwrap());
        let mut x = vec![0f32; 24];
        x[17] = f32::NAN;
        let tensor = crate::Tensor::of([4, 3, 2], x).unwrap();
        let mut to = [0; 64];
        let e = l.pack(&tensor, 1..4, &mut to).unwrap_err().to_string();
        assert_eq!(e, "input 'x', row 2, element 5 is NaN; fixed point has no such value");
        let mut raw = vec![0i32; 24];
        raw[23] = -129;
        let tensor = crate::Tensor::of([4, 3, 2], raw).unwrap();
        let e = l.pack_raw(&tensor, 2..4, &mut to).unwrap_err().to_string();
        assert_eq!(e, "input 'x', row 3, element 5 is -129, which is no code of fixed<8,4,RND,SAT>");
        let strings = crate::Buffer::new(Datatype::Bytes, [0, 3, 2], bytes::Bytes::new()).unwrap();
        let e = l.pack(&strings, 0..1, &mut to).unwrap_err().to_string();
        assert_eq!(e, "input 'x' has elements of BYTES, expected numbers");
        let e = l.pack_raw(&strings, 0..1, &mut to).unwrap_err().to_string();
        assert_eq!(e, "input 'x' has elements of BYTES, expected raw codes as integers");
    }
}
