//! The order of a row's elements: ONNX's, and the hardware's.

use crate::isa::{Checked, Kernel};

/// How rows go from one order to the other.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Both are the same.
    Same,
    /// ONNX has `planes` rows of as many elements each, the hardware their transpose: channels move from first to
    /// last.
    Transposed { planes: usize },
    /// For each hardware element its ONNX element.
    Any(Box<[u32]>),
}

impl Order {
    /// Axis i of the hardware tensor is ONNX axis `perm[i]`.
    pub(crate) fn of(onnx_shape: &[usize], perm: &[usize]) -> Self {
        // Axes of one element move nothing.
        let moved: Vec<usize> = perm.iter().copied().filter(|p| onnx_shape[*p] != 1).collect();
        if moved.is_sorted() {
            return Self::Same;
        }
        // Two ascending runs, the second below the first: two blocks of axes have changed places.
        let second = moved.windows(2).position(|w| w[0] > w[1]).map_or(0, |i| i + 1);
        if moved[second..].is_sorted() && moved[moved.len() - 1] < moved[0] {
            return Self::Transposed { planes: moved[second..].iter().map(|p| onnx_shape[*p]).product() };
        }
        Self::Any(hardware_to_onnx(onnx_shape, perm))
    }

    pub(crate) fn is_same(&self) -> bool {
        matches!(self, Self::Same)
    }

    /// The elements of a row, in ONNX order, into hardware order.
    ///
    /// # Panics
    /// When one of the slices is no row.
    pub(crate) fn to_hardware<T: Copy>(&self, isa: Checked, onnx: &[T], hardware: &mut [T]) {
        match self {
            Self::Same => hardware.copy_from_slice(onnx),
            Self::Transposed { planes } => isa.run(Transpose { from: onnx, rows: *planes, to: hardware }),
            Self::Any(order) => {
                hardware.iter_mut().zip(order).for_each(|(to, from)| *to = onnx[*from as usize])
            }
        }
    }

    /// The elements of a row, in hardware order, into ONNX order.
    ///
    /// # Panics
    /// When one of the slices is no row.
    pub(crate) fn to_onnx<T: Copy>(&self, isa: Checked, hardware: &[T], onnx: &mut [T]) {
        match self {
            Self::Same => onnx.copy_from_slice(hardware),
            Self::Transposed { planes } => {
                isa.run(Transpose { from: hardware, rows: hardware.len() / planes, to: onnx });
            }
            Self::Any(order) => hardware.iter().zip(order).for_each(|(from, to)| onnx[*to as usize] = *from),
        }
    }
}

/// The transpose of a matrix of `rows` rows.
struct Transpose<'a, T> {
    from: &'a [T],
    rows: usize,
    to: &'a mut [T],
}

/// Columns that are transposed together: what they become stays in the first-level cache.
const COLUMNS: usize = 32;

impl<T: Copy> Kernel for Transpose<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { from, rows, to } = self;
        let columns = from.len() / rows;
        assert_eq!(to.len(), from.len(), "places for a row's elements");
        match (rows, columns) {
            (2, _) => interleave::<2, T>(from, to),
            (3, _) => interleave::<3, T>(from, to),
            (4, _) => interleave::<4, T>(from, to),
            (_, 2) => separate::<2, T>(from, to),
            (_, 3) => separate::<3, T>(from, to),
            (_, 4) => separate::<4, T>(from, to),
            _ => blocks(from, rows, to),
        }
    }
}

/// `P` rows into elements of a column beside each other.
#[inline(always)]
fn interleave<const P: usize, T: Copy>(from: &[T], to: &mut [T]) {
    let columns = from.len() / P;
    let rows: [&[T]; P] = std::array::from_fn(|p| &from[p * columns..][..columns]);
    for (i, to) in to.as_chunks_mut::<P>().0.iter_mut().enumerate() {
        *to = std::array::from_fn(|p| rows[p][i]);
    }
}

/// The inverse of [`interleave`].
#[inline(always)]
fn separate<const P: usize, T: Copy>(from: &[T], to: &mut [T]) {
    let rows = to.len() / P;
    for (p, to) in to.chunks_exact_mut(rows).enumerate() {
        for (from, to) in from.as_chunks::<P>().0.iter().zip(to) {
            *to = from[p];
        }
    }
}

#[inline(always)]
fn blocks<T: Copy>(from: &[T], rows: usize, to: &mut [T]) {
    let columns = from.len() / rows;
    for left in (0..columns).step_by(COLUMNS) {
        let width = COLUMNS.min(columns - left);
        let row = |r: usize| &from[r * columns + left..][..width];
        // Four rows at a time: they become runs of four elements.
        for top in (0..rows & !3).step_by(4) {
            let (a, b, c, d) = (row(top), row(top + 1), row(top + 2), row(top + 3));
            let mut runs = [[from[0]; 4]; COLUMNS];
            for (((run, a), b), (c, d)) in runs.iter_mut().zip(a).zip(b).zip(c.iter().zip(d)) {
                *run = [*a, *b, *c, *d];
            }
            for (run, to) in runs[..width].iter().zip(to[left * rows + top..].chunks_mut(rows)) {
                to[..4].copy_from_slice(run);
            }
        }
        for top in rows & !3..rows {
            for (from, to) in row(top).iter().zip(to[left * rows + top..].iter_mut().step_by(rows)) {
                *to = *from;
            }
        }
    }
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
    use super::*;
    use crate::isa::Isa;

    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(n - 1);
        let insert = |p: &Vec<usize>, at: usize| {
            let mut p = p.clone();
            p.insert(at, n - 1);
            p
        };
        shorter.iter().flat_map(|p| (0..n).map(move |at| insert(p, at))).collect()
    }

    #[test]
    fn every_permutation_is_its_table() {
        let shapes: [&[usize]; 9] =
            [&[], &[5], &[3, 70], &[70, 40], &[1, 6, 7], &[3, 33, 35], &[4, 1, 9], &[2, 3, 4, 5], &[2, 8]];
        for shape in shapes {
            let onnx: Vec<usize> = (0..shape.iter().product()).collect();
            for perm in permutations(shape.len()) {
                let order = Order::of(shape, &perm);
                let want: Vec<usize> = hardware_to_onnx(shape, &perm).iter().map(|i| *i as usize).collect();
                for isa in Isa::ALL.into_iter().filter_map(Checked::new) {
                    let (mut hardware, mut back) = (vec![0; onnx.len()], vec![0; onnx.len()]);
                    order.to_hardware(isa, &onnx, &mut hardware);
                    assert_eq!(hardware, want, "{shape:?} {perm:?} {order:?}");
                    order.to_onnx(isa, &hardware, &mut back);
                    assert_eq!(back, onnx, "{shape:?} {perm:?} {order:?}");
                }
            }
        }
    }

    #[test]
    fn channels_last_is_a_transposition() {
        assert!(matches!(Order::of(&[3, 8, 8], &[1, 2, 0]), Order::Transposed { planes: 3 }));
        assert!(matches!(Order::of(&[3, 1, 8], &[1, 2, 0]), Order::Transposed { planes: 3 }));
        assert!(Order::of(&[1, 8, 8], &[1, 2, 0]).is_same());
        assert!(matches!(Order::of(&[2, 3, 4], &[2, 1, 0]), Order::Any(_)));
    }
}
