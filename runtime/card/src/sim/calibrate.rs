//! Costs of a card from measured throughputs.

use std::time::Duration;

use super::{Kernel, Load, SimDevice, Timing, run};
use crate::{Config, ConfigError, Scheduler};

/// A measured throughput: each slot of each unit was kept full with launches of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Compute units.
    pub units: usize,
    /// Slots of each.
    pub slots: usize,
    /// Launches a second of the card.
    pub launches_per_second: f64,
}

/// Two points that no costs explain.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// A point without anything to run on.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The nearest costs miss a point.
    #[error(
        "no launch cost and link rate give {wanted} launches/s on {units} compute units of {slots} slots: the nearest \
         give {found}; check the kernel's clock, interval and bytes a row"
    )]
    NoFit {
        /// Of the point.
        units: usize,
        /// Of the point.
        slots: usize,
        /// Measured.
        wanted: f64,
        /// By the nearest costs.
        found: f64,
    },
}

/// Halvings of a range of costs or rates.
const HALVINGS: usize = 23;
/// Rounds of one, then the other: the rate hardly depends on the cost.
const ROUNDS: usize = 2;
/// Largest relative error of a point that was fitted.
const CLOSE: f64 = 0.005;

/// Launches a second with every slot kept full.
pub fn launches_per_second(
    timing: &Timing,
    kernel: &Kernel,
    rows: usize,
    units: usize,
    slots: usize,
) -> Result<f64, ConfigError> {
    let scheduler = Scheduler::new(Config { slots, step_limit: Duration::MAX, ..Config::new(units, rows) })?;
    // One waits for each that is in a slot.
    let clients = 2 * units * slots;
    let alone = timing.alone(kernel, rows);
    let (warm_up, duration) = (alone * 20, alone * 500);
    let device = SimDevice::new(timing.clone(), kernel.clone());
    Ok(run(scheduler, device, &Load { clients, rows, warm_up, duration }).launches_per_second)
}

/// The cost of a launch and the link's rate that explain two measured points of launches of `rows` rows; the rest of
/// `base` stays. A transfer costs the host's runtime what a launch costs, and the rate is the same in both directions.
/// `slow` is a point at which slots spend their time waiting for one step after the other, `full` one at which the link is
/// full.
pub fn calibrate(
    base: &Timing,
    kernel: &Kernel,
    rows: usize,
    slow: Point,
    full: Point,
) -> Result<Timing, CalibrationError> {
    let speed = |timing: &Timing, at: Point| launches_per_second(timing, kernel, rows, at.units, at.slots);
    let with = |cost: f64, rate: f64| {
        let cost = Duration::from_secs_f64(cost);
        Timing { transfer: cost, launch: cost, h2d_gb_s: rate, d2h_gb_s: rate, ..base.clone() }
    };
    let (mut cost, mut rate) = (100e-6, 12.0);
    for _ in 0..ROUNDS {
        cost = halve(0.0, 0.1, |cost| Ok(speed(&with(cost, rate), slow)? < slow.launches_per_second))?;
        rate = halve(0.01, 100.0, |rate| Ok(speed(&with(cost, rate), full)? > full.launches_per_second))?;
    }
    let found = with(cost, rate);
    for point in [slow, full] {
        let Point { units, slots, launches_per_second: wanted } = point;
        let found = speed(&found, point)?;
        if (found / wanted - 1.0).abs() > CLOSE {
            return Err(CalibrationError::NoFit { units, slots, wanted, found });
        }
    }
    Ok(found)
}

/// Where `above` begins to hold, between two bounds.
fn halve(
    mut low: f64,
    mut high: f64,
    above: impl Fn(f64) -> Result<bool, ConfigError>,
) -> Result<f64, ConfigError> {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        *(if above(middle)? { &mut high } else { &mut low }) = middle;
    }
    Ok(f64::midpoint(low, high))
}
