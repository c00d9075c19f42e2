//! The cards that are there, as the system shows them: their addresses, shells and sensors.

use std::path::Path;

use hs_bitstream::Shell;
use hs_runtime::CardStatus;
use hs_xrt::{
    Mode,
    pcie::{self, Card, Role},
};

const SYSFS: &str = "/sys";

/// What of a card's shell a bitstream must fit.
pub fn shell(card: &Card) -> Shell {
    Shell {
        card: card.bdf().map_or_else(String::new, |b| b.to_string()),
        platform: card.platform.clone(),
        interfaces: card.interfaces.iter().filter_map(|i| i.parse().ok()).collect(),
    }
}

/// The cards that hosts can open, by index; none in an emulation.
pub(crate) fn of(mode: Mode) -> Vec<Card> {
    match mode {
        Mode::Hardware => {
            let opens = |card: &Card| card.problem.is_none() && card.function(Role::User).is_some();
            pcie::cards(Path::new(SYSFS)).into_iter().filter(opens).collect()
        }
        Mode::HardwareEmulation | Mode::SoftwareEmulation | Mode::Noop => Vec::new(),
    }
}

/// Fills in what the sensors of the card at an address say now.
pub(crate) fn sense(status: &mut CardStatus, address: &str) {
    let here = |card: &Card| card.bdf().is_some_and(|bdf| bdf.to_string() == address);
    if let Some(card) = pcie::cards(Path::new(SYSFS)).into_iter().find(here) {
        (status.power_w, status.temperature_c) = (card.watts, card.celsius);
    }
}
