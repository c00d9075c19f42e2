//! Where a design's compute units lie on a card: regions, memory banks, and whether it fits at all.

use crate::estimate::{Estimate, Pointers, Resources};

use super::card::{Card, Memory, Slr};
use super::{ComputeUnit, Link, Target};

/// Most compute units of one kernel that v++ links.
pub const MAX_COMPUTE_UNITS: u32 = 31;
/// Share of a region that is filled: beyond it, routing at 250 MHz seldom succeeds.
pub const FILL_PERCENT: u64 = 70;
/// Clock that is asked for when none is given; v++ scales down by itself what does not reach it.
pub const DEFAULT_CLOCK_MHZ: u32 = 250;
/// Most pseudo-channels that one port is given: those of one switch, which are reached without a detour.
const MAX_GROUP: usize = 4;

/// What a user asks for; `None`: decided here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceOptions {
    /// Compute units.
    pub compute_units: Option<u32>,
    /// Clock in MHz.
    pub clock_mhz: Option<u32>,
}

/// Why a design is not laid out on a card.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// One compute unit takes more than a region has.
    #[error(
        "the design needs {found} {resource}, and {FILL_PERCENT} % of the largest region of the {card} are \
         {available}{largest} (estimated, unproven)"
    )]
    TooLarge {
        /// The card.
        card: String,
        /// What there is too little of.
        resource: &'static str,
        /// What the design takes.
        found: u64,
        /// What it may take.
        available: u64,
        /// The layer that takes most of it, as a clause; may be empty.
        largest: String,
        /// What to do.
        advice: String,
    },
    /// More compute units than v++ links.
    #[error("{0} compute units are asked for; a kernel can have 1 to {MAX_COMPUTE_UNITS}")]
    Count(u32),
    /// More compute units than fit.
    #[error(
        "{asked} compute units are asked for, and {fit} fit the {card} when {FILL_PERCENT} % of each region are \
         filled (estimated, unproven)"
    )]
    TooMany {
        /// The card.
        card: String,
        /// Asked for.
        asked: u32,
        /// That fit.
        fit: u32,
    },
}

impl PlaceError {
    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::TooLarge { advice, .. } => Some(advice.clone()),
            Self::Count(_) => None,
            Self::TooMany { fit, .. } => {
                Some(format!("use --cus {fit}, or a larger reuse factor: each unit takes less then"))
            }
        }
    }
}

/// How a design fits a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// Compute units that fit, at most [`MAX_COMPUTE_UNITS`].
    pub compute_units: u32,
    /// What one of them takes most of, relative to the region where it takes least.
    pub scarce: &'static str,
    /// That share, in percent of the region, rounded up.
    pub percent: u64,
}

/// How `estimate` fits `card`.
pub fn fit(card: &Card, estimate: &Estimate) -> Fit {
    let units: u64 = card.slrs.iter().map(|s| room(s, &estimate.total)).sum();
    let least = card.slrs.iter().map(|s| scarcest(s, &estimate.total)).min_by_key(|(_, percent)| *percent);
    let (scarce, percent) = least.unwrap_or(("LUT", u64::MAX));
    Fit { compute_units: units.min(u64::from(MAX_COMPUTE_UNITS)) as u32, scarce, percent }
}

/// Compute units that fit a region.
fn room(slr: &Slr, need: &Resources) -> u64 {
    let kinds = slr.resources().kinds().into_iter().zip(need.kinds());
    kinds
        .filter(|(_, (_, n))| *n > 0)
        .map(|((_, has), (_, n))| has * FILL_PERCENT / 100 / n)
        .min()
        .unwrap_or(1)
}

