//! The scheduler, step by step and at random.

mod support;

use std::ops::Range;

use hs_card::{BreakerPolicy, BreakerState, Config, Outcome, Refused, Stage, Why};
use proptest::prelude::*;
use support::{Bench, MS};

fn config(units: usize, slots: usize, rows: usize) -> Config {
    Config { slots, step_limit: MS(100), ..Config::new(units, rows) }
}

#[test]
fn a_card_without_parts_is_refused() {
    for (units, slots, rows) in [(0, 1, 1), (1, 0, 1), (1, 1, 0)] {
        assert!(hs_card::Scheduler::new(config(units, slots, rows)).is_err());
    }
}

#[test]
fn work_goes_to_the_unit_with_the_fewest_rows() {
    let mut b = Bench::new(config(3, 2, 100));
    for rows in [50, 20, 10, 15, 40, 1] {
        b.submit(rows, None);
    }
    b.advance();
    let units: Vec<_> = b.started.iter().map(|s| (s.rows.len(), s.unit)).collect();
    // 15 joins 10, then 40 joins 20: 50, 60, 25. The last slot is on unit 0.
    assert_eq!(units, [(50, 0), (20, 1), (10, 2), (15, 2), (40, 1), (1, 0)]);
    assert_eq!(b.scheduler.outstanding(), [51, 60, 25]);
    b.finish();
    assert_eq!(b.scheduler.outstanding(), [0, 0, 0]);
}

#[test]
fn jobs_are_cut_into_equal_parts_and_take_turns() {
    let mut b = Bench::new(config(1, 4, 16_384));
    let large = b.submit(16_385, None);
    let small = b.submit(1, None);
    b.advance();
    let started: Vec<_> = b.started.iter().map(|s| (s.job, s.rows.clone())).collect();
    assert_eq!(started, [(large, 0..8193), (small, 0..1), (large, 8193..16_385)]);
    b.finish();
    assert_eq!((b.outcome(large), b.outcome(small)), (&Outcome::Done, &Outcome::Done));
}

#[test]
fn stages_of_different_slots_overlap() {
    let mut b = Bench::new(config(1, 3, 10));
    b.submit(30, None);
    b.advance();
    b.end_stage(Stage::Pack);
    b.end_stage(Stage::HostToDevice);
    b.end_stage(Stage::Pack);
    let stages: Vec<_> = b.under_way.iter().map(|s| s.stage).collect();
    assert_eq!(stages, [Stage::Pack, Stage::Kernel, Stage::HostToDevice]);
    // The second waits for the unit, and follows at once.
    b.end_stage(Stage::HostToDevice);
    assert_eq!(b.under_way.iter().filter(|s| s.stage == Stage::Kernel).count(), 1);
    b.end_stage(Stage::Kernel);
    let kernels: Vec<_> = b.under_way.iter().filter(|s| s.stage == Stage::Kernel).map(|s| s.slot).collect();
    assert_eq!(kernels, [1]);
}

#[test]
fn no_rows_are_no_work() {
    let mut b = Bench::new(config(1, 1, 10));
    let job = b.submit(0, None);
    b.advance();
    assert_eq!((b.outcome(job), b.started.len()), (&Outcome::Done, 0));
}

#[test]
fn a_deadline_answers_at_once_and_the_slot_stays_until_its_step_ends() {
    let mut b = Bench::new(config(1, 1, 10));
    let late = b.submit(25, Some(MS(5)));
    let next = b.submit(10, None);
    b.advance();
    assert_eq!(b.scheduler.wake(), Some(MS(5)));
    b.now = MS(5);
    b.advance();
    let Outcome::Failed { why, unfinished } = b.outcome(late) else { panic!() };
    assert_eq!((why, unfinished.as_slice()), (&Why::Deadline, &[0..9, 9..25][..]));
    assert_eq!(b.under_way.len(), 1, "the buffers are still in use");
    b.finish();
    assert_eq!(b.outcome(next), &Outcome::Done);
    // Nothing was transferred for a job that nobody waits for.
    assert!(b.started.iter().all(|s| s.job == next || s.stage == Stage::Pack), "{:?}", b.started);
    assert_eq!(b.scheduler.wake(), None);
}

