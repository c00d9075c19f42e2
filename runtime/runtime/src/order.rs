//! The order of a row's elements: ONNX's, and the hardware's.

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

/// Rows and columns of a block of a transposition: its source and target stay in the first-level cache.
const BLOCK: usize = 32;

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
    pub(crate) fn to_hardware<T: Copy>(&self, onnx: &[T], hardware: &mut [T]) {
        match self {
            Self::Same => hardware.copy_from_slice(onnx),
            Self::Transposed { planes } => transpose(onnx, *planes, hardware),
            Self::Any(order) => {
                hardware.iter_mut().zip(order).for_each(|(to, from)| *to = onnx[*from as usize])
            }
        }
    }

    /// The elements of a row, in hardware order, into ONNX order.
    ///
    /// # Panics
    /// When one of the slices is no row.
    pub(crate) fn to_onnx<T: Copy>(&self, hardware: &[T], onnx: &mut [T]) {
        match self {
            Self::Same => onnx.copy_from_slice(hardware),
            Self::Transposed { planes } => transpose(hardware, hardware.len() / planes, onnx),
            Self::Any(order) => hardware.iter().zip(order).for_each(|(from, to)| onnx[*to as usize] = *from),
        }
    }
}

/// The transpose of a matrix of `rows` rows.
fn transpose<T: Copy>(from: &[T], rows: usize, to: &mut [T]) {
    let columns = from.len() / rows;
    assert_eq!(to.len(), from.len(), "places for a row's elements");
    for left in (0..columns).step_by(BLOCK) {
        for top in (0..rows).step_by(BLOCK) {
            let height = BLOCK.min(rows - top);
            for column in left..columns.min(left + BLOCK) {
                let to = &mut to[column * rows + top..][..height];
                let from = from[top * columns + column..].iter().step_by(columns);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
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
        let shapes: [&[usize]; 8] =
            [&[], &[5], &[3, 70], &[70, 40], &[1, 6, 7], &[3, 33, 35], &[4, 1, 9], &[2, 3, 4, 5]];
        for shape in shapes {
            let onnx: Vec<usize> = (0..shape.iter().product()).collect();
            for perm in permutations(shape.len()) {
                let order = Order::of(shape, &perm);
                let want: Vec<usize> = hardware_to_onnx(shape, &perm).iter().map(|i| *i as usize).collect();
                let mut hardware = vec![0; onnx.len()];
                order.to_hardware(&onnx, &mut hardware);
                assert_eq!(hardware, want, "{shape:?} {perm:?} {order:?}");
                let mut back = vec![0; onnx.len()];
                order.to_onnx(&hardware, &mut back);
                assert_eq!(back, onnx, "{shape:?} {perm:?} {order:?}");
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
