//! Fast conversion of floats to codes.
//!
//! `Type::quantize` is the definition and the fallback; the loops here are its twins for formats narrow enough
//! for the significand of the float they compute in, and give the same codes (tested by property).
//!
//! How: `v = x × 2^frac` is exact, since frac is in range. Adding and subtracting 1.5 × 2^p, p the number of
//! fraction bits of the float, rounds v to the nearest integer, ties to even, when |v| <= 2^(p-1); the rest
//! v - r is exact and tells how the other rounding modes differ from r. Saturation is a clamp of v before the
//! rounding: the bounds are integers and every mode is monotone and keeps integers, so the order is free. A value
//! beyond 2^(p-1) or NaN sends the slice to the fallback.

use hs_fixed::{Overflow, Rounding, Type};

/// Index of the first NaN in a slice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NanAt(pub(crate) usize);

/// Conversion into one type.
#[derive(Debug, Clone)]
pub(crate) struct Quantizer {
    ty: Type,
}

/// Elements that are converted at a time, so that one odd value does not slow a long slice.
const CHUNK: usize = 1024;

macro_rules! fast {
    ($name:ident, $float:ty, $int:ty, $p:literal) => {
        /// Converts into `out`; false (and `out` undefined) when a value is NaN or too large for the trick.
        fn $name<T: Copy>(ty: &Type, x: &[T], out: &mut [i64], widen: impl Fn(T) -> $float) -> bool {
            const MAGIC: $float = 1.5 * (1u64 << $p) as $float;
            const LIMIT: $float = (1u64 << ($p - 1)) as $float;
            let f = ty.format;
            let scale = (2.0 as $float).powi(f.frac());
            let bump = i128::from(ty.overflow == Overflow::SatSym && f.is_signed());
            let (lo, hi) = ((f.min() + bump) as $float, f.max() as $float);
            let clamp = |v: $float| {
                let v = if v < lo { lo } else { v };
                if v > hi { hi } else { v }
            };
            let to_int = |r: $float| ((r + MAGIC).to_bits() as $int).wrapping_sub(MAGIC.to_bits() as $int);
            let gap = <$int>::BITS - f.width();
            let wrap_signed = |r: $float| i64::from(to_int(r) << gap >> gap);
            let wrap_unsigned = |r: $float| i64::from(to_int(r) & (<$int>::MAX >> (gap - 1)));
            let zero = |r: $float| i64::from(to_int(if r < lo || r > hi { 0.0 } else { r }));
            let keep = |v: $float| v;

            /// `r` is v to the nearest even; the result v rounded by the mode.
            #[inline(always)]
            fn run<T: Copy>(
                x: &[T],
                out: &mut [i64],
                before: impl Fn(T) -> $float,
                adjust: impl Fn($float, $float) -> $float,
                after: impl Fn($float) -> i64,
            ) -> bool {
                let mut good = true;
                for (x, out) in x.iter().zip(out) {
                    let v = before(*x);
                    good &= v.abs() <= LIMIT;
                    let r = (v + MAGIC) - MAGIC;
                    *out = after(r + adjust(v, v - r));
                }
                good
            }
            let one = |yes: bool| if yes { 1.0 as $float } else { 0.0 };
            macro_rules! with_overflow {
                ($adjust:expr) => {
                    match ty.overflow {
                        Overflow::Sat => {
                            run(x, out, |x| clamp(widen(x) * scale), $adjust, |r| i64::from(to_int(r)))
                        }
                        Overflow::SatSym => {
                            run(x, out, |x| keep(widen(x) * scale), $adjust, |r| i64::from(to_int(clamp(r))))
                        }
                        Overflow::SatZero => run(x, out, |x| keep(widen(x) * scale), $adjust, zero),
                        Overflow::Wrap { n: 0 } if f.is_signed() => {
                            run(x, out, |x| keep(widen(x) * scale), $adjust, wrap_signed)
                        }
                        Overflow::Wrap { n: 0 } => {
                            run(x, out, |x| keep(widen(x) * scale), $adjust, wrap_unsigned)
                        }
                        Overflow::Wrap { .. } | Overflow::WrapSm { .. } => false,
                    }
                };
            }
            match ty.rounding {
                Rounding::RndConv => with_overflow!(|_, _| 0.0),
                Rounding::Rnd => with_overflow!(|_, d| one(d == 0.5)),
                Rounding::RndMinInf => with_overflow!(|_, d| -one(d == -0.5)),
                Rounding::RndInf => {
                    with_overflow!(|v, d| one(v > 0.0 && d == 0.5) - one(v < 0.0 && d == -0.5))
                }
                Rounding::RndZero => {
                    with_overflow!(|v, d| one(v < 0.0 && d == 0.5) - one(v > 0.0 && d == -0.5))
                }
                Rounding::Trn => with_overflow!(|_, d| -one(d < 0.0)),
                Rounding::TrnZero => {
                    with_overflow!(|v, d| one(v < 0.0 && d > 0.0) - one(v > 0.0 && d < 0.0))
                }
            }
        }
    };
}

fast!(through_f32, f32, i32, 23);
fast!(through_f64, f64, i64, 52);

impl Quantizer {
    pub(crate) fn new(ty: Type) -> Self {
        Self { ty }
    }