/// What a compute unit takes most of in a region, and how much, in percent.
fn scarcest(slr: &Slr, need: &Resources) -> (&'static str, u64) {
    let share = |((kind, has), (_, n)): ((&'static str, u64), (&str, u64))| {
        (
            kind,
            if n == 0 { 0 } else { (100 * n).checked_div(has).map_or(u64::MAX, |_| (100 * n).div_ceil(has)) },
        )
    };
    let shares = slr.resources().kinds().into_iter().zip(need.kinds()).map(share);
    shares.rev().max_by_key(|(_, percent)| *percent).unwrap_or(("LUT", 0))
}

/// Lays out compute units on a card.
///
/// Without a wish there are as many as the way to the host can feed, one a region at most, and none away from the
/// memory; with one, the regions next to the memory are filled first.
pub fn place(card: &Card, estimate: &Estimate, options: PlaceOptions) -> Result<Target, PlaceError> {
    let clock_mhz = options.clock_mhz.unwrap_or(DEFAULT_CLOCK_MHZ);
    if let Some(n) = options.compute_units
        && !(1..=MAX_COMPUTE_UNITS).contains(&n)
    {
        return Err(PlaceError::Count(n));
    }
    let found = fit(card, estimate);
    if found.compute_units == 0 {
        return Err(too_large(card, estimate, found.scarce));
    }
    let memory = &card.memories[0];
    let asked = options.compute_units;
    if let Some(asked) = asked.filter(|n| *n > found.compute_units) {
        return Err(PlaceError::TooMany { card: card.name.clone(), asked, fit: found.compute_units });
    }
    let regions =
        regions(card, memory, &estimate.total, asked.map(|n| n as usize), fed(card, estimate, clock_mhz));
    let units = banks(card, memory, &regions, estimate.pointers);
    Ok(Target {
        part: card.part.clone(),
        platform: card.platforms.first().cloned(),
        clock_mhz,
        link: Some(Link { compute_units: units }),
    })
}

/// Compute units that the way to the host keeps busy.
fn fed(card: &Card, estimate: &Estimate, clock_mhz: u32) -> usize {
    // MB/s of one compute unit.
    let unit = estimate.row_bytes * u64::from(clock_mhz) / estimate.interval.max(1);
    (1000 * card.host.gb_s).div_ceil(unit.max(1)).clamp(1, u64::from(MAX_COMPUTE_UNITS)) as usize
}

/// The region of each compute unit.
fn regions(card: &Card, memory: &Memory, need: &Resources, asked: Option<usize>, fed: usize) -> Vec<usize> {
    let touching = |slr: usize| memory.slr.is_empty() || memory.slr.iter().any(|s| *s == card.slrs[slr].name);
    let mut order: Vec<usize> = (0..card.slrs.len()).collect();
    // Stable: SLR0 first among those that touch the memory.
    order.sort_by_key(|slr| distance(card, memory, *slr));
    let mut left: Vec<u64> = card.slrs.iter().map(|s| room(s, need)).collect();
    let near: u64 = order.iter().filter(|s| touching(**s)).map(|s| left[*s]).sum();
    let wanted = asked.unwrap_or_else(|| fed.min(card.slrs.len()).min(near as usize).max(1));
    // One shared memory: fill what lies next to it. Banks in several regions: spread.
    let shared = memory.slr.len() == 1;
    let mut regions = Vec::with_capacity(wanted);
    while regions.len() < wanted {
        let load = |slr: &&usize| regions.iter().filter(|r| r == slr).count();
        let free = order.iter().filter(|slr| left[**slr] > 0);
        let next =
            if shared { free.min_by_key(|slr| distance(card, memory, **slr)) } else { free.min_by_key(load) };
        let Some(next) = next.copied() else { break };
        left[next] -= 1;
        regions.push(next);
    }
    regions
}

/// Regions between one and the nearest bank.
fn distance(card: &Card, memory: &Memory, slr: usize) -> usize {
    let at = memory.slr.iter().filter_map(|name| card.slr_index(name));
    at.map(|bank| bank.abs_diff(slr)).min().unwrap_or(0)
}

/// A group of neighbouring banks.
fn group(memory: &Memory, first: usize, size: usize) -> String {
    if size == 1 { memory.bank(first) } else { format!("{}[{first}:{}]", memory.tag, first + size - 1) }
}

/// The banks of each pointer of each compute unit. Those of inputs, of outputs and of weights are disjoint; all units
/// read their weights from one place.
fn banks(card: &Card, memory: &Memory, regions: &[usize], pointers: Pointers) -> Vec<ComputeUnit> {
    // With two banks alone weights share the inputs': both are read.
    let kept = usize::from(pointers.weights && memory.banks > 2);
    let (inputs, outputs) = (regions.len() * pointers.inputs.max(1), regions.len() * pointers.outputs.max(1));
    let pool = memory.banks - kept;
    let (input, output): (Vec<String>, Vec<String>) = if memory.slr.len() == 1 {
        let size = (pool / (inputs + outputs)).clamp(1, MAX_GROUP);
        let groups = pool / size;
        let ins = (groups * inputs / (inputs + outputs)).clamp(1, groups - 1).min(inputs);
        let outs = (groups - ins).min(outputs);
        let all: Vec<String> = (0..groups).map(|g| group(memory, g * size, size)).collect();
        (all[..ins].to_vec(), all[ins..ins + outs].to_vec())
    } else {
        let of = |odd: usize| (0..pool).filter(|b| b % 2 == odd).map(|b| memory.bank(b)).collect();
        (of(0), of(1))
    };
    let weights = pointers.weights.then(|| if kept > 0 { memory.bank(pool) } else { input[0].clone() });
    let mut taken: Vec<usize> = vec![0; memory.banks];
    let mut pick = |from: &[String], slr: usize| {
        // Least used, then nearest, then first.
        let key = |at: &usize| {
            let bank = index(&from[*at]);
            let near = memory.slr_of(bank).and_then(|s| card.slr_index(s)).map_or(0, |s| s.abs_diff(slr));
            (taken[bank], near)
        };
        let at = (0..from.len()).min_by_key(key).unwrap_or(0);
        taken[index(&from[at])] += 1;
        from[at].clone()
    };
    regions
        .iter()
        .map(|slr| ComputeUnit {
            slr: card.slrs[*slr].name.clone(),
            inputs: (0..pointers.inputs).map(|_| pick(&input, *slr)).collect(),
            outputs: (0..pointers.outputs).map(|_| pick(&output, *slr)).collect(),
            weights: weights.clone(),
        })
        .collect()
}

/// Index of the first bank of a group.
fn index(group: &str) -> usize {
    let digits: String =
        group.chars().skip_while(|c| *c != '[').skip(1).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// A design beyond every region, with what takes most and where it would fit.
fn too_large(card: &Card, estimate: &Estimate, resource: &'static str) -> PlaceError {
    let of = |r: Resources| r.kinds().into_iter().find(|(k, _)| *k == resource).map_or(0, |(_, n)| n);
    let available = card.slrs.iter().map(|s| of(s.resources()) * FILL_PERCENT / 100).max().unwrap_or(0);
    let largest = estimate.largest(resource).map_or(String::new(), |(layer, n)| {
        format!("; the largest layer is '{}' with {n}", layer.name.escape_debug())
    });
    let fits: Vec<&str> =
        Card::all().iter().filter(|c| fit(c, estimate).compute_units > 0).map(|c| c.name.as_str()).collect();
    let cards = if fits.is_empty() {
        "no card that is known here has a region that large: split the model".to_owned()
    } else {
        format!("or take a larger card: {}", fits.join(", "))
    };
    let times = of(estimate.total).div_ceil(available.max(1));
    let advice = match resource {
        // Memories do not shrink when multipliers are shared.
        "BRAM18" | "URAM" => format!("use fewer bits; {cards}"),
        _ => format!(
            "use a reuse factor {times} times as large or more (--reuse, or per layer in --config), or fewer bits; {cards}"
        ),
    };
    PlaceError::TooLarge {
        card: card.name.clone(),
        resource,
        found: of(estimate.total),
        available,
        largest,
        advice,
    }
}
