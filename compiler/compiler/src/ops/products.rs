//! Sums of products in f64, for the float reference: many at a time, each in its own fixed order.

/// Positions that are computed at a time.
pub(super) const LANES: usize = 8;
/// Outputs that are computed at a time: their sums and a row of columns stay in registers.
const ROWS: usize = 2;

/// `start[o] + Σ_k weight[o][k] · columns[k]` for [`LANES`] positions at once, in the order of k; `weight` is
/// `[outputs, columns.len()]`. `put` takes each output and its results.
pub(super) fn many(
    weight: &[f64],
    columns: &[[f64; LANES]],
    start: impl Fn(usize) -> f64,
    mut put: impl FnMut(usize, &[f64; LANES]),
) {
    let each = columns.len();
    if each == 0 {
        return;
    }
    for (block, rows) in weight.chunks(ROWS * each).enumerate() {
        let first = block * ROWS;
        if rows.len() == ROWS * each {
            let (a, b) = rows.split_at(each);
            let mut sums = [[start(first); LANES], [start(first + 1); LANES]];
            for ((column, a), b) in columns.iter().zip(a).zip(b) {
                for lane in 0..LANES {
                    sums[0][lane] += a * column[lane];
                    sums[1][lane] += b * column[lane];
                }
            }
            put(first, &sums[0]);
            put(first + 1, &sums[1]);
        } else {
            let mut sums = [start(first); LANES];
            for (column, a) in columns.iter().zip(rows) {
                for lane in 0..LANES {
                    sums[lane] += a * column[lane];
                }
            }
            put(first, &sums);
        }
    }
}

/// `Σ_k weight[o][k] · x[k]` for each output o, in the order of k; `weight` is `[outputs, x.len()]`.
pub(super) fn one(weight: &[f32], x: &[f32]) -> Vec<f64> {
    let each = x.len().max(1);
    let mut out = Vec::with_capacity(weight.len() / each);
    for rows in weight.chunks(LANES * each) {
        let mut sums = [0f64; LANES];
        if rows.len() == LANES * each {
            let rows: [&[f32]; LANES] = std::array::from_fn(|o| &rows[o * each..][..each]);
            for (k, x) in x.iter().enumerate() {
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum += f64::from(*x) * f64::from(row[k]);
                }
            }
        } else {
            for (sum, row) in sums.iter_mut().zip(rows.chunks(each)) {
                *sum = row.iter().zip(x).map(|(w, x)| f64::from(*x) * f64::from(*w)).sum();
            }
        }
        out.extend_from_slice(&sums[..rows.len() / each]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the same order, so that the results are the same to the last bit.
    #[test]
    fn blocks_are_the_plain_sums() {
        let value = |i: usize| ((i * 2_654_435_761) % 1000) as f64 / 7.0 - 70.0;
        for (outputs, inputs) in [(1, 1), (2, 5), (3, 4), (8, 3), (19, 6)] {
            let weight: Vec<f32> = (0..outputs * inputs).map(|i| value(i) as f32).collect();
            let wide: Vec<f64> = weight.iter().map(|w| f64::from(*w)).collect();
            let columns: Vec<[f64; LANES]> =
                (0..inputs).map(|k| std::array::from_fn(|lane| value(k * LANES + lane + 99))).collect();
            let mut seen = 0;
            many(
                &wide,
                &columns,
                |o| o as f64,
                |o, sums| {
                    for (lane, sum) in sums.iter().enumerate() {
                        let plain =
                            (0..inputs).fold(o as f64, |s, k| s + wide[o * inputs + k] * columns[k][lane]);
                        assert_eq!(*sum, plain);
                        seen += 1;
                    }
                },
            );
            assert_eq!(seen, outputs * LANES);
            let x: Vec<f32> = (0..inputs).map(|k| value(k + 5) as f32).collect();
            let plain: Vec<f64> = weight
                .chunks(inputs)
                .map(|row| row.iter().zip(&x).map(|(w, x)| f64::from(*x) * f64::from(*w)).sum())
                .collect();
            assert_eq!(one(&weight, &x), plain);
        }
    }
}
