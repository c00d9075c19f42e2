//! Random rows.

use crate::{Op, Program, testing::Rng};

/// `rows` rows for `program`: row → model input → codes in hardware order. The first rows are all zeros, all
/// smallest and all largest codes and an alternation of both; the others mix edges and random codes.
///
/// The codes of an input depend on its own tensor name, shape and type only, so that shrinking elsewhere does
/// not change them.
pub fn random_inputs(program: &Program, seed: u64, rows: usize) -> Vec<Vec<Vec<i128>>> {
    let mut result = vec![Vec::new(); rows];
    for id in program.inputs() {
        let node = program.node(id);
        let Op::Input { tensor, .. } = &node.op else { continue };
        let name = tensor.bytes().fold(0u64, |h, b| h.wrapping_mul(0x100_0000_01b3) ^ u64::from(b));
        let mut rng = Rng::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(name));
        let f = node.format();
        for (row, codes) in result.iter_mut().enumerate() {
            let code = |i: usize| match row {
                0 => 0,
                1 => f.min(),
                2 => f.max(),
                3 if i.is_multiple_of(2) => f.min(),
                3 => f.max(),
                _ => rng.code(f),
            };
            codes.push((0..node.len()).map(code).collect());
        }
    }
    result
}
