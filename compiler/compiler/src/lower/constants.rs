//! Constants: rounded once, to nearest even.

use hs_fixed::{Format, Overflow, Rounding, Type};
use hs_hw::Codes;
use hs_ir::Grid;

use crate::diagnostic::Diagnostic;

/// Where the grid of a constant comes from.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// The user's type: a value that does not fit is an error.
    Given(Type),
    /// As many bits; integer bits fitted to the values.
    Fit(u32),
    /// The model's own quantiser.
    Grid(&'a Grid),
}

/// Codes of `values`; `what` names them in errors.
pub fn codes(what: &str, values: &[f64], choice: Choice<'_>) -> Result<Codes, Diagnostic> {
    if let Some(i) = values.iter().position(|v| !v.is_finite()) {
        return Err(Diagnostic::error(format!("{what} {i} is {}", values[i])));
    }
    match choice {
        Choice::Given(ty) => given(what, values, ty.format),
        Choice::Fit(width) => fit(what, values, width),
        Choice::Grid(grid) => on_grid(what, values, grid),
    }
}

/// Nearest code to `v` on the grid of `frac` fraction bits, ties to even; `None` beyond 63 bits.
fn nearest(v: f64, frac: i32) -> Option<i64> {
    let ty = Type::new(Format::new(true, 66, 66 - frac).ok()?, Rounding::RndConv, Overflow::Sat);
    i64::try_from(ty.quantize(v)?).ok()
}

fn given(what: &str, values: &[f64], format: Format) -> Result<Codes, Diagnostic> {
    let mut data = Vec::with_capacity(values.len());
    for (i, v) in values.iter().enumerate() {
        match nearest(*v, format.frac()).filter(|c| format.contains(i128::from(*c))) {
            Some(code) => data.push(code),
            None => {
                let all = values.iter().try_fold((0i64, 0i64), |(lo, hi), v| {
                    nearest(*v, format.frac()).map(|c| (lo.min(c), hi.max(c)))
                });
                let holds = all
                    .and_then(|(lo, hi)| Format::holding(i128::from(lo), i128::from(hi), format.frac()).ok())
                    .map_or_else(|| "a type with more integer bits".to_owned(), |f| f.to_string());
                return Err(Diagnostic::error(format!("{what} {i} is {v}, which {format} cannot hold"))
                    .help(format!(
                        "{holds} would hold every {what}; or leave the type out, and integer bits are fitted"
                    )));
            }
        }
    }
    Ok(Codes::new(format, data))
}

fn fit(what: &str, values: &[f64], width: u32) -> Result<Codes, Diagnostic> {
    let most = values.iter().fold(0f64, |m, v| m.max(v.abs()));
    if most == 0.0 {
        return Ok(Codes::new(unit(), vec![0; values.len()]));
    }
    let limit = 1i64 << (width.clamp(2, 63) - 1);
    // |v| < 2^(e+1), so the codes fit at this grid up to the rounding of the largest one.
    let e = most.log2().floor() as i32;
    let mut frac = width as i32 - e;
    let codes = loop {
        let codes: Option<Vec<i64>> = values.iter().map(|v| nearest(*v, frac)).collect();
        match codes {
            Some(c) if c.iter().all(|c| (-limit..limit).contains(c)) => break c,
            _ => frac -= 1,
        }
        if frac < width as i32 - e - 8 {
            return Err(Diagnostic::error(format!("{what}: {most} fits no type of {width} bits")));
        }
    };
    trimmed(&codes, frac).ok_or_else(|| Diagnostic::error(format!("{what}: {most:e} is beyond every type")))
}

fn unit() -> Format {
    Format::new(false, 1, 1).expect("one bit")
}

