//! What a project is built for: a part, a card, and where its compute units lie there.

mod card;
mod place;
#[cfg(test)]
mod tests;

pub use card::{Availability, Card, Host, Memory, Slr, Support};
pub use place::{
    DEFAULT_CLOCK_MHZ, FILL_PERCENT, Fit, MAX_COMPUTE_UNITS, PlaceError, PlaceOptions, fit, place,
};

/// Part, platform and clock of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// FPGA part.
    pub part: String,
    /// Vitis platform; `None`: the part alone.
    pub platform: Option<String>,
    /// Clock asked for, in MHz.
    pub clock_mhz: u32,
    /// Compute units and their memory; `None`: nothing is linked.
    pub link: Option<Link>,
}

/// Compute units of a kernel, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// At most [`MAX_COMPUTE_UNITS`].
    pub compute_units: Vec<ComputeUnit>,
}

/// One copy of a kernel on a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeUnit {
    /// Its region.
    pub slr: String,
    /// Banks of each model input, as they are written at link time: `HBM[0:3]`.
    pub inputs: Vec<String>,
    /// Banks of each model output.
    pub outputs: Vec<String>,
    /// Banks of the weights, where the kernel reads them from memory.
    pub weights: Option<String>,
}

impl Default for Target {
    /// The Alveo U55C's part at 250 MHz.
    fn default() -> Self {
        Self::part("xcu55c-fsvh2892-2L-e", DEFAULT_CLOCK_MHZ)
    }
}

impl Target {
    /// A part alone: no platform, nothing to link.
    pub fn part(part: impl Into<String>, clock_mhz: u32) -> Self {
        Self { part: part.into(), platform: None, clock_mhz, link: None }
    }

    /// Period of the clock in ns, at most three decimals.
    pub fn clock_period_ns(&self) -> String {
        let text = format!("{:.3}", 1000.0 / f64::from(self.clock_mhz.max(1)));
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// Compute units that are linked; one where nothing is.
    pub fn compute_units(&self) -> u32 {
        self.link.as_ref().map_or(1, |l| l.compute_units.len() as u32)
    }
}

/// What a user names with `--platform`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platform {
    /// A card.
    Card(&'static Card),
    /// A part alone.
    Part(String),
}

/// Text that names no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// No such card.
    #[error("no card is called '{}'; the cards are {cards}; a part alone is generic-part=PART, such as generic-part=xcvu9p-flgb2104-2-i", .name.escape_debug())]
    Unknown {
        /// What was given.
        name: String,
        /// Every name, with commas.
        cards: String,
    },
    /// No name of a part.
    #[error("'{}' is no FPGA part; one is written like xcvu9p-flgb2104-2-i", .0.escape_debug())]
    Part(String),
}

/// What stands before a part.
const GENERIC: &str = "generic-part";

impl Platform {
    /// A card by its name (in any case) or one of its Vitis platforms, or `generic-part=PART`.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        if let Some(part) = text.strip_prefix(GENERIC) {
            let part = part.strip_prefix('=').unwrap_or_default();
            let good = part.starts_with("xc") && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            return if good {
                Ok(Self::Part(part.to_owned()))
            } else {
                Err(PlatformError::Part(part.to_owned()))
            };
        }
        let named = |c: &&Card| c.name.eq_ignore_ascii_case(text) || c.platforms.iter().any(|p| p == text);
        Card::all().iter().find(named).map(Self::Card).ok_or_else(|| {
            let cards: Vec<&str> = Card::all().iter().map(|c| c.name.as_str()).collect();
            PlatformError::Unknown { name: text.to_owned(), cards: cards.join(", ") }
        })
    }
}
