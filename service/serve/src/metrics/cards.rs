//! Metrics of cards.

use hs_runtime::{CardState, CardStatus, UnitStatus};

use super::{
    Version,
    text::{Kind, Text},
};

/// Of each card of each version.
pub(super) fn write(text: &mut Text, versions: &[Version]) {
    let cards: Vec<(&Version, &CardStatus)> =
        versions.iter().flat_map(|v| v.cards.iter().map(move |c| (v, c))).collect();
    if cards.is_empty() {
        return;
    }
    type Read = fn(&CardStatus) -> f64;
    let all: [(&str, Kind, &str, Read); 7] = [
        (
            "working",
            Kind::Gauge,
            "Whether the card gets rows: 0 while it is left alone, probed or lost",
            |c| f64::from(u8::from(c.state == CardState::Working)),
        ),
        ("slots", Kind::Gauge, "Buffer slots of each compute unit", |c| c.slots as f64),
        ("launches_total", Kind::Counter, "Launches of kernels that ended well", |c| c.launches as f64),
        ("rows_total", Kind::Counter, "Rows computed", |c| c.rows as f64),
        ("rows_back_total", Kind::Counter, "Rows given back undone, to be run elsewhere", |c| {
            c.rows_back as f64
        }),
        ("faults_total", Kind::Counter, "Steps of launches that failed", |c| c.faults as f64),
        ("restarts_total", Kind::Counter, "Times that the card was started again", |c| c.restarts as f64),
    ];
    for (name, kind, help, read) in all {
        family(text, &cards, name, kind, help, |c| Some(read(c)));
    }
    family(text, &cards, "power_watts", Kind::Gauge, "Power, of cards that tell", |c| c.power_w);
    family(text, &cards, "temperature_celsius", Kind::Gauge, "Temperature, of cards that tell", |c| {
        c.temperature_c
    });
    let name = "hypersonic_card_stage_seconds_total";
    text.family(name, Kind::Counter, "Seconds of launches in each stage, from queue to unpack");
    for (v, c) in &cards {
        for (stage, time) in &c.times {
            text.sample(name, &labels(v, c, &[("stage", stage)]), time.as_secs_f64());
        }
    }
    type OfUnit = fn(&UnitStatus) -> f64;
    let units: [(&str, Kind, &str, OfUnit); 2] = [
        ("busy_seconds_total", Kind::Counter, "Seconds that a compute unit computed", |u| {
            u.busy.as_secs_f64()
        }),
        ("rows", Kind::Gauge, "Rows in the slots of a compute unit", |u| u.rows as f64),
    ];
    for (name, kind, help, read) in units {
        let name = format!("hypersonic_card_unit_{name}");
        text.family(&name, kind, help);
        for (v, c) in &cards {
            for unit in &c.units {
                text.sample(&name, &labels(v, c, &[("unit", &unit.name)]), read(unit));
            }
        }
    }
}

fn labels<'a>(v: &'a Version, c: &'a CardStatus, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    v.labels().into_iter().chain([("card", c.card.as_str())]).chain(more.iter().copied()).collect()
}

/// A metric of a number a card; those that have none are left out, and the metric where none has.
fn family(
    text: &mut Text,
    cards: &[(&Version, &CardStatus)],
    name: &str,
    kind: Kind,
    help: &str,
    read: impl Fn(&CardStatus) -> Option<f64>,
) {
    let samples: Vec<_> = cards.iter().filter_map(|(v, c)| Some((v, c, read(c)?))).collect();
    if samples.is_empty() {
        return;
    }
    let name = format!("hypersonic_card_{name}");
    text.family(&name, kind, help);
    for (v, c, value) in samples {
        text.sample(&name, &labels(v, c, &[]), value);
    }
}