    /// Codes of single-precision values.
    pub(crate) fn f32(&self, x: &[f32], out: &mut [i64]) -> Result<(), NanAt> {
        let f = self.ty.format;
        // The product with 2^frac must be exact or overflow to infinity.
        let single = f.width() <= 22 && (0..=120).contains(&f.frac());
        let double = f.width() <= 50 && f.frac().abs() <= 800;
        self.chunks(x, out, f64::from, |x, out| {
            single && through_f32(&self.ty, x, out, |x| x)
                || !single && double && through_f64(&self.ty, x, out, f64::from)
        })
    }

    /// Codes of double-precision values.
    pub(crate) fn f64(&self, x: &[f64], out: &mut [i64]) -> Result<(), NanAt> {
        let f = self.ty.format;
        let double = f.width() <= 50 && (0..=1000).contains(&f.frac());
        self.chunks(x, out, |x| x, |x, out| double && through_f64(&self.ty, x, out, |x| x))
    }

    fn chunks<T: Copy>(
        &self,
        x: &[T],
        out: &mut [i64],
        widen: impl Fn(T) -> f64,
        fast: impl Fn(&[T], &mut [i64]) -> bool,
    ) -> Result<(), NanAt> {
        for (c, (x, out)) in x.chunks(CHUNK).zip(out.chunks_mut(CHUNK)).enumerate() {
            if fast(x, out) {
                continue;
            }
            for (i, (x, out)) in x.iter().zip(out).enumerate() {
                // Tensor types have at most 64 bits, 63 when unsigned.
                *out = self.ty.quantize(widen(*x)).ok_or(NanAt(c * CHUNK + i))? as i64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hs_fixed::Format;
    use proptest::prelude::*;

    use super::*;

    fn types() -> impl Strategy<Value = Type> {
        let frac = prop_oneof![4 => -3i32..40, 1 => -1000i32..1000];
        (any::<bool>(), 1u32..=64, frac, 0usize..7, 0usize..6).prop_map(|(signed, width, frac, r, o)| {
            let width = if signed { width } else { width.min(63) };
            let format = Format::new(signed, width, width as i32 - frac).unwrap();
            let mut overflow = Overflow::ALL[o];
            if let Overflow::Wrap { n } = &mut overflow {
                *n = (*n).min(width);
            }
            Type::new(format, Rounding::ALL[r], overflow)
        })
    }

    /// Values that sit on, just beside and between the type's codes, and values of any size.
    fn values(ty: Type) -> impl Strategy<Value = Vec<f64>> {
        let (lo, hi, frac) = (ty.format.min() as f64, ty.format.max() as f64, ty.format.frac());
        let grid = move |v: f64| v * 2f64.powi(-frac / 2) * 2f64.powi(-frac - -frac / 2);
        let near = prop_oneof![
            Just(lo),
            Just(hi),
            Just(0.0),
            lo..=hi,
            -8f64..8.0,
            (-40i32..40).prop_map(|h| f64::from(h) / 2.0)
        ];
        let close = (near, -1.0f64..1.0, -70i32..2).prop_map(move |(v, d, e)| {
            let eps = [0.0, 0.5, -0.5, d * 2f64.powi(e)];
            grid(v + eps[(e.unsigned_abs() % 4) as usize])
        });
        let double = any::<u64>().prop_map(f64::from_bits).prop_filter("NaN", |v| !v.is_nan());
        let single =
            any::<u32>().prop_map(|b| f64::from(f32::from_bits(b))).prop_filter("NaN", |v| !v.is_nan());
        let one = prop_oneof![8 => close, 1 => double, 1 => single];
        prop::collection::vec(one, 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn loops_equal_the_definition((ty, x) in types().prop_flat_map(|t| (Just(t), values(t)))) {
            let q = Quantizer::new(ty);
            let want = |x: f64| ty.quantize(x).unwrap() as i64;
            let mut got = vec![0; x.len()];
            // One at a time, so that one large value does not send the others to the fallback.
            for (x, got) in x.iter().zip(&mut got) {
                q.f64(&[*x], std::slice::from_mut(got)).unwrap();
            }
            prop_assert_eq!(&got, &x.iter().map(|x| want(*x)).collect::<Vec<_>>(), "{}: {:?}", ty, x);
            q.f64(&x, &mut got).unwrap();
            prop_assert_eq!(&got, &x.iter().map(|x| want(*x)).collect::<Vec<_>>(), "{}: {:?}", ty, x);
            let single: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            for (x, got) in single.iter().zip(&mut got) {
                q.f32(&[*x], std::slice::from_mut(got)).unwrap();
            }
            let want: Vec<i64> = single.iter().map(|x| want(f64::from(*x))).collect();
            prop_assert_eq!(&got, &want, "{}: {:?}", ty, single);
        }
    }

    #[test]
    fn halves_and_ends_of_a_common_type() {
        let q = Quantizer::new("fixed<16,6>".parse().unwrap());
        let mut out = [0; 6];
        q.f32(&[1.5, -1.0 / 2048.0, 1.0 / 2048.0, 1e30, f32::NEG_INFINITY, -0.0], &mut out).unwrap();
        assert_eq!(out, [1536, 0, 1, 32767, -32768, 0]);
    }

    #[test]
    fn nan_is_found_where_it_is() {
        let mut x = vec![0f32; 3000];
        x[2500] = f32::NAN;
        let q = Quantizer::new("fixed<16,6>".parse().unwrap());
        assert_eq!(q.f32(&x, &mut vec![0; 3000]), Err(NanAt(2500)));
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        assert_eq!(q.f64(&x, &mut vec![0; 3000]), Err(NanAt(2500)));
    }
}