/// The same values in the narrowest format.
pub fn trimmed(codes: &[i64], frac: i32) -> Option<Codes> {
    let zeros = codes.iter().filter(|c| **c != 0).map(|c| c.trailing_zeros()).min();
    let Some(zeros) = zeros else { return Some(Codes::new(unit(), vec![0; codes.len()])) };
    let data: Vec<i64> = codes.iter().map(|c| c >> zeros).collect();
    let lo = data.iter().copied().min().unwrap_or(0);
    let hi = data.iter().copied().max().unwrap_or(0);
    let format = Format::holding(i128::from(lo), i128::from(hi), frac - zeros as i32).ok()?;
    (format.width() <= 63).then(|| Codes::new(format, data))
}

/// Fraction bits of a power-of-two scale.
pub fn scale_frac(scale: f64) -> Option<i32> {
    let exp = scale.log2();
    (scale > 0.0 && exp.fract() == 0.0 && 2f64.powi(exp as i32) == scale).then_some(-(exp as i32))
}

/// Grid of a quantiser with a single power-of-two scale and no zero point.
pub fn grid_format(grid: &Grid) -> Result<Format, Diagnostic> {
    let frac = match grid.scale.as_slice() {
        [scale] => scale_frac(*scale),
        many => {
            let first = many.first().copied().unwrap_or(0.0);
            scale_frac(first).filter(|_| many.iter().all(|s| *s == first))
        }
    };
    let Some(frac) = frac else {
        return Err(Diagnostic::error(format!(
            "the quantiser's scale {:?} is not one power of two",
            grid.scale.iter().take(4).collect::<Vec<_>>()
        ))
        .help("train with power-of-two scales, one a tensor (brevitas: the fixed-point quantisers)"));
    };
    if grid.zero_point != 0.0 {
        return Err(Diagnostic::error(format!("the quantiser's zero point is {}, not 0", grid.zero_point))
            .help("train with symmetric quantisers"));
    }
    Format::new(grid.signed, grid.bits, grid.bits as i32 - frac)
        .map_err(|e| Diagnostic::error(format!("the quantiser's type: {e}")))
}

fn on_grid(what: &str, values: &[f64], grid: &Grid) -> Result<Codes, Diagnostic> {
    let format = grid_format(grid)?;
    let codes = given(what, values, format)?;
    for (i, (v, c)) in values.iter().zip(codes.data.iter()).enumerate() {
        if format.value(i128::from(*c)) != *v {
            return Err(Diagnostic::error(format!(
                "{what} {i} is {v}, off the grid {format} of its quantiser"
            )));
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fitted_types_are_tight() {
        let c = codes("weight", &[0.5, -0.25, 0.99], Choice::Fit(8)).unwrap();
        assert_eq!((c.format.to_string(), &c.data[..]), ("fixed<8,1>".into(), &[64, -32, 127][..]));
        let c = codes("weight", &[-1.0, 0.5], Choice::Fit(8)).unwrap();
        assert_eq!((c.format.to_string(), &c.data[..]), ("fixed<2,1>".into(), &[-2, 1][..]));
        let c = codes("weight", &[0.0; 3], Choice::Fit(8)).unwrap();
        assert_eq!((c.format.to_string(), &c.data[..]), ("ufixed<1,1>".into(), &[0, 0, 0][..]));
        let c = codes("weight", &[1e-30, 3e-30], Choice::Fit(16)).unwrap();
        assert!((c.format.value(i128::from(c.data[1])) / 3e-30 - 1.0).abs() < 1e-4);
    }

    #[test]
    fn rounding_is_to_nearest_even() {
        let ty = Choice::Given("fixed<8,7>".parse().unwrap());
        assert_eq!(&codes("bias", &[0.25, 0.75, -0.25, -0.75], ty).unwrap().data[..], &[0, 2, 0, -2]);
    }

    #[test]
    fn a_constant_that_does_not_fit_is_an_error() {
        let ty = Choice::Given("fixed<8,3>".parse().unwrap());
        let e = codes("weight", &[1.0, 9.5], ty).unwrap_err().to_string();
        assert!(e.contains("weight 1 is 9.5, which fixed<8,3> cannot hold"), "{e}");
        assert!(e.contains("fixed<10,5>") || e.contains("ufixed<9,4>"), "{e}");
        assert!(codes("weight", &[f64::NAN], ty).is_err());
    }
}
