//! Programs on which the emulator was once wrong.

mod common;

#[track_caller]
fn check(text: &str) {
    let program = hs_hw::text::parse(text).unwrap();
    program.verify().unwrap();
    for seed in 0..6 {
        assert_eq!(common::difference(&program, seed), None);
    }
}

/// Products drop as many bits as a lane has.
#[test]
fn drop_of_32_bits() {
    check(
        r#"program "drop" version 1
%0 = input "x" {index: 0, tensor: "x", onnx_shape: [5, 1, 1], perm: [0, 1, 2]} : [5, 1, 1] fixed<16,-4,TRN,WRAP>
%1 = dot(%0) "dot" {
  window: [{kernel: 5, stride: 1, dilation: 1, pad: [0, 0]}, {kernel: 1, stride: 1, dilation: 1, pad: [0, 0]}],
  groups: 1,
  weight: ufixed<15,-2>[0, 0, 0, 1, 0],
  accum: stepwise{ty: fixed<3,-2,TRN,WRAP>, order: sequential},
  act: none,
} : [1, 1, 1] ufixed<9,-6,TRN_ZERO,SAT>
%2 = output(%1) "y" {index: 0, tensor: "y", onnx_shape: [1, 1, 1], perm: [1, 2, 0]} : [1, 1, 1] ufixed<9,-6,TRN,WRAP>
"#,
    );
}

/// The low part of one weight, times an input of 27 bits, is beyond 32 bits: no sum of low parts fits, however few
/// terms it has.
#[test]
fn low_part_of_one_product_beyond_32_bits() {
    check(
        r#"program "low" version 1
%0 = input "x" {index: 0, tensor: "x", onnx_shape: [1], perm: [0]} : [1] fixed<27,21,TRN,WRAP>
%1 = dot(%0) "dot" {
  window: [],
  groups: 1,
  weight: fixed<8,3>[-128],
  accum: exact{format: fixed<36,25>},
  act: none,
} : [1] fixed<16,24,TRN,WRAP>
%2 = output(%1) "y" {index: 0, tensor: "y", onnx_shape: [1], perm: [0]} : [1] fixed<16,24,TRN,WRAP>
"#,
    );
}