#[test]
fn a_job_past_its_deadline_is_not_started() {
    let mut b = Bench::new(config(1, 1, 10));
    b.now = MS(7);
    let job = b.submit(3, Some(MS(7)));
    b.advance();
    assert!(matches!(b.outcome(job), Outcome::Failed { why: Why::Deadline, .. }));
    assert!(b.started.is_empty());
}

#[test]
fn a_card_that_fails_is_left_alone_and_probed() {
    let policy = BreakerPolicy { failures: 2, first: MS(10), most: MS(15) };
    let mut b = Bench::new(Config { breaker: policy, ..config(1, 2, 10) });
    let (first, second, third) = (b.submit(10, None), b.submit(10, None), b.submit(10, None));
    b.advance();
    b.end(0, false);
    b.advance();
    assert!(matches!(b.outcome(first), Outcome::Failed { why: Why::Fault(_), .. }));
    // The third got the slot that became free; the fourth waits when the breaker opens.
    let fourth = b.submit(10, None);
    b.advance();
    b.end(0, false);
    assert!(matches!(b.outcome(second), Outcome::Failed { why: Why::Fault(_), .. }));
    assert!(matches!(b.outcome(fourth), Outcome::Failed { why: Why::Unavailable, .. }));
    assert_eq!(b.scheduler.breaker(), BreakerState::Open { until: MS(10) });
    assert_eq!(b.scheduler.submit(MS(9), 1, None), Err(Refused::Open { retry: Some(MS(10)) }));
    b.now = MS(10);
    let probe = b.submit(1, None);
    assert_eq!(b.scheduler.submit(MS(10), 1, None), Err(Refused::Open { retry: None }));
    // What began before goes on to its end, and shows as well that the card works.
    b.finish();
    assert_eq!((b.outcome(third), b.outcome(probe)), (&Outcome::Done, &Outcome::Done));
    assert_eq!(b.scheduler.breaker(), BreakerState::Closed);
}

#[test]
fn a_card_that_hangs_gives_everything_back() {
    let mut b = Bench::new(config(2, 2, 10));
    let jobs = [b.submit(10, None), b.submit(15, None), b.submit(100, None)];
    b.advance();
    let held = b.under_way.clone();
    assert_eq!((held.len(), b.scheduler.wake()), (4, Some(MS(100))));
    b.now = MS(100);
    b.advance();
    for (job, rows) in jobs.into_iter().zip([10, 15, 100]) {
        assert!(matches!(
            b.outcome(job),
            Outcome::Failed { why: Why::Hung { unit: 0, stage: Stage::Pack }, .. }
        ));
        b.check_rows(job, rows);
    }
    // Until it is started again nothing may touch its buffers, and what it says is old.
    assert_eq!(b.scheduler.submit(MS(5000), 1, None), Err(Refused::Lost { retry: MS(1100) }));
    for step in &held {
        b.scheduler.done(MS(5000), hs_card::Done { ticket: step.ticket, result: Ok(()) });
    }
    assert_eq!(b.scheduler.counters().stale, 4);
    let mut fresh = Bench::new(config(2, 2, 10));
    (fresh.scheduler, fresh.now) = (b.scheduler, MS(5000));
    fresh.scheduler.restarted();
    let probe = fresh.submit(10, None);
    fresh.finish();
    assert_eq!(fresh.outcome(probe), &Outcome::Done);
    assert_eq!(fresh.scheduler.breaker(), BreakerState::Closed);
}

#[test]
fn a_dead_card_is_probed_after_its_restart_when_the_breaker_says_so() {
    let mut b = Bench::new(config(1, 1, 10));
    let job = b.submit(5, None);
    b.advance();
    b.scheduler.died(MS(3), "killed");
    b.scheduler.restarted();
    b.answers.extend(b.scheduler.answers());
    let Outcome::Failed { why, unfinished } = b.outcome(job) else { panic!() };
    assert_eq!((why, unfinished), (&Why::Died("killed".to_owned()), &vec![Range { start: 0, end: 5 }]));
    assert_eq!(b.scheduler.submit(MS(4), 1, None), Err(Refused::Open { retry: Some(MS(1003)) }));
    assert!(b.scheduler.submit(MS(1003), 1, None).is_ok());
}

