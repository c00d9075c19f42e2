//! Costs of some cards.

use std::{sync::LazyLock, time::Duration};

use serde::Deserialize;

use super::{Host, Timing};

/// A card as it is simulated.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// Compute units, where nothing else is said.
    pub units: usize,
    /// Slots of each.
    pub slots: usize,
    /// Where units and slots are from.
    pub source: String,
    link: Link,
    host: HostFigures,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    h2d_gb_s: f64,
    d2h_gb_s: f64,
    transfer_us: f64,
    launch_us: f64,
    source: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostFigures {
    gb_s: f64,
    threads: usize,
    source: String,
}

const FILES: &[&str] = &[
    include_str!("../../cards/u55c.toml"),
    include_str!("../../cards/u250.toml"),
    include_str!("../../cards/aws-f1.toml"),
];

static PRESETS: LazyLock<Vec<Preset>> =
    LazyLock::new(|| FILES.iter().map(|text| toml::from_str(text).expect("tested")).collect());

impl Preset {
    /// Every preset, in the order in which they are shown.
    pub fn all() -> &'static [Self] {
        &PRESETS
    }

    /// What card and host cost.
    pub fn timing(&self) -> Timing {
        let us = |us: f64| Duration::from_secs_f64(us / 1e6);
        Timing {
            h2d_gb_s: self.link.h2d_gb_s,
            d2h_gb_s: self.link.d2h_gb_s,
            transfer: us(self.link.transfer_us),
            launch: us(self.link.launch_us),
            host: Some(Host { gb_s: self.host.gb_s, threads: self.host.threads }),
        }
    }

    /// Where the figures are from, a line a group.
    pub fn sources(&self) -> [(&'static str, &str); 3] {
        [("units", &self.source), ("link", &self.link.source), ("host", &self.host.source)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_complete() {
        let names: Vec<&str> = Preset::all().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["U55C", "U250", "aws-f1"]);
        for preset in Preset::all() {
            let timing = preset.timing();
            assert!(timing.h2d_gb_s > 1.0 && timing.d2h_gb_s > 1.0, "{preset:?}");
            assert!(timing.launch > Duration::ZERO && preset.units > 0 && preset.slots > 0, "{preset:?}");
            for (group, source) in preset.sources() {
                assert!(source.len() > 10, "{}: {group} names no source", preset.name);
            }
        }
    }
}
