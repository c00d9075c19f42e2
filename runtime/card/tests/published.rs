//! The simulated card beside published throughputs of a real one: a small network (18 inputs of 16 bits in rows of 64
//! bytes, one output of 16 bits, a row each cycle), launches of 16,384 rows, each slot kept full.
//!
//! Two points are fitted: 2 × 1, at which a slot waits for one step after the other, and 4 × 8, at which the link is full.
//! The fit finds two numbers, the cost of a command and the link's rate. Everything else is known: bytes, interval, and
//! the clock of 300 MHz that the only public build report of that design states.

use hs_card::sim::{Kernel, Point, Preset, Timing, calibrate, launches_per_second};

const ROWS: usize = 16_384;
const SLOW: Point = point(2, 1, 2048.0);
const FULL: Point = point(4, 8, 6815.0);
const OTHERS: [Point; 4] =
    [point(4, 1, 4065.0), point(2, 4, 5874.0), point(3, 4, 6399.0), point(4, 2, 6695.0)];

const fn point(units: usize, slots: usize, launches_per_second: f64) -> Point {
    Point { units, slots, launches_per_second }
}

fn kernel(input_bytes: u64) -> Kernel {
    Kernel { clock_mhz: 300, interval: 1, latency: 60, weights: 0, input_bytes, output_bytes: 2, outputs: 1 }
}

/// Rows came packed: the host's threads are not part of what was measured.
fn unpacked() -> Timing {
    Timing { host: None, ..Preset::all()[0].timing() }
}

fn fitted() -> Timing {
    calibrate(&unpacked(), &kernel(64), ROWS, SLOW, FULL).unwrap()
}

/// Rows of a table, and the largest errors of the points fitted and of the others, in percent.
fn compare(slow: Point, others: &[Point]) -> (Vec<String>, f64, f64) {
    let timing = calibrate(&unpacked(), &kernel(64), ROWS, slow, FULL).unwrap();
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for point in [slow, FULL].iter().chain(others) {
        let Point { units, slots, launches_per_second: published } = *point;
        let simulated = |bytes| launches_per_second(&timing, &kernel(bytes), ROWS, units, slots).unwrap();
        let (wide, packed) = (simulated(64), simulated(36));
        let error = 100.0 * (wide / published - 1.0);
        // Of an error that is none, no sign.
        let shown = (10.0 * error).round() / 10.0 + 0.0;
        let mark = if errors.len() < 2 { " *" } else { "" };
        rows.push(format!(
            "| {units} × {slots}{mark} | {published} | {wide:.0} | {shown:+.1} % | {packed:.0} |"
        ));
        // Fewer bytes are never slower.
        assert!(packed >= 0.999 * wide, "{point:?}");
        errors.push(error.abs());
    }
    let most = |errors: &[f64]| errors.iter().copied().fold(0.0, f64::max);
    (rows, most(&errors[..2]), most(&errors[2..]))
}

#[test]
fn two_points_predict_the_other_four_within_a_tenth() {
    let (rows, fitted, predicted) = compare(SLOW, &OTHERS);
    assert!(fitted < 0.5 && predicted < 10.0, "{fitted} {predicted}\n{}", rows.join("\n"));
    let guide = include_str!("../../../docs/platforms.md");
    assert!(rows.iter().all(|row| guide.contains(row)), "docs/platforms.md should have\n{}", rows.join("\n"));
}

/// The same costs, found where the compute units are busy.
#[test]
fn so_does_another_pair() {
    let [other, busy, rest @ ..] = OTHERS;
    let (rows, fitted, predicted) = compare(busy, &[&[SLOW, other], rest.as_slice()].concat());
    assert!(fitted < 0.5 && predicted < 10.0, "{fitted} {predicted}\n{}", rows.join("\n"));
}

#[test]
fn presets_hold_what_is_fitted() {
    let timing = fitted();
    for preset in Preset::all() {
        let held = preset.timing();
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.01;
        assert!(near(held.h2d_gb_s, timing.h2d_gb_s) && near(held.d2h_gb_s, timing.d2h_gb_s), "{timing:?}");
        for cost in [held.launch, held.transfer] {
            assert!(near(cost.as_secs_f64(), timing.launch.as_secs_f64()), "{timing:?}");
        }
    }
}

#[test]
fn what_no_costs_explain_is_refused() {
    let base = fitted();
    // Faster than the kernel's own 54.8 µs.
    let error = calibrate(&base, &kernel(64), ROWS, point(1, 1, 20_000.0), FULL).unwrap_err();
    assert!(error.to_string().contains("20000 launches/s on 1 compute units of 1 slots"), "{error}");
    assert!(calibrate(&base, &kernel(64), ROWS, point(0, 1, 1.0), FULL).is_err());
}