#[test]
fn a_probe_whose_deadline_comes_leaves_room_for_the_next() {
    let mut b = Bench::new(config(1, 2, 10));
    b.scheduler.died(MS(0), "killed");
    b.scheduler.restarted();
    b.now = MS(1000);
    b.submit(5, Some(MS(1001)));
    b.advance();
    b.now = MS(1001);
    b.advance();
    let probe = b.submit(5, None);
    b.finish();
    assert_eq!((b.outcome(probe), b.scheduler.breaker()), (&Outcome::Done, BreakerState::Closed));
}

#[test]
fn times_are_counted_by_stage() {
    let mut b = Bench::new(config(1, 2, 10));
    b.submit(20, None);
    b.advance();
    for ms in 1..=10 {
        b.now = MS(ms);
        b.end(0, true);
        b.advance();
    }
    let c = b.scheduler.counters();
    // Both packed by 1 and 2, transferred by 3 and 4; the second waits for the kernel of the first, 3 to 5.
    let stages = [c.queue, c.pack, c.h2d, c.ready, c.kernel, c.d2h, c.unpack];
    assert_eq!(stages.map(|d| d.as_millis()), [0, 3, 4, 1, 4, 3, 3]);
    assert_eq!((c.jobs, c.launches, c.rows_in, c.rows_out, c.rows_back), (1, 2, 20, 20, 0));
    let used = b.scheduler.used(b.now);
    assert_eq!((used.units, used.slots), (vec![MS(4)], MS(18)));
}

proptest! {
    /// Whatever the order in which steps end, with faults and deadlines: each job is answered once, each of its rows is
    /// computed or given back, slots are never shared, and the card is empty at the end.
    #[test]
    fn no_row_is_lost_or_done_twice(
        (units, slots, rows) in (1usize..4, 1usize..4, 1usize..6),
        jobs in prop::collection::vec((0usize..20, prop::option::of(1u64..60)), 0..12),
        moves in prop::collection::vec((any::<prop::sample::Index>(), 0u8..40), 0..300),
    ) {
        let policy = BreakerPolicy { failures: 1000, ..BreakerPolicy::default() };
        let mut b = Bench::new(Config { step_limit: MS(10_000), breaker: policy, ..config(units, slots, rows) });
        let mut taken = Vec::new();
        let mut jobs = jobs.into_iter();
        for (which, kind) in moves {
            b.now += MS(1);
            if kind < 8 && let Some((rows, after)) = jobs.next() {
                let deadline = after.map(|ms| b.now + MS(ms));
                taken.push((b.submit(rows, deadline), rows));
            }
            b.advance();
            if !b.under_way.is_empty() {
                let at = which.index(b.under_way.len());
                b.end(at, kind != 39);
            }
            b.advance();
        }
        b.finish();
        for (job, rows) in &taken {
            b.check_rows(*job, *rows);
        }
        prop_assert_eq!(b.answers.len(), taken.len());
        let c = b.scheduler.counters();
        prop_assert_eq!(c.rows_in, taken.iter().map(|(_, rows)| *rows as u64).sum::<u64>());
        prop_assert_eq!(c.rows_in, c.rows_out + c.rows_back);
        prop_assert_eq!(b.scheduler.outstanding(), vec![0; units]);
        prop_assert_eq!((b.scheduler.queued(), b.scheduler.wake()), (0, None));
    }
}

#[test]
fn a_job_alone_is_spread_over_idle_units_in_parts_that_are_worth_it() {
    let spread = |rows: usize, before: usize| {
        let mut b = Bench::new(Config { least: 100, ..config(4, 2, 1000) });
        for _ in 0..before {
            b.submit(1, None);
        }
        b.advance();
        let job = b.submit(rows, None);
        b.advance();
        let parts =
            b.started.iter().filter(|s| s.job == job).map(|s| (s.rows.len(), s.unit)).collect::<Vec<_>>();
        b.finish();
        b.check_rows(job, rows);
        parts
    };
    assert_eq!(spread(99, 0), [(99, 0)]);
    assert_eq!(spread(250, 0), [(125, 0), (125, 1)]);
    assert_eq!(spread(800, 0), [(200, 0), (200, 1), (200, 2), (200, 3)]);
    // Two units have work already.
    assert_eq!(spread(800, 2), [(400, 2), (400, 3)]);
    assert_eq!(spread(2500, 0).len(), 4);
}
