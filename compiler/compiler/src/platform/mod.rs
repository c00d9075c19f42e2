//! What a project is built for.

/// Part, platform and clock of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// FPGA part.
    pub part: String,
    /// Vitis platform; `None`: the part alone.
    pub platform: Option<String>,
    /// Clock asked for, in MHz.
    pub clock_mhz: u32,
}

impl Default for Target {
    /// The Alveo U55C's part at 250 MHz.
    fn default() -> Self {
        Self { part: "xcu55c-fsvh2892-2L-e".to_owned(), platform: None, clock_mhz: 250 }
    }
}

impl Target {
    /// Period of the clock in ns, at most three decimals.
    pub fn clock_period_ns(&self) -> String {
        let text = format!("{:.3}", 1000.0 / f64::from(self.clock_mhz.max(1)));
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}
