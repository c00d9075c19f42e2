//! Emulator against interpreter.

use hs_emulator::{Emulator, Isa, Layout, Options, Width};
use hs_hw::{Program, interp, testing::random_inputs};

const ROWS: [usize; 6] = [65, 1, 64, 7, 0, 33];
const BLOCKS: [Option<usize>; 6] = [None, Some(7), Some(64), Some(1), Some(65), Some(16)];

/// Every width with every instruction set and layout; threads, blocks and rows take turns.
pub(crate) fn options(seed: u64) -> Vec<(Options, usize)> {
    let isas = Isa::ALL.into_iter().filter(|isa| isa.is_available());
    let layouts = [Layout::Lanes, Layout::Rows];
    let all = isas.flat_map(|isa| Width::ALL.map(|width| layouts.map(|layout| (isa, width, layout))));
    all.flatten()
        .enumerate()
        .map(|(i, (isa, width, layout))| {
            let turn = seed as usize + i;
            let options = Options {
                threads: Some(1 + turn % 3),
                block: BLOCKS[turn / 3 % BLOCKS.len()],
                least_width: Some(width),
                isa: Some(isa),
                layout: Some(layout),
                ..Options::default()
            };
            (options, ROWS[turn % ROWS.len()])
        })
        .collect()
}

/// The first difference between emulator and interpreter over many options, on random rows.
pub(crate) fn difference(program: &Program, seed: u64) -> Option<String> {
    let most = *ROWS.iter().max().unwrap();
    let rows = random_inputs(program, seed, most);
    let expected: Vec<Vec<Vec<i128>>> = rows.iter().map(|row| interp::run(program, row)).collect();
    for (options, n) in options(seed) {
        let emulator = match Emulator::new(program.clone(), &options) {
            Ok(e) => e,
            Err(e) => return Some(format!("{options:?}: {e}")),
        };
        let input = |i: usize| rows[..n].iter().flat_map(|r| &r[i]).map(|c| *c as i64).collect::<Vec<_>>();
        let inputs: Vec<Vec<i64>> = (0..program.inputs().len()).map(input).collect();
        let slices: Vec<&[i64]> = inputs.iter().map(Vec::as_slice).collect();
        let got = emulator.run_codes(&slices, n).unwrap();
        for (o, got) in got.iter().enumerate() {
            let want: Vec<i64> = expected[..n].iter().flat_map(|r| &r[o]).map(|c| *c as i64).collect();
            if *got != want {
                let at = got.iter().zip(&want).position(|(g, w)| g != w);
                let at = at.map(|at| (at, got[at], want[at]));
                return Some(format!(
                    "{options:?}, {n} rows, output {o}: (element, emulator, interpreter) {at:?}\n{}",
                    emulator.plan()
                ));
            }
        }
    }
    None
}
