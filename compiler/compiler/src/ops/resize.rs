//! `Resize` and `Upsample` by any constant factors, to nearest neighbours or linearly between them.

use super::{Call, Inferred, OpDef, expand, picked_indices, within};
use crate::diagnostic::Diagnostic;
use crate::lower::Lowerer;

/// The operators.
pub const OPS: &[OpDef] =
    &[OpDef::new("Resize", infer, eval, lower), OpDef::new("Upsample", infer, eval, lower)];

/// What is taken at each position along each axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Resize {
    /// Indices, for each axis: of the nearest element, or of the one below.
    pub picks: Vec<Vec<usize>>,
    /// For each axis the weight of the element behind each of the indices; empty where nothing lies between elements.
    pub between: Vec<Vec<f64>>,
}

impl Resize {
    /// Checks the call.
    pub fn parse(call: &Call<'_>) -> Result<Self, Diagnostic> {
        let x = call.arg(0)?.shape;
        let upsample = call.node.op == "Upsample";
        let mode = call.str("mode", "nearest")?;
        let linear = mode == "linear";
        if !linear && mode != "nearest" {
            return Err(call
                .error(format!("its attribute 'mode' is '{mode}'; nearest or linear is expected"))
                .help(
                    "resize to nearest neighbours or linearly, or use a ConvTranspose with fixed weights",
                ));
        }
        if linear && call.flag("antialias", false)? {
            return Err(call.error("is smoothed against aliases").help("resize without antialias"));
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
        let (mut picks, mut between) = (Vec::with_capacity(x.len()), Vec::with_capacity(x.len()));
        for axis in 0..x.len() {
            let (n, m, factor) = (x[axis], lengths[axis], factors[axis]);
            if coordinates == "align_corners" && (n as f64 * factor).fract() != 0.0 {
                return Err(call
                    .error(format!(
                        "aligns the corners of {n} elements and of {}, no whole number",
                        n as f64 * factor
                    ))
                    .help(
                        "state the sizes: the ONNX standard and ONNX Runtime read such scales differently",
                    ));
            }
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
            if keeps {
                picks.push((0..n).collect());
                between.push(Vec::new());
            } else if linear {
                let at = |o: usize| Ok::<_, Diagnostic>(place(o)?.clamp(0.0, n as f64 - 1.0));
                let places = (0..m).map(at).collect::<Result<Vec<_>, _>>()?;
                picks.push(places.iter().map(|p| *p as usize).collect());
                between.push(places.iter().map(|p| p.fract()).collect());
            } else {
                picks.push((0..m).map(pick).collect::<Result<_, _>>()?);
                between.push(Vec::new());
            }
        }
        Ok(Self { picks, between })
    }

    /// The weights of each result along `axis`, `[results, elements]`; `None` where elements are only picked.
    fn weights(&self, axis: usize, elements: usize) -> Option<Vec<f64>> {
        let between = &self.between[axis];
        if between.is_empty() {
            return None;
        }
        let mut weights = vec![0.0; between.len() * elements];
        for (o, (at, t)) in self.picks[axis].iter().zip(between).enumerate() {
            weights[o * elements + at] += 1.0 - t;
            if *t > 0.0 {
                weights[o * elements + at + 1] += t;
            }
        }
        Some(weights)
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
    if resize.between.iter().all(Vec::is_empty) {
        return call.gathered(0, resize.shape(), &picked_indices(call.arg(0)?.shape, &resize.picks));
    }
    let mut shape = call.arg(0)?.shape.to_vec();
    let mut values: Vec<f64> = call.floats(0)?.iter().map(|x| f64::from(*x)).collect();
    for axis in 0..shape.len() {
        let n = shape[axis];
        let Some(weights) = resize.weights(axis, n) else { continue };
        let m = resize.picks[axis].len();
        let (outer, inner) =
            (shape[..axis].iter().product::<usize>(), shape[axis + 1..].iter().product::<usize>());
        let mut next = vec![0.0; outer * m * inner];
        for (place, value) in next.iter_mut().enumerate() {
            let (o, k, i) = (place / (m * inner), place / inner % m, place % inner);
            let first = resize.picks[axis][k];
            *value =
                (first..n.min(first + 2)).map(|j| weights[k * n + j] * values[(o * n + j) * inner + i]).sum();
        }
        (values, shape[axis]) = (next, m);
    }
    call.float_result(shape, values.into_iter().map(|x| x as f32).collect())
}

/// How often each index is repeated, where all of them are, in order and equally often.
fn repeats(picks: &[usize], n: usize) -> Option<usize> {
    let each = picks.len() / n;
    (each * n == picks.len() && picks.iter().enumerate().all(|(o, i)| *i == o / each)).then_some(each)
}

fn lower(lw: &mut Lowerer<'_>, call: &Call<'_>) -> Result<(), Diagnostic> {
    let resize = Resize::parse(call)?;
    let (out, input) = (lw.result(call)?, lw.input_val(call, 0)?);
    let x = call.arg(0)?.shape;
    let skip = x.len() - input.shape.len();
    if resize.between.iter().any(|b| !b.is_empty()) {
        lw.native_only(call)?;
        if (0..skip).any(|axis| resize.picks[axis].len() != 1) {
            return Err(call.error("resizes the batch axis"));
        }
        let weights = (skip..x.len()).map(|axis| resize.weights(axis, x[axis])).collect();
        return lw.mixed(&call.node.name, &input, weights, out);
    }
    let picks = resize.picks;
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
