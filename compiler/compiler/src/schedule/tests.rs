//! FIFO depths of random Programs, and of bypasses of known length.

use hs_hw::testing::{Config, random_program};
use hs_hw::{Io, Program, Schedule};

use super::{ScheduleOptions, schedule, simulate};

fn streamed(program: &Program) -> Schedule {
    let options = ScheduleOptions { io: Some(Io::Stream), ..ScheduleOptions::default() };
    schedule(program, &options).unwrap().0
}

#[test]
fn random_programs_complete_with_their_depths() {
    let mut deep = 0;
    for seed in 0..400 {
        let program = random_program(seed, &Config::default());
        let schedule = streamed(&program);
        assert_eq!(simulate(&program, &schedule), Ok(()), "seed {seed}");
        deep += schedule.fifos.iter().filter(|f| f.depth > 2).count();
    }
    assert!(deep >= 10, "only {deep} FIFOs had to be deeper");
}

/// A 3 × 3 convolution over `side` × `side` pixels beside a bypass.
fn bypass(side: usize) -> Program {
    let text = format!(
        r#"program "bypass" version 1
%0 = input "x" {{index: 0, tensor: "x", onnx_shape: [{side}, {side}, 1], perm: [0, 1, 2]}} : [{side}, {side}, 1] fixed<8,4,RND,SAT>
%1 = dot(%0) "conv" {{
  window: [{{kernel: 3, stride: 1, dilation: 1, pad: [1, 1]}}, {{kernel: 3, stride: 1, dilation: 1, pad: [1, 1]}}],
  groups: 1,
  weight: fixed<4,2>[1, 2, 3, 4, 5, 6, 7, -8, -7],
  accum: exact{{format: fixed<20,10>}},
  act: none,
}} : [{side}, {side}, 1] fixed<8,4,RND,SAT>
%2 = binary(%1, %0) "add" {{op: add, act: none}} : [{side}, {side}, 1] fixed<8,4,RND,SAT>
%3 = output(%2) "y" {{index: 0, tensor: "y", onnx_shape: [{side}, {side}, 1], perm: [0, 1, 2]}} : [{side}, {side}, 1] fixed<8,4,RND,SAT>
"#
    );
    hs_hw::text::parse(&text).unwrap()
}

#[test]
fn a_bypass_is_as_deep_as_the_window_needs_and_no_deeper() {
    for side in [4, 5, 8, 32] {
        let program = bypass(side);
        let schedule = streamed(&program);
        let at = schedule.fifos.iter().position(|f| f.to == Some((2, 1))).unwrap();
        // The first window ends one row and one pixel after its own pixel, and the clone writes the bypass last.
        assert_eq!(schedule.fifos[at].depth, side + 1, "{side}");
        assert!(schedule.fifos.iter().enumerate().all(|(k, f)| k == at || f.depth == 2));
        let mut short = schedule.clone();
        short.fifos[at].depth -= 1;
        let stuck = simulate(&program, &short).unwrap_err();
        assert!(stuck.blocked.iter().any(|b| b.full && b.to == Some((2, 1))), "{stuck}");
    }
}
