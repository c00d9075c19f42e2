//! The simulated card: what it takes can be computed by hand.

use std::time::Duration;

use hs_card::{
    BreakerState, Config, Driver, Outcome, Scheduler, Time, Why,
    sim::{Binds, Host, Kernel, Load, SimDevice, Timing, Trouble, run},
};

const US: fn(u64) -> Duration = Duration::from_micros;
const MS: fn(u64) -> Time = Duration::from_millis;

/// 1,000 rows: 64 µs there, 1 µs back for each 1,000 bytes, 100 µs in the kernel.
fn kernel() -> Kernel {
    Kernel {
        clock_mhz: 100,
        interval: 10,
        latency: 10,
        weights: 0,
        input_bytes: 64,
        output_bytes: 8,
        outputs: 1,
    }
}

fn timing() -> Timing {
    Timing { h2d_gb_s: 1.0, d2h_gb_s: 1.0, transfer: US(5), launch: US(20), host: None }
}

fn driver(units: usize, slots: usize) -> Driver<SimDevice> {
    let config = Config { slots, step_limit: MS(10), ..Config::new(units, 1000) };
    Driver::new(Scheduler::new(config).unwrap(), SimDevice::new(timing(), kernel()))
}

fn load(units: usize, slots: usize, timing: &Timing, clients: usize, rows: usize) -> hs_card::sim::Report {
    let config = Config { slots, ..Config::new(units, 1000) };
    let device = SimDevice::new(timing.clone(), kernel());
    let load = Load { clients, rows, warm_up: MS(20), duration: MS(200) };
    run(Scheduler::new(config).unwrap(), device, &load)
}

#[test]
fn one_launch_takes_the_sum_of_its_steps() {
    let mut d = driver(1, 4);
    d.submit(1000, None).unwrap();
    let answers: Vec<_> = std::iter::repeat_with(|| d.turn(None)).take(6).flatten().collect();
    // 5 + 64, 20 + 100, 5 + 8.064 (8,000 bytes and a trailer).
    assert_eq!((answers.len(), answers[0].took), (1, Duration::from_nanos(202_064)));
    assert_eq!(timing().alone(&kernel(), 1000), answers[0].took);
    let c = d.scheduler().counters();
    assert_eq!((c.h2d, c.kernel, c.d2h), (US(69), US(120), Duration::from_nanos(13_064)));
}

#[test]
fn without_work_time_passes_and_nothing_else() {
    let mut d = driver(1, 1);
    assert_eq!((d.turn(None), d.turn(Some(MS(3)))), (vec![], vec![]));
    assert_eq!(hs_card::Clock::now(d.device()), MS(3));
}

#[test]
fn what_binds_is_named() {
    let fast = Timing { h2d_gb_s: 10.0, d2h_gb_s: 10.0, transfer: US(0), launch: US(0), ..timing() };
    let slow_host = Timing { host: Some(Host { gb_s: 0.1, threads: 2 }), ..fast.clone() };
    let long_way = Timing { transfer: US(1000), ..fast.clone() };
    let narrow_back = Timing { d2h_gb_s: 0.01, ..fast.clone() };
    let cases = [
        (load(4, 4, &timing(), 64, 1000), Binds::HostToDevice, 15_625.0),
        (load(1, 4, &timing(), 64, 1000), Binds::ComputeUnits, 1e6 / 120.0),
        (load(4, 4, &slow_host, 64, 1000), Binds::Host, 2e6 / 720.64),
        (load(4, 4, &narrow_back, 64, 1000), Binds::DeviceToHost, 1e6 / 806.4),
        (load(1, 2, &long_way, 64, 1000), Binds::Slots, 2e6 / 2107.2064),
        (load(4, 4, &timing(), 1, 1000), Binds::Clients, 1e6 / 202.064),
    ];
    for (report, binds, launches) in cases {
        assert_eq!(report.binds, binds, "{report:?}");
        // The window cuts a launch off at either end.
        let off = (report.launches_per_second / launches - 1.0).abs();
        assert!(off < 0.04, "{binds:?}: {launches} {report:?}");
    }
}

#[test]
fn utilisation_is_the_share_of_the_time() {
    let one = load(1, 4, &timing(), 1, 1000);
    let close = |a: f64, b: f64| (a - b).abs() < 0.005;
    let u = &one.utilisation;
    assert!(close(u.h2d, 64.0 / 202.064) && close(u.d2h, 8.064 / 202.064), "{u:?}");
    assert!(close(u.units[0], 120.0 / 202.064) && close(u.slots, 0.25) && u.host.is_none(), "{u:?}");
    assert_eq!((one.latency_ns.p50, one.latency_ns.max), (202_064, 202_064));
    assert_eq!(load(1, 4, &timing(), 0, 1000).requests, 0);
    assert_eq!(load(1, 4, &timing(), 3, 0).requests, 0);
}

#[test]
fn a_request_of_many_launches_uses_all_units() {
    let (one, four) = (load(1, 4, &timing(), 1, 4000), load(4, 4, &timing(), 1, 4000));
    assert!(four.latency_ns.p50 < one.latency_ns.p50, "{one:?} {four:?}");
    // A request at either end of the window is counted in part.
    assert!(four.launches.abs_diff(4 * four.requests) < 4, "{four:?}");
}

#[test]
fn the_same_load_gives_the_same_report() {
    assert_eq!(load(3, 4, &timing(), 17, 1500), load(3, 4, &timing(), 17, 1500));
}

/// Jobs follow one another until `end`; how each ended.
fn outcomes(d: &mut Driver<SimDevice>, end: Time) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut waiting = false;
    while hs_card::Clock::now(d.device()) < end {
        if !waiting {
            waiting = d.submit(1000, None).is_ok();
        }
        let answers = d.turn(Some(hs_card::Clock::now(d.device()) + MS(1)));
        waiting &= answers.is_empty();
        outcomes.extend(answers.into_iter().map(|a| a.outcome));
    }
    outcomes
}

#[test]
fn a_card_that_fails_for_a_while_comes_back() {
    let mut d = driver(1, 4);
    d.device_mut().trouble(MS(5)..MS(2500), Trouble::Fails);
    let all = outcomes(&mut d, MS(6000));
    let failed = all.iter().filter(|o| matches!(o, Outcome::Failed { why: Why::Fault(_), .. })).count();
    // Three open the breaker; the probe after 1 s fails, that after 2 s more does not.
    assert_eq!(failed, 4);
    assert_eq!((all.last(), d.scheduler().breaker()), (Some(&Outcome::Done), BreakerState::Closed));
}

#[test]
fn a_card_that_hangs_is_started_again() {
    let mut d = driver(1, 4);
    d.device_mut().trouble(MS(5)..MS(500), Trouble::Hangs);
    let all = outcomes(&mut d, MS(2000));
    assert!(
        matches!(all.last(), Some(Outcome::Failed { why: Why::Hung { unit: 0, .. }, .. })),
        "{:?}",
        all.last()
    );
    d.device_mut().restart();
    d.restarted();
    let all = outcomes(&mut d, MS(2100));
    assert!(all.len() > 100 && all.iter().all(|o| *o == Outcome::Done), "{}", all.len());
}

#[test]
fn a_slow_card_is_slow() {
    let mut d = driver(1, 4);
    d.device_mut().trouble(MS(0)..MS(500), Trouble::Slow(3));
    d.submit(1000, None).unwrap();
    let answers: Vec<_> = std::iter::repeat_with(|| d.turn(None)).take(6).flatten().collect();
    assert_eq!(answers[0].took, Duration::from_nanos(202_064) + US(240));
}
