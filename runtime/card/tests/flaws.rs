//! What an early FPGA server for the same protocol got wrong, as far as it is the scheduler's: each must not come back.
//! What it got wrong in its buffers and checks of inputs belongs to the backend above.

mod support;

use std::ops::Range;

use hs_card::{Config, Outcome, Stage, Why};
use support::{Bench, MS};

const ROWS: usize = 16_384;

fn card(units: usize, slots: usize) -> Bench {
    Bench::new(Config { slots, ..Config::new(units, ROWS) })
}

/// A request larger than a slot ran over into the neighbouring one.
#[test]
fn more_rows_than_a_slot_holds_are_cut() {
    let mut b = card(4, 8);
    let job = b.submit(156_250, None);
    b.finish();
    assert_eq!(b.outcome(job), &Outcome::Done);
    b.check_rows(job, 156_250);
    let packed: Vec<_> = b.started.iter().filter(|s| s.stage == Stage::Pack).map(|s| s.rows.len()).collect();
    assert_eq!((packed.len(), packed.iter().max()), (10, Some(&15_625)));
}

/// The kernel worked on as many rows as a slot holds, however few were asked for.
#[test]
fn few_rows_are_a_small_launch() {
    let mut b = card(1, 1);
    b.submit(3, None);
    b.finish();
    assert!(b.started.iter().all(|s| s.rows == (0..3)), "{:?}", b.started);
}

/// Inputs were copied into a slot before the kernel had done with what was in it.
#[test]
fn nothing_is_packed_into_a_slot_whose_kernel_runs() {
    let mut b = card(1, 1);
    b.submit(2 * ROWS, None);
    b.advance();
    for stage in [Stage::Pack, Stage::HostToDevice] {
        b.end_stage(stage);
    }
    assert_eq!(b.under_way.iter().map(|s| s.stage).collect::<Vec<_>>(), [Stage::Kernel]);
    b.end_stage(Stage::Kernel);
    assert_eq!(b.under_way.iter().map(|s| s.stage).collect::<Vec<_>>(), [Stage::DeviceToHost]);
}

/// Results were copied out after the slot had been given away: the 33rd request of 32 slots overwrote them.
#[test]
fn a_slot_is_given_away_when_its_results_are_out() {
    let mut b = card(4, 8);
    for _ in 0..33 {
        b.submit(ROWS, None);
    }
    b.advance();
    for stage in [Stage::Pack, Stage::HostToDevice, Stage::Kernel, Stage::DeviceToHost] {
        let mut left = 32;
        while left > 0 {
            b.end_stage(stage);
            left -= 1;
        }
    }
    assert_eq!(b.under_way.iter().filter(|s| s.stage == Stage::Unpack).count(), 32);
    assert_eq!(b.scheduler.queued(), 1);
    b.end_stage(Stage::Unpack);
    assert_eq!((b.scheduler.queued(), b.under_way.last().map(|s| s.stage)), (0, Some(Stage::Pack)));
}

/// Any error ended the server.
#[test]
fn an_error_costs_the_rows_of_its_launch() {
    let mut b = card(2, 1);
    let (bad, good) = (b.submit(2 * ROWS, None), b.submit(ROWS, None));
    b.advance();
    b.end(0, false);
    b.finish();
    let Outcome::Failed { why: Why::Fault(fault), unfinished } = b.outcome(bad) else { panic!() };
    assert_eq!((fault.to_string(), unfinished), ("broken".to_owned(), &vec![Range { start: 0, end: ROWS }]));
    assert_eq!(b.outcome(good), &Outcome::Done);
    b.check_rows(bad, 2 * ROWS);
}

/// A request waited for ever for a card that hung.
#[test]
fn a_hang_has_an_end() {
    let mut b = card(1, 1);
    let job = b.submit(1, None);
    b.advance();
    b.now = b.scheduler.wake().expect("a limit");
    assert!(b.now > MS(0));
    b.advance();
    assert!(matches!(b.outcome(job), Outcome::Failed { why: Why::Hung { .. }, .. }));
}
