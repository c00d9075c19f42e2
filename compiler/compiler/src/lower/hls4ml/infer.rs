//! Types that hls4ml infers where its user writes `auto`.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::BinaryOp;

use super::super::too_wide;
use crate::diagnostic::Diagnostic;

fn wrap(signed: bool, width: i64, int: i64) -> Result<Type, Diagnostic> {
    let (Ok(width), Ok(int)) = (u32::try_from(width), i32::try_from(int)) else {
        return Err(too_wide("a result"));
    };
    Type::trn_wrap(signed, width, int).map_err(|_| too_wide("a result"))
}

/// ⌈log2 n⌉.
fn log2(n: usize) -> i64 {
    i64::from(n.next_power_of_two().trailing_zeros())
}

struct Parts {
    signed: bool,
    width: i64,
    int: i64,
}

fn parts(f: Format) -> Parts {
    Parts { signed: f.is_signed(), width: i64::from(f.width()), int: i64::from(f.int()) }
}

fn plus(a: &Parts, b: &Parts) -> Parts {
    let int = (a.int + i64::from(b.signed && !a.signed)).max(b.int + i64::from(a.signed && !b.signed)) + 1;
    let frac = (a.width - a.int).max(b.width - b.int);
    Parts { signed: a.signed || b.signed, width: int + frac, int }
}

/// Accumulator and result of a sum of `n` products and a bias: loss-free by its widths.
pub(super) fn dot(x: Format, weight: Format, bias: Format, n: usize) -> Result<Type, Diagnostic> {
    let (x, w) = (parts(x), parts(weight));
    let sum = Parts {
        signed: x.signed || w.signed,
        width: x.width + w.width + log2(n),
        int: x.int + w.int + log2(n),
    };
    let all = plus(&sum, &parts(bias));
    wrap(all.signed, all.width, all.int)
}

/// Result of x × scale + bias.
pub(super) fn affine(x: Format, scale: Format, bias: Format) -> Result<Type, Diagnostic> {
    dot(x, scale, bias, 1)
}

/// Result of an elementwise op of two tensors.
pub(super) fn binary(op: BinaryOp, a: Format, b: Format) -> Result<Type, Diagnostic> {
    let (a, b) = (parts(a), parts(b));
    let all = match op {
        BinaryOp::Add => plus(&a, &b),
        BinaryOp::Sub => Parts { signed: true, ..plus(&a, &b) },
        BinaryOp::Mul => Parts { signed: a.signed || b.signed, width: a.width + b.width, int: a.int + b.int },
        BinaryOp::Max | BinaryOp::Min => union(&a, &b),
    };
    wrap(all.signed, all.width, all.int)
}

fn union(a: &Parts, b: &Parts) -> Parts {
    let int = (a.int + i64::from(b.signed && !a.signed)).max(b.int + i64::from(a.signed && !b.signed));
    let frac = (a.width - a.int).max(b.width - b.int);
    Parts { signed: a.signed || b.signed, width: int + frac, int }
}

/// Result of a concatenation: the first modes that are not the default ones.
pub(super) fn concat(inputs: &[Type]) -> Result<Type, Diagnostic> {
    let mut all = inputs[0];
    for ty in inputs[1..].iter().filter(|ty| **ty != inputs[0]) {
        let p = union(&parts(all.format), &parts(ty.format));
        let format = wrap(p.signed, p.width, p.int)?.format;
        let rounding = if all.rounding == Rounding::Trn { ty.rounding } else { all.rounding };
        let overflow = if all.overflow == Overflow::WRAP { ty.overflow } else { all.overflow };
        all = Type::new(format, rounding, overflow);
    }
    Ok(all)
}

/// Accumulator of an average over `n` elements.
pub(super) fn average(x: Format, n: usize) -> Result<Type, Diagnostic> {
    let p = parts(x);
    wrap(p.signed, p.width + 2 * log2(n), p.int + log2(n))
}

/// The reuse factor that hls4ml takes instead of `asked` for `n_in` × `n_out` multiplications under its resource
/// strategy: the nearest that its kernels can follow, the smaller of two.
pub(super) fn reuse(n_in: usize, n_out: usize, asked: usize) -> usize {
    let valid = |rf: usize| {
        let together = (n_in * n_out).div_ceil(n_in.min(rf));
        (together.is_multiple_of(n_out) || rf >= n_in)
            && (rf.is_multiple_of(n_in) || rf < n_in)
            && (n_in * n_out).is_multiple_of(rf)
    };
    (1..=n_in * n_out).filter(|rf| valid(*rf)).min_by_key(|rf| (rf.abs_diff(asked), *rf)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(width: u32, int: i32) -> Format {
        Format::new(true, width, int).unwrap()
    }

    #[test]
    fn widths_grow_as_in_hls4ml() {
        let d = |n| dot(s(16, 6), s(16, 6), s(16, 6), n).unwrap().to_string();
        assert_eq!(d(16), "fixed<37,17,TRN,WRAP>");
        assert_eq!(d(18), "fixed<38,18,TRN,WRAP>");
        assert_eq!(dot(s(8, 4), s(4, 1), s(16, 6), 16).unwrap().to_string(), "fixed<20,10,TRN,WRAP>");
        assert_eq!(affine(s(16, 6), s(16, 6), s(16, 6)).unwrap().to_string(), "fixed<33,13,TRN,WRAP>");
        assert_eq!(binary(BinaryOp::Add, s(12, 5), s(10, 4)).unwrap().to_string(), "fixed<13,6,TRN,WRAP>");
        assert_eq!(binary(BinaryOp::Mul, s(12, 5), s(10, 4)).unwrap().to_string(), "fixed<22,9,TRN,WRAP>");
        let (a, b) = ("fixed<9,3,RND,SAT>".parse().unwrap(), "ufixed<8,4>".parse().unwrap());
        assert_eq!(
            concat(&[Type::trn_wrap(true, 8, 4).unwrap(), a]).unwrap().to_string(),
            "fixed<10,4,RND,SAT>"
        );
        assert_eq!(concat(&[a, a]).unwrap(), a);
        assert_eq!(concat(&[b, a]).unwrap().to_string(), "fixed<11,5,RND,SAT>");
        assert_eq!(average(s(16, 6), 36).unwrap().to_string(), "fixed<28,12,TRN,WRAP>");
    }

    #[test]
    fn reuse_is_snapped_as_in_hls4ml() {
        assert_eq!(reuse(18, 4, 4), 3);
        assert_eq!(reuse(36, 4, 4), 4);
        assert_eq!(reuse(16, 16, 4), 4);
        assert_eq!(reuse(16, 16, 1000), 256);
    }
}
