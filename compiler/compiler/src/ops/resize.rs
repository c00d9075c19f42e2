//! `Resize` and `Upsample` to nearest neighbours, by any constant factors.

use super::{Call, Inferred, OpDef, expand, picked_indices, within};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("Resize", infer, eval, lower), OpDef::new("Upsample", infer, eval, lower)];

/// The index taken at each position along each axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resize {
    /// Indices, for each axis.
    pub picks: Vec<Vec<usize>>,
}

impl Resize {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?.shape;
        let upsample = call.node.op == "Upsample";
        let mode = call.str("mode", "nearest")?;
        if mode != "nearest" {
            return Err(call
                .error(format!("its attribute 'mode' is '{mode}'; nearest is expected"))
                .help("resize to nearest neighbours, or use a ConvTranspose with fixed weights"));
        }
        let axes = match call.ints("axes")? {
            Some(axes) => axes.iter().map(|a| call.axis(*a, x.len())).collect::<Result<Vec<_>, _>>()?,
            None => (0..x.len()).collect(),
        };
        let given = |index: usize| call.optional(index).filter(|a| !a.shape.contains(&0));
        let (scales, sizes) = if upsample { (given(1), None) } else { (given(2), given(3)) };
        let mut lengths = x.to_vec();
        let mut factors = vec![1.0; x.len()];
        let wrong =
            |what: &str, n: usize| call.error(format!("has {n} {what} for {} axes of {x:?}", axes.len()));
        if let Some(scales) = scales {
            let scales = call.constant(scales)?.to_f64();
            if scales.len() != axes.len() {
                return Err(wrong("scales", scales.len()));
            }
            for (axis, scale) in axes.iter().zip(scales) {
                if !(scale > 0.0 && scale <= 65536.0) {
                    return Err(call.error(format!("a scale is {scale}")));
                }
                (lengths[*axis], factors[*axis]) = ((x[*axis] as f64 * scale).floor() as usize, scale);
            }
        } else if let Some(sizes) = sizes {
            let sizes = expand::sizes(call, call.constant(sizes)?.ints().unwrap_or(&[]))?;
            if sizes.len() != axes.len() {
                return Err(wrong("sizes", sizes.len()));
            }
            if call.str("keep_aspect_ratio_policy", "stretch")? != "stretch" {
                return Err(call.error("keeps an aspect ratio; state the sizes that result"));
            }
            for (axis, size) in axes.iter().zip(sizes) {
                (lengths[*axis], factors[*axis]) = (size, size as f64 / x[*axis].max(1) as f64);
            }
        } else {
            return Err(call.error("lacks its scales and sizes"));
        }
        if !within(&lengths, expand::MAX_ELEMENTS) || lengths.contains(&0) || x.contains(&0) {
            return Err(call.error(format!("its result {lengths:?} is too large or empty")));
        }
        let (coordinates, rounding) = if upsample {
            ("asymmetric", "floor")
        } else {
            (
                call.str("coordinate_transformation_mode", "half_pixel")?,
                call.str("nearest_mode", "round_prefer_floor")?,
            )
        };
        let mut picks = Vec::with_capacity(x.len());
        for axis in 0..x.len() {
            let (n, m, factor) = (x[axis], lengths[axis], factors[axis]);
            let place = |o: usize| {
                let o = o as f64;
                Ok(match coordinates {
                    "asymmetric" => o / factor,
                    "half_pixel" => (o + 0.5) / factor - 0.5,
                    "pytorch_half_pixel" if m > 1 => (o + 0.5) / factor - 0.5,
                    "pytorch_half_pixel" => 0.0,
                    "half_pixel_symmetric" => {
                        let adjust = m as f64 / (factor * n as f64);
                        let centre = n as f64 / 2.0;
                        centre * (1.0 - adjust) + (o + 0.5) / factor - 0.5
                    }
                    "align_corners" if m > 1 => o * (n as f64 - 1.0) / (m as f64 - 1.0),
                    "align_corners" => 0.0,
                    other => {
                        return Err(call
                            .error(format!("its attribute 'coordinate_transformation_mode' is '{other}'")));
                    }
                })
            };
            let round = |p: f64| {
                Ok(match rounding {
                    "floor" => p.floor(),
                    "ceil" => p.ceil(),
                    "round_prefer_ceil" => (p + 0.5).floor(),
                    "round_prefer_floor" => (p - 0.5).ceil(),
                    other => return Err(call.error(format!("its attribute 'nearest_mode' is '{other}'"))),
                })
            };
            let pick = |o: usize| Ok::<_, Diagnostic>(round(place(o)?)?.clamp(0.0, n as f64 - 1.0) as usize);
            let keeps = m == n && factor == 1.0;
            picks.push(if keeps { (0..n).collect() } else { (0..m).map(pick).collect::<Result<_, _>>()? });
        }
        Ok(Self { picks })
    }

    /// The result's shape.
    pub fn shape(&self) -> Vec<usize> {
        self.picks.iter().map(Vec::len).collect()
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<Inferred>, Diagnostic> {
    Ok(vec![Inferred::new(call.arg(0)?.dtype, Resize::parse(call)?.shape())])
}

fn eval(call: &Call<'_>) -> Result<Vec<hs_ir::Tensor>, Diagnostic> {
    let resize = Resize::parse(call)?;
    call.gathered(0, resize.shape(), &picked_indices(call.arg(0)?.shape, &resize.picks))
}

/// How often each index is repeated, where all of them are, in order and equally often.
fn repeats(picks: &[usize], n: usize) -> Option<usize> {
    let each = picks.len() / n;
    (each * n == picks.len() && picks.iter().enumerate().all(|(o, i)| *i == o / each)).then_some(each)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let picks = Resize::parse(call)?.picks;
    let (out, input) = (lw.result(call)?, lw.input_val(call, 0)?);
    let x = call.arg(0)?.shape;
    let skip = x.len() - input.shape.len();
    let steps: Option<Vec<usize>> = x.iter().zip(&picks).map(|(n, p)| repeats(p, *n)).collect();
    match steps {
        // Whole factors over space: each pixel becomes a block of itself.
        Some(steps) if skip == 1 && input.shape.len() > 1 && steps[..2] == [1, 1] => {
            lw.native_only(call)?;
            let val = lw.blown_up(&call.node.name, &input, &steps[2..])?;
            lw.bind(out, val);
            Ok(())
        }
        _ => lw.select(call, &picks, out),
    }
}
