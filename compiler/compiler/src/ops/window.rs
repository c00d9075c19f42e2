//! Sliding windows, shared by convolution and pooling.

use super::{Call, within};
use crate::diagnostic::Diagnostic;

/// A window that slides along one axis, padding resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Length of the input along the axis.
    pub input: usize,
    /// Number of positions.
    pub output: usize,
    /// Taps.
    pub kernel: usize,
    /// Step from one position to the next.
    pub stride: usize,
    /// Step from one tap to the next.
    pub dilation: usize,
    /// Padding in front.
    pub pad_begin: usize,
    /// Padding behind, as the model asks for it.
    pub pad_end: usize,
    /// Further positions behind the padding that the last window reaches because of `ceil_mode`. They hold nothing:
    /// averages do not count them.
    pub overhang: usize,
}

impl Window {
    /// The window that does nothing on an axis of length 1.
    pub const UNIT: Self = Self {
        input: 1,
        output: 1,
        kernel: 1,
        stride: 1,
        dilation: 1,
        pad_begin: 0,
        pad_end: 0,
        overhang: 0,
    };

    /// The hardware's window: the overhang is padding like any other.
    pub fn hardware(&self) -> hs_hw::Window {
        hs_hw::Window {
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad_begin: self.pad_begin,
            pad_end: self.pad_end + self.overhang,
        }
    }

    /// From the first to behind the last tap.
    pub fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// The place in the input of `tap` at `position`; `None` in the padding.
    pub fn at(&self, position: usize, tap: usize) -> Option<usize> {
        let padded = position * self.stride + tap * self.dilation;
        padded.checked_sub(self.pad_begin).filter(|i| *i < self.input)
    }

    /// Whether `tap` at `position` lies in the input or its padding, not in the overhang.
    pub fn in_padded(&self, position: usize, tap: usize) -> bool {
        position * self.stride + tap * self.dilation < self.pad_begin + self.input + self.pad_end
    }
}

/// Most taps of a window.
const MAX_TAPS: usize = 1 << 24;

/// The windows of `kernel` over the spatial dimensions `input`, from the attributes `strides`, `dilations`, `pads`,
/// `auto_pad` and `ceil_mode`.
pub(super) fn parse(call: &Call<'_>, input: &[usize], kernel: &[usize]) -> Result<Vec<Window>, Diagnostic> {
    let rank = input.len();
    let strides = positive(call, "strides", rank)?;
    let dilations = positive(call, "dilations", rank)?;
    let auto_pad = call.str("auto_pad", "NOTSET")?;
    let ceil = call.flag("ceil_mode", false)?;
    let pads = match call.ints("pads")? {
        Some(_) if !matches!(auto_pad, "NOTSET" | "") => vec![0; 2 * rank],
        Some(pads) => sizes(call, "pads", pads, 2 * rank, 0)?,
        None => vec![0; 2 * rank],
    };
    if !within(kernel, MAX_TAPS) {
        return Err(call.error(format!("its kernel {kernel:?} is too large")));
    }
    if kernel.contains(&0) {
        return Err(call.error(format!("its kernel {kernel:?} is empty")));
    }
    let mut windows = Vec::with_capacity(rank);
    for axis in 0..rank {
        let mut w = Window {
            input: input[axis],
            output: 0,
            kernel: kernel[axis],
            stride: strides[axis],
            dilation: dilations[axis],
            pad_begin: pads[axis],
            pad_end: pads[rank + axis],
            overhang: 0,
        };
        let too_large = || call.error(format!("its window is too large along spatial axis {axis}"));
        // Everything below stays small: checked once here.
        let reach = (w.kernel as u64 - 1).checked_mul(w.dilation as u64).ok_or_else(too_large)?;
        if [reach, w.stride as u64, w.pad_begin as u64, w.pad_end as u64, w.input as u64]
            .iter()
            .any(|x| *x > 1 << 40)
        {
            return Err(too_large());
        }
        let same = matches!(auto_pad, "SAME_UPPER" | "SAME_LOWER");
        if same {
            w.output = w.input.div_ceil(w.stride);
            let total = (w.output.saturating_sub(1) * w.stride + w.extent()).saturating_sub(w.input);
            let small = total / 2;
            (w.pad_begin, w.pad_end) =
                if auto_pad == "SAME_UPPER" { (small, total - small) } else { (total - small, small) };
        } else if !matches!(auto_pad, "NOTSET" | "VALID" | "") {
            return Err(call.error(format!(
                "its attribute 'auto_pad' is '{auto_pad}'; NOTSET, SAME_UPPER, SAME_LOWER or VALID is expected"
            )));
        }
        let padded = w.input + w.pad_begin + w.pad_end;
        let Some(room) = padded.checked_sub(w.extent()).filter(|_| w.input > 0) else {
            return Err(call.error(format!(
                "its kernel covers {} positions along spatial axis {axis}, but the padded input has {padded}",
                w.extent()
            )));
        };
        if !same {
            w.output = room / w.stride + 1;
            if ceil && room % w.stride != 0 {
                // The last window must start in the input or the padding in front of it.
                if w.output * w.stride < w.input + w.pad_begin {
                    w.output += 1;
                }
            }
        }
        w.overhang = ((w.output - 1) * w.stride + w.extent()).saturating_sub(padded);
        windows.push(w);
    }
    Ok(windows)
}

