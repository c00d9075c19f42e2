use hs_fixed::{Interval, Type};

use super::*;
use crate::{range, text};

/// x → softmax with `attributes` → y.
fn softmax_program(n: usize, x: &str, attributes: &str, y: &str) -> Program {
    let p = text::parse(&format!(
        r#"program "softmax" version 1

%0 = input "x" {{index: 0, tensor: "x", onnx_shape: [{n}], perm: [0]}} : [{n}] {x}
%1 = softmax(%0) "softmax" {{{attributes}}} : [{n}] {y}
%2 = output(%1) "y" {{index: 0, tensor: "y", onnx_shape: [{n}], perm: [0]}} : [{n}] {y}
"#
    ))
    .unwrap();
    p.verify().unwrap();
    assert_eq!(text::parse(&text::print(&p)).unwrap(), p);
    p
}

fn result(p: &Program, x: &[i128]) -> Vec<i128> {
    run(p, &[x.to_vec()]).remove(0)
}

#[test]
fn a_legacy_softmax_by_hand() {
    // Eight cells of width 1 over [-4, 4); sums that wrap from 4 on; four cells of width 1 over [0, 4).
    let legacy = "kind: legacy, delta: fixed<7,5,TRN,WRAP>, \
         exp: {index: {mul: 1, shift: 2, toward_zero: true, offset: 4}, \
               entries: fixed<8,5>[0, 1, 2, 4, 8, 16, 24, 40], interpolate: false}, \
         exp_ty: fixed<8,5,TRN,WRAP>, sum: stepwise{ty: fixed<6,3,TRN,WRAP>, order: any}, \
         inv_in: fixed<6,3,TRN,WRAP>, \
         inv: {index: {mul: 1, shift: 3, toward_zero: true, offset: 0}, \
               entries: fixed<8,5>[0, 8, 4, 3], interpolate: false}, \
         inv_ty: fixed<8,5,TRN,WRAP>";
    let p = softmax_program(3, "fixed<6,4,TRN,WRAP>", legacy, "fixed<4,1,TRN,WRAP>");
    // Differences in quarters toward zero, exponentials and sums in eighths:
    // 1 + 2 + ½ = 3½, third cell; ½ + 1 + ⅛, first cell: 1 wraps to -1; 2 + 5 + 1 = 8 wraps to 0.
    assert_eq!(result(&p, &[4, 10, -3]), [3, -8, 0]);
    // Differences beyond the table: 1 + 0 + 1 = 2; 5 + 1 + 5 = 11 wraps to 3; 2 again.
    assert_eq!(result(&p, &[31, -32, 31]), [4, 3, 4]);
    // 1 + 5 + 5 wraps to 3; 0 + 1 + 0; 0 + 5 + 1 = 6 wraps to -2, clamped to the first cell.
    assert_eq!(result(&p, &[-32, 31, 0]), [3, -8, 0]);
    assert_eq!(range::ranges(&p)[1], Interval::new(-8, 7, 3));
}

#[test]
fn argmax_takes_the_first_of_the_largest() {
    let one = |y: &str| softmax_program(4, "fixed<5,3,TRN,WRAP>", "kind: argmax", y);
    let p = one("ufixed<4,2,TRN,WRAP>");
    assert_eq!(result(&p, &[3, 5, 5, -1]), [0, 4, 0, 0]);
    assert_eq!(result(&p, &[-7, -7, -7, -7]), [4, 0, 0, 0]);
    assert_eq!(result(&p, &[-16, -9, -12, 0]), [0, 0, 0, 4]);
    assert_eq!(range::ranges(&p)[1], Interval::new(0, 4, 2));
    // The 1 is cast like any other value.
    for (y, code) in [
        ("fixed<4,1,TRN,WRAP>", -8),
        ("fixed<4,1,TRN,SAT>", 7),
        ("ufixed<4,0,TRN,WRAP>", 0),
        ("fixed<3,3,RND,SAT>", 1),
        ("fixed<4,6,TRN,WRAP>", 0),
        ("fixed<4,5,RND,SAT>", 1),
    ] {
        let p = one(y);
        assert_eq!(result(&p, &[0, 1, 2, 1]), [0, 0, code, 0], "{y}");
        let found = range::ranges(&p)[1];
        assert_eq!((found.lo, found.hi), (code.min(0), code.max(0)), "{y}");
        assert_eq!(Softmax::one(&y.parse::<Type>().unwrap()), code, "{y}");
    }
}

#[test]
fn each_pixel_has_its_own_softmax() {
    let p = text::parse(
        r#"program "pixels" version 1

%0 = input "x" {index: 0, tensor: "x", onnx_shape: [2, 2], perm: [0, 1]} : [2, 2] fixed<4,4,RND,SAT>
%1 = softmax(%0) "softmax" {kind: argmax} : [2, 2] ufixed<1,1,RND,SAT>
%2 = output(%1) "y" {index: 0, tensor: "y", onnx_shape: [2, 2], perm: [0, 1]} : [2, 2] ufixed<1,1,RND,SAT>
"#,
    )
    .unwrap();
    assert_eq!(p.verify(), Ok(()));
    assert_eq!(result(&p, &[-3, 2, 7, 6]), [0, 1, 1, 0]);
}
