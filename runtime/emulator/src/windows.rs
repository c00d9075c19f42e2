//! Sliding windows, laid out at load time.

use hs_hw::Window;

/// What each output pixel's window covers.
#[derive(Debug)]
pub(crate) struct Windows {
    kernel: usize,
    /// Input pixels of all windows, padding left out, window after window in kernel order.
    covered: Vec<u32>,
    /// The kernel position of each.
    positions: Vec<u32>,
    /// Where each window ends in both.
    ends: Vec<usize>,
}

/// Consecutive kernel positions that cover consecutive input pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First input pixel.
    pub(crate) pixel: u32,
    /// First kernel position.
    pub(crate) position: u32,
    /// Number of both.
    pub(crate) n: u32,
}

impl Windows {
    /// `input` and `output`: the spatial axes.
    pub(crate) fn new(window: &[Window], input: &[usize], output: &[usize]) -> Self {
        let kernel: Vec<usize> = window.iter().map(|w| w.kernel).collect();
        let mut windows = Self {
            kernel: kernel.iter().product(),
            covered: Vec::new(),
            positions: Vec::new(),
            ends: Vec::with_capacity(output.iter().product()),
        };
        for_each(output, |at| {
            let mut position = 0;
            for_each(&kernel, |k| {
                let mut axes = window.iter().zip(input).enumerate();
                let pixel = axes.try_fold(0, |flat, (axis, (w, n))| {
                    w.position(at[axis], k[axis], *n).map(|p| flat * n + p)
                });
                if let Some(pixel) = pixel {
                    windows.covered.push(pixel as u32);
                    windows.positions.push(position);
                }
                position += 1;
            });
            windows.ends.push(windows.covered.len());
        });
        windows
    }

    /// Elements of a window.
    pub(crate) fn kernel(&self) -> usize {
        self.kernel
    }

    /// Number of windows.
    pub(crate) fn pixels(&self) -> usize {
        self.ends.len()
    }

    fn range(&self, p: usize) -> std::ops::Range<usize> {
        let first = if p == 0 { 0 } else { self.ends[p - 1] };
        first..self.ends[p]
    }

    /// Input pixels of window `p`, padding left out.
    pub(crate) fn covered(&self, p: usize) -> &[u32] {
        &self.covered[self.range(p)]
    }

    /// Kernel positions of [`covered`](Self::covered).
    pub(crate) fn positions(&self, p: usize) -> &[u32] {
        &self.positions[self.range(p)]
    }

    /// The runs of every window, and where each window's end.
    pub(crate) fn runs(&self) -> (Vec<Run>, Vec<usize>) {
        let mut runs: Vec<Run> = Vec::new();
        let mut ends = Vec::with_capacity(self.pixels());
        for p in 0..self.pixels() {
            let first = runs.len();
            for (pixel, position) in self.covered(p).iter().zip(self.positions(p)) {
                match runs[first..].last_mut() {
                    Some(r) if r.pixel + r.n == *pixel && r.position + r.n == *position => r.n += 1,
                    _ => runs.push(Run { pixel: *pixel, position: *position, n: 1 }),
                }
            }
            ends.push(runs.len());
        }
        (runs, ends)
    }
}

/// All indices of a shape, in row-major order.
fn for_each(shape: &[usize], mut f: impl FnMut(&[usize])) {
    let mut at = vec![0; shape.len()];
    loop {
        f(&at);
        let Some(axis) = (0..shape.len()).rev().find(|a| at[*a] + 1 < shape[*a]) else { return };
        at[axis] += 1;
        at[axis + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_what_lies_side_by_side() {
        let w = |kernel, pad| Window { kernel, stride: 1, dilation: 1, pad_begin: pad, pad_end: pad };
        let windows = Windows::new(&[w(2, 0), w(3, 1)], &[3, 3], &[2, 3]);
        assert_eq!(windows.covered(0), [0, 1, 3, 4]);
        assert_eq!(windows.positions(0), [1, 2, 4, 5]);
        assert_eq!(windows.covered(4), [3, 4, 5, 6, 7, 8]);
        let (runs, ends) = windows.runs();
        assert_eq!(ends, [2, 3, 5, 7, 8, 10]);
        // Full rows join across the row's end, which is sound: kernel and input go on together.
        assert_eq!(runs[2], Run { pixel: 0, position: 0, n: 6 });
        assert_eq!(runs[0], Run { pixel: 0, position: 1, n: 2 });
    }

    #[test]
    fn dense_is_one_window() {
        let windows = Windows::new(&[], &[], &[]);
        assert_eq!((windows.kernel(), windows.pixels()), (1, 1));
        assert_eq!(windows.runs().0, [Run { pixel: 0, position: 0, n: 1 }]);
    }
}
