//! Row-major index arithmetic.

/// Whether a shape has at most `most` elements, dimensions of 0 counted as 1: an empty tensor may have no huge axes
/// either.
pub(crate) fn within(shape: &[usize], most: usize) -> bool {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d.max(&1))).is_some_and(|n| n <= most)
}

/// Row-major strides.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        out[axis - 1] = out[axis] * shape[axis];
    }
    out
}

/// The shape that both broadcast to, when there is one.
pub(crate) fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |shape: &[usize], axis: usize| {
        let pad = rank - shape.len();
        if axis < pad { 1 } else { shape[axis - pad] }
    };
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// For each element of `out`, the place of the element of `shape` that broadcasts to it.
pub(crate) fn broadcast_indices(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let pad = out.len() - shape.len();
    let own = strides(shape);
    let step: Vec<usize> =
        (0..out.len()).map(|a| if a < pad || shape[a - pad] == 1 { 0 } else { own[a - pad] }).collect();
    walk(out, &step, 0)
}

/// For each element of a transposed tensor, its place in the original of `shape`.
pub(crate) fn permuted_indices(shape: &[usize], perm: &[usize]) -> Vec<usize> {
    let own = strides(shape);
    let out: Vec<usize> = perm.iter().map(|&p| shape[p]).collect();
    let step: Vec<usize> = perm.iter().map(|&p| own[p]).collect();
    walk(&out, &step, 0)
}

/// The places in a tensor of `shape` of the elements at `picks[axis]` along each axis, in row-major order of the result.
pub(crate) fn picked_indices(shape: &[usize], picks: &[Vec<usize>]) -> Vec<usize> {
    let own = strides(shape);
    picks.iter().zip(own).fold(vec![0], |places, (picks, step)| {
        places.iter().flat_map(|place| picks.iter().map(move |i| place + i * step)).collect()
    })
}

/// `start` plus the sum of index times step, for each index of `shape` in row-major order.
pub(super) fn walk(shape: &[usize], step: &[usize], start: usize) -> Vec<usize> {
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut out = vec![start];
    for (&dim, &step) in shape.iter().zip(step) {
        let mut next = Vec::with_capacity(out.len() * dim);
        for base in out {
            next.extend((0..dim).map(|i| base + i * step));
        }
        out = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices() {
        assert_eq!(permuted_indices(&[2, 3], &[1, 0]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(broadcast_indices(&[2, 1], &[1, 2, 2]), [0, 0, 1, 1]);
        assert_eq!(picked_indices(&[2, 3], &[vec![1], vec![2, 0, 0]]), [5, 3, 3]);
        assert_eq!(picked_indices(&[2, 3], &[vec![1], vec![]]), [0usize; 0]);
        assert_eq!(broadcast_shape(&[2, 1], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast_shape(&[2], &[3]), None);
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
    }
}
