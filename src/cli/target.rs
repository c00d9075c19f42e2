//! What a model is built for.

use clap::Args;
use hs_compiler::{
    estimate::Estimate,
    platform::{DEFAULT_CLOCK_MHZ, MAX_COMPUTE_UNITS, PlaceError, PlaceOptions, Platform, Target, place},
};

use super::exit::Failure;

/// Options of the platform.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Platform")]
pub(crate) struct TargetArgs {
    /// Card to build for: U55C, U50, U200, U250, U280, aws-f1, or generic-part=PART for a part alone
    ///
    /// Decides the part, the platform, and in connectivity.cfg the compute units, their regions and memory banks. A
    /// model that does not fit by our estimate is refused.
    #[arg(long, value_name = "CARD", value_parser = Platform::parse)]
    pub(crate) platform: Option<Platform>,
    /// Compute units to link [default: as many as the card's host link can feed, one a region at most]
    #[arg(long, value_name = "N", requires = "platform", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_COMPUTE_UNITS)))]
    pub(crate) cus: Option<u32>,
    /// Clock to ask for, in MHz [default: 250]
    #[arg(long, value_name = "MHZ", value_parser = clap::value_parser!(u32).range(50..=600))]
    pub(crate) clock: Option<u32>,
}

impl TargetArgs {
    /// Clock asked for.
    pub(crate) fn clock_mhz(&self) -> u32 {
        self.clock.unwrap_or(DEFAULT_CLOCK_MHZ)
    }

    /// The target; without a platform the default's part alone.
    pub(crate) fn target(&self, estimate: &Estimate) -> Result<Target, Failure> {
        let card = match &self.platform {
            None => return Ok(Target { clock_mhz: self.clock_mhz(), ..Target::default() }),
            Some(Platform::Part(_)) if self.cus.is_some() => {
                return Err(Failure::usage(
                    "a part alone has no compute units: --cus needs a card as --platform",
                ));
            }
            Some(Platform::Part(part)) => return Ok(Target::part(part, self.clock_mhz())),
            Some(Platform::Card(card)) => card,
        };
        let options = PlaceOptions { compute_units: self.cus, clock_mhz: self.clock };
        Ok(place(card, estimate, options)?)
    }
}

impl From<PlaceError> for Failure {
    fn from(error: PlaceError) -> Self {
        let failure = Self::input(&error);
        match error.advice() {
            Some(advice) => failure.help(advice),
            None => failure,
        }
    }
}
