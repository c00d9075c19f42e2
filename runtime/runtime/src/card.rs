//! How the cards of a model are.

use std::time::Duration;

/// Whether a card gets rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardState {
    /// It does.
    Working,
    /// It failed too often and is left alone for a while.
    LeftAlone,
    /// It failed, and one call finds out whether it works again.
    Probed,
    /// It died or hung, and is being started again.
    Lost,
}

impl CardState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::LeftAlone => "left alone",
            Self::Probed => "probed",
            Self::Lost => "lost",
        }
    }
}

/// A compute unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// For how long it computed.
    pub busy: Duration,
    /// Rows in its slots.
    pub rows: usize,
}

/// How a card is, and what it did since the model was loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct CardStatus {
    /// Its index or address.
    pub card: String,
    /// Whether it gets rows.
    pub state: CardState,
    /// Why not.
    pub why: Option<String>,
    /// Its compute units.
    pub units: Vec<UnitStatus>,
    /// Buffer slots of each.
    pub slots: usize,
    /// Times that it was started again.
    pub restarts: u64,
    /// Launches that ended well.
    pub launches: u64,
    /// Rows computed.
    pub rows: u64,
    /// Rows given back undone.
    pub rows_back: u64,
    /// Steps that failed.
    pub faults: u64,
    /// Time of launches in each stage, in order.
    pub times: Vec<(&'static str, Duration)>,
    /// Watts, where the card tells.
    pub power_w: Option<f64>,
    /// Degrees Celsius, where the card tells.
    pub temperature_c: Option<f64>,
}
