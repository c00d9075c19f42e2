//! Cards, as the data files in `platforms/` describe them.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::estimate::Resources;

/// A card that a kernel can be linked for. Every group of figures names its source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Name on the command line.
    pub name: String,
    /// FPGA part.
    pub part: String,
    /// Vitis platforms, the one that is linked for first.
    pub platforms: Vec<String>,
    /// Where part and platforms are from.
    pub source: String,
    /// By whom and when one of our kernels was synthesised for it, or `never`.
    pub synthesised: String,
    /// Tools that know the card.
    pub support: Support,
    /// Regions, SLR0 first.
    #[serde(rename = "slr")]
    pub slrs: Vec<Slr>,
    /// What the regions' figures are.
    pub resources: Availability,
    /// Memories that a kernel can be linked to; the first is used.
    #[serde(rename = "memory")]
    pub memories: Vec<Memory>,
    /// The way to the host.
    pub host: Host,
}

/// The way to the host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// What passes in one direction, in GB/s.
    pub gb_s: u64,
    /// Where this is from.
    pub source: String,
}

/// Tools that know a card.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Support {
    /// Versions of Vitis.
    pub vitis: String,
    /// Versions of XRT.
    pub xrt: String,
    /// What else to know.
    pub note: String,
    /// Where this is from.
    pub source: String,
}

/// A super logic region.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slr {
    /// Name at link time: `SLR0`.
    pub name: String,
    /// Look-up tables.
    pub lut: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Block RAMs of 36 Kib.
    pub bram36: u64,
    /// UltraRAMs.
    pub uram: u64,
    /// DSP slices.
    pub dsp: u64,
}

impl Slr {
    /// What a kernel can have of it.
    pub fn resources(&self) -> Resources {
        Resources { lut: self.lut, ff: self.ff, dsp: self.dsp, bram18: 2 * self.bram36, uram: self.uram }
    }
}

/// What the figures of the regions are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    /// `after the shell`, or `whole device`.
    pub available: String,
    /// Where they are from.
    pub source: String,
}

/// Banks of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Name at link time, without the index: `HBM`, `DDR`.
    pub tag: String,
    /// Number of banks; of HBM, pseudo-channels.
    pub banks: usize,
    /// Size of each, in MiB.
    pub mib: u64,
    /// The region that each bank touches; one: the same for all; none: not known.
    pub slr: Vec<String>,
    /// Where this is from.
    pub source: String,
}

impl Memory {
    /// Name of a bank at link time: `HBM[3]`.
    pub fn bank(&self, index: usize) -> String {
        format!("{}[{index}]", self.tag)
    }

    /// Region that a bank touches, where it is known.
    pub fn slr_of(&self, bank: usize) -> Option<&str> {
        match self.slr.as_slice() {
            [one] => Some(one),
            many => many.get(bank).map(String::as_str),
        }
    }
}

const FILES: &[&str] = &[
    include_str!("../../platforms/u55c.toml"),
    include_str!("../../platforms/u50.toml"),
    include_str!("../../platforms/u200.toml"),
    include_str!("../../platforms/u250.toml"),
    include_str!("../../platforms/u280.toml"),
    include_str!("../../platforms/aws-f1.toml"),
];

static CARDS: LazyLock<Vec<Card>> =
    LazyLock::new(|| FILES.iter().map(|text| toml::from_str(text).expect("tested")).collect());

impl Card {
    /// Every card, in the order in which they are shown.
    pub fn all() -> &'static [Self] {
        &CARDS
    }

    /// The sum over its regions.
    pub fn total(&self) -> Resources {
        self.slrs.iter().map(Slr::resources).sum()
    }

    /// Position of a region.
    pub(crate) fn slr_index(&self, name: &str) -> Option<usize> {
        self.slrs.iter().position(|s| s.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_is_complete() {
        let names: Vec<&str> = Card::all().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["U55C", "U50", "U200", "U250", "U280", "aws-f1"]);
        for card in Card::all() {
            let name = &card.name;
            assert!(card.part.starts_with("xc"), "{name}");
            assert!(card.platforms.iter().all(|p| p.starts_with("xilinx_")), "{name}");
            assert!(!card.platforms.is_empty() && !card.memories.is_empty(), "{name}");
            assert_eq!(card.synthesised, "never", "{name}: docs/platforms.md says so too");
            for (i, slr) in card.slrs.iter().enumerate() {
                assert_eq!(slr.name, format!("SLR{i}"), "{name}");
                assert_eq!(slr.ff.div_ceil(2_000_000), 1, "{name}");
                assert!(slr.ff > slr.lut && slr.lut > slr.dsp && slr.dsp > slr.bram36, "{name}");
            }
            for memory in &card.memories {
                assert!([0, 1, memory.banks].contains(&memory.slr.len()), "{name}");
                assert!(memory.slr.iter().all(|s| card.slr_index(s).is_some()), "{name}");
                assert!(memory.banks >= 2, "{name}: inputs and outputs need banks of their own");
            }
            let sources = [&card.source, &card.support.source, &card.resources.source, &card.host.source];
            let sources = sources.into_iter().chain(card.memories.iter().map(|m| &m.source));
            for source in sources {
                assert!(source.len() > 10, "{name}: '{source}' names no source");
            }
        }
    }

    #[test]
    fn the_guide_has_every_card() {
        let guide = include_str!("../../../../docs/platforms.md");
        for card in Card::all() {
            let memory = &card.memories[0];
            let row = format!(
                "| {} | `{}` | `{}` | {} | {} × {} MiB {} | {} | {} |",
                card.name,
                card.part,
                card.platforms[0],
                card.slrs.len(),
                memory.banks,
                memory.mib,
                memory.tag,
                card.support.vitis,
                card.synthesised
            );
            assert!(guide.contains(&row), "docs/platforms.md has no row\n{row}");
        }
    }

    #[test]
    fn totals_are_those_of_the_tables() {
        let card = |name: &str| Card::all().iter().find(|c| c.name == name).unwrap();
        // UG1702 2025.2, Resource Availability.
        let u200 = Resources { lut: 979_040, ff: 1_958_080, dsp: 5880, bram18: 2 * 1860, uram: 800 };
        assert_eq!(card("U200").total(), u200);
        // Two stacks of 4 GB, and two of 8 GB.
        assert_eq!(card("U50").memories[0].mib * 32, 8 << 10);
        assert_eq!(card("U55C").memories[0].mib * 32, 16 << 10);
        assert_eq!(card("U250").memories[0].slr_of(2), Some("SLR2"));
        assert_eq!(card("U55C").memories[0].slr_of(31), Some("SLR0"));
        assert_eq!(card("aws-f1").memories[0].slr_of(1), None);
    }
}
