//! What a design takes and which cards it fits, for people and machines.

use hs_compiler::{
    estimate::{self, Estimate, Resources, UNPROVEN},
    platform::{Card, FILL_PERCENT, fit},
};
use hs_hw::{Program, Schedule};
use serde_json::{Value, json};

use super::table::{count, pairs, table};

/// An estimate at a clock.
pub(crate) struct Figures {
    pub(crate) estimate: Estimate,
    clock_mhz: u32,
}

impl Figures {
    /// Of a design; `Err` says why none could be built.
    pub(crate) fn of(program: &Program, schedule: &Schedule, clock_mhz: u32) -> Result<Self, String> {
        let estimate = estimate::estimate(program, schedule)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        Ok(Self { estimate, clock_mhz })
    }

    /// Rows a second of one compute unit.
    fn rows(&self) -> u64 {
        u64::from(self.clock_mhz) * 1_000_000 / self.estimate.interval
    }

    /// Latency of a row in ns.
    fn latency_ns(&self) -> u64 {
        self.estimate.latency * 1000 / u64::from(self.clock_mhz)
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        let kinds = self.estimate.total.kinds();
        let parts: Vec<String> =
            kinds.iter().filter(|(_, n)| *n > 0).map(|(k, n)| format!("{} {k}", count(*n))).collect();
        format!("{}; a row each {} cycles ({UNPROVEN})", parts.join(", "), count(self.estimate.interval))
    }

    /// Tables of layers and cards.
    pub(crate) fn text(&self) -> String {
        let e = &self.estimate;
        let row = |name: &str, op: &str, r: Resources, cycles: Option<u64>| {
            let mut cells = vec![name.to_owned(), op.to_owned()];
            cells.extend(r.kinds().iter().map(|(_, n)| count(*n)));
            cells.push(cycles.map_or_else(String::new, count));
            cells
        };
        let mut rows: Vec<Vec<String>> = e
            .layers
            .iter()
            .map(|l| row(&l.name.escape_debug().to_string(), l.op, l.resources, Some(l.interval)))
            .collect();
        rows.push(row("between layers", "", e.channels, None));
        rows.push(row("memory ports", "", e.ports, None));
        rows.push(row("total", "", e.total, Some(e.interval)));
        let heading = ["one compute unit", "op", "LUT", "FF", "DSP", "BRAM18", "URAM", "cycles a row"];
        let mut speed = vec![
            (
                "interval",
                format!("{} cycles a row, due to {}", count(e.interval), e.bottleneck.escape_debug()),
            ),
            ("latency", format!("{} cycles", count(e.latency))),
            (
                "speed",
                format!(
                    "{} rows/s and {} ns a row at {} MHz, if that clock is reached",
                    count(self.rows()),
                    count(self.latency_ns()),
                    self.clock_mhz
                ),
            ),
        ];
        if e.weights_cycles > 0 {
            speed
                .push(("weights", format!("{} cycles to load them, once a launch", count(e.weights_cycles))));
        }
        let speed = pairs(&speed);
        let mut notes = vec![
            format!("Resources and cycles: {UNPROVEN}."),
            "LUT and FF are rough: expect a factor of two either way. Constants are counted as multipliers unless \
             they are 0 or powers of two."
                .to_owned(),
        ];
        for layer in &e.layers {
            if let Some(other) = layer.latency_strategy.filter(|r| r.dsp < layer.resources.dsp) {
                notes.push(format!(
                    "'{}' would take {} DSP instead of {} under the latency strategy, whose weights are constants.",
                    layer.name.escape_debug(),
                    count(other.dsp),
                    count(layer.resources.dsp)
                ));
            }
        }
        format!("{}\n\n{}\n\n{speed}\n\n{}", notes.join("\n"), table(&heading, &rows), self.fits_text())
    }

    fn fits_text(&self) -> String {
        let rows: Vec<Vec<String>> = Card::all()
            .iter()
            .map(|card| {
                let fit = fit(card, &self.estimate);
                vec![
                    card.name.clone(),
                    if fit.compute_units == 0 { "no".to_owned() } else { fit.compute_units.to_string() },
                    format!("{} % of its {}", count(fit.percent), fit.scarce),
                    card.support.vitis.clone(),
                    card.synthesised.clone(),
                ]
            })
            .collect();
        let heading = ["card", "fits", "one takes of an SLR", "Vitis", "synthesised"];
        format!(
            "{}\n\nfits: compute units, when {FILL_PERCENT} % of each SLR are filled",
            table(&heading, &rows)
        )
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let fits: Vec<Value> = Card::all()
            .iter()
            .map(|card| {
                let fit = fit(card, &self.estimate);
                json!({
                    "card": card.name,
                    "compute_units": fit.compute_units,
                    "scarce": fit.scarce,
                    "percent_of_slr": fit.percent,
                    "vitis": card.support.vitis,
                    "synthesised": card.synthesised,
                })
            })
            .collect();
        json!({
            "status": UNPROVEN,
            "design": self.estimate,
            "clock_mhz": self.clock_mhz,
            "rows_per_second": self.rows(),
            "latency_ns": self.latency_ns(),
            "fits": fits,
        })
    }
}
