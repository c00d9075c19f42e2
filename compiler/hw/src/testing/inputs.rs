//! Random rows.

use crate::{Program, testing::Rng};

/// `rows` rows for `program`: row → model input → codes in hardware order. The first rows are all zeros, all
/// smallest and all largest codes and an alternation of both; the others mix edges and random codes.
pub fn random_inputs(program: &Program, seed: u64, rows: usize) -> Vec<Vec<Vec<i128>>> {
    let mut rng = Rng::new(seed ^ 0x1a7e_5eed);
    let ids = program.inputs();
    (0..rows)
        .map(|row| {
            ids.iter()
                .map(|id| {
                    let node = program.node(*id);
                    let f = node.format();
                    let code = |i: usize| match row {
                        0 => 0,
                        1 => f.min(),
                        2 => f.max(),
                        3 if i.is_multiple_of(2) => f.min(),
                        3 => f.max(),
                        _ => rng.code(f),
                    };
                    (0..node.len()).map(code).collect()
                })
                .collect()
        })
        .collect()
}
