//! Keeps the compute units of a card busy.
//!
//! A [`Scheduler`] cuts jobs into launches of a bounded number of rows, gives each to the compute unit with the fewest
//! rows outstanding, and takes it through the stages of a buffer slot: pack, transfer to the card, kernel, transfer
//! back, unpack. It knows neither a device nor a clock: it is told what has happened and when, and says what to start.
//! A [`Driver`] joins it with a [`Device`]: a card behind its runtime on real time, or a [`sim::SimDevice`] on virtual
//! time. Both run the same code.
//!
//! A [`Breaker`] keeps work from a card that fails, and tries it again with back-off.

mod breaker;
mod clock;
mod counters;
mod driver;
mod scheduler;
pub mod sim;

pub use breaker::{Admission, Breaker, BreakerPolicy, BreakerState};
pub use clock::{Clock, RealClock, Time};
pub use counters::{Counters, Used};
pub use driver::{Device, Driver};
pub use scheduler::{
    Answer, Config, ConfigError, DEFAULT_LEAST, DEFAULT_SLOTS, Done, Fault, JobId, Outcome, Refused,
    Scheduler, Stage, Step, Ticket, Why,
};