/// The attribute `kernel_shape`.
pub(super) fn kernel_shape(call: &Call<'_>, rank: usize) -> Result<Option<Vec<usize>>, Diagnostic> {
    call.ints("kernel_shape")?.map(|k| sizes(call, "kernel_shape", k, rank, 1)).transpose()
}

/// The attribute `name`, one positive number for each of `rank` axes; ones where it is left out.
pub(super) fn positive(call: &Call<'_>, name: &str, rank: usize) -> Result<Vec<usize>, Diagnostic> {
    call.ints(name)?.map_or_else(|| Ok(vec![1; rank]), |v| sizes(call, name, v, rank, 1))
}

/// `len` numbers of at least `least`, the value `v` of the attribute `name`.
pub(super) fn sizes(
    call: &Call<'_>,
    name: &str,
    v: &[i64],
    len: usize,
    least: usize,
) -> Result<Vec<usize>, Diagnostic> {
    let out: Option<Vec<usize>> =
        v.iter().map(|x| usize::try_from(*x).ok().filter(|x| *x >= least)).collect();
    out.filter(|out| out.len() == len).ok_or_else(|| {
        call.error(format!(
            "its attribute '{name}' is {v:?}; {len} integers of at least {least} are expected"
        ))
    })
}

/// Batch, channels and spatial dimensions of an operand `[N, C, D1, ...]` with 1 to 3 spatial axes.
pub(super) fn image<'a>(
    call: &Call<'_>,
    shape: &'a [usize],
) -> Result<(usize, usize, &'a [usize]), Diagnostic> {
    match shape {
        [n, c, spatial @ ..] if (1..=3).contains(&spatial.len()) => Ok((*n, *c, spatial)),
        _ => Err(call.error(format!(
            "its input has the shape {shape:?}; a batch, channels and one to three spatial dimensions are expected"
        ))),
    }
}

/// Windows over exactly three axes: `windows`, with unit ones in front.
pub(super) fn three(windows: &[Window]) -> [Window; 3] {
    let mut out = [Window::UNIT; 3];
    let first = 3 - windows.len();
    out[first..].copy_from_slice(windows);
    out
}

/// Calls `each` with the position in the input (row-major over three axes, `None` in the padding) and whether the tap is
/// in the padded input, for every tap of the windows at `position`.
pub(super) fn taps(w: &[Window; 3], position: [usize; 3], mut each: impl FnMut(usize, Option<usize>, bool)) {
    let mut tap = 0;
    for a in 0..w[0].kernel {
        for b in 0..w[1].kernel {
            for c in 0..w[2].kernel {
                let place = w[0].at(position[0], a).zip(w[1].at(position[1], b)).zip(w[2].at(position[2], c));
                let place = place.map(|((x, y), z)| (x * w[1].input + y) * w[2].input + z);
                let padded = w[0].in_padded(position[0], a)
                    && w[1].in_padded(position[1], b)
                    && w[2].in_padded(position[2], c);
                each(tap, place, padded);
                tap += 1;
            }
        }
    }
}

/// Every position of the windows, in row-major order.
pub(super) fn positions(w: &[Window; 3]) -> impl Iterator<Item = [usize; 3]> {
    let [a, b, c] = [w[0].output, w[1].output, w[2].output];
    (0..a).flat_map(move |x| (0..b).flat_map(move |y| (0..c).map(move |z| [x, y, z])))
}
