//! How a card is.

use hs_card::{BreakerState, Scheduler, Time};
use hs_runtime::{CardState, CardStatus};

use crate::plan::Plan;

pub(crate) fn of(
    scheduler: &Scheduler,
    plan: &Plan,
    now: Time,
    lost: bool,
    restarts: u64,
    why: Option<&str>,
) -> CardStatus {
    let state = match scheduler.breaker() {
        _ if lost => CardState::Lost,
        BreakerState::Closed => CardState::Working,
        BreakerState::Open { .. } => CardState::LeftAlone,
        BreakerState::HalfOpen => CardState::Probed,
    };
    let (counters, used) = (scheduler.counters(), scheduler.used(now));
    let outstanding = scheduler.outstanding();
    CardStatus {
        card: plan.device.to_string(),
        state,
        why: (state != CardState::Working).then(|| why.unwrap_or_default().to_owned()),
        units: plan
            .units
            .iter()
            .zip(&used.units)
            .zip(outstanding)
            .map(|((name, busy), rows)| hs_runtime::UnitStatus { name: name.clone(), busy: *busy, rows })
            .collect(),
        slots: plan.slots,
        restarts,
        launches: counters.launches,
        rows: counters.rows_out,
        rows_back: counters.rows_back,
        faults: counters.faults,
        times: vec![
            ("queue", counters.queue),
            ("pack", counters.pack),
            ("h2d", counters.h2d),
            ("ready", counters.ready),
            ("kernel", counters.kernel),
            ("d2h", counters.d2h),
            ("unpack", counters.unpack),
        ],
        power_w: None,
        temperature_c: None,
    }
}
