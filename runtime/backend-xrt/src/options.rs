//! Settings of a model on cards.

use std::{collections::BTreeMap, fmt::Display, path::PathBuf, str::FromStr, time::Duration};

use hs_bitstream::Location;
use hs_card::DEFAULT_SLOTS;
use hs_runtime::{Device, Model};

use crate::plan::Api;

/// Bytes of a slot's largest buffer, by which the rows of a launch are chosen.
const LAUNCH_BYTES: usize = 2 << 20;
/// Rows of a launch, where they are chosen.
const LAUNCH_ROWS: usize = 16_384;
/// Slots, rows and cards at most.
const MOST_SLOTS: usize = 64;
const MOST_ROWS: usize = 1 << 24;
/// Time of a step, and for opening a card.
const STEP: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(120);

/// What the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// File of the bitstream.
    pub(crate) xclbin: Option<PathBuf>,
    pub(crate) api: Api,
    /// Where bitstreams are registered; none: where the environment says.
    pub(crate) registry: Option<Location>,
    /// Indices of cards; none: all that are free.
    pub(crate) devices: Option<Vec<u32>>,
    pub(crate) slots: usize,
    /// Rows of a launch; none: chosen by their bytes.
    pub(crate) rows: Option<usize>,
    pub(crate) step: Duration,
    pub(crate) start: Duration,
}

impl Options {
    pub(crate) fn of(model: &Model) -> Result<Self, String> {
        let options = &model.options;
        let devices = match (options.get("devices").map(|d| d.trim()), model.device) {
            (None | Some("" | "all"), Device::Auto | Device::Cpu) => None,
            (None | Some("" | "all"), Device::Accelerator(index)) => Some(vec![index]),
            (Some(list), _) => Some(
                list.split(',')
                    .map(|d| d.trim().parse().map_err(|_| wrong("devices", list, "indices of cards, or all")))
                    .collect::<Result<Vec<_>, _>>()?,
            ),
        };
        if let Some(list) = &devices
            && let Some(twice) = list.iter().enumerate().find(|(i, d)| list[..*i].contains(d))
        {
            return Err(format!("parameters: devices names card {} twice", twice.1));
        }
        let api = match options.get("xrt_api").map(|a| a.trim()) {
            None | Some("native") => Api::Native,
            Some("opencl") => Api::OpenCl,
            Some(other) => return Err(wrong("xrt_api", other, "native or opencl")),
        };
        Ok(Self {
            xclbin: options.get("xclbin").map(PathBuf::from),
            registry: options
                .get("registry")
                .map(|text| text.parse().map_err(|e| format!("parameters: registry: {e}")))
                .transpose()?,
            devices,
            api,
            slots: number(options, "slots", 1, MOST_SLOTS)?.unwrap_or(DEFAULT_SLOTS),
            rows: number(options, "rows_per_launch", 1, MOST_ROWS)?,
            step: number(options, "step_timeout_ms", 1, 86_400_000)?.map_or(STEP, Duration::from_millis),
            start: number(options, "start_timeout_ms", 1, 86_400_000)?.map_or(START, Duration::from_millis),
        })
    }

    /// Rows of a launch, for ports with these bytes from row to row.
    pub(crate) fn rows(&self, strides: impl Iterator<Item = usize>) -> usize {
        let largest = strides.max().unwrap_or(1).max(1);
        self.rows.unwrap_or_else(|| (LAUNCH_BYTES / largest).clamp(1, LAUNCH_ROWS))
    }
}

fn wrong(key: &str, found: &str, expected: impl Display) -> String {
    format!("parameters: {key} is '{found}'; expected {expected}")
}

fn number<T: FromStr + PartialOrd + Display>(
    options: &BTreeMap<String, String>,
    key: &str,
    least: T,
    most: T,
) -> Result<Option<T>, String> {
    let Some(text) = options.get(key) else { return Ok(None) };
    match text.trim().parse() {
        Ok(n) if n >= least && n <= most => Ok(Some(n)),
        _ => Err(wrong(key, text, format_args!("a number from {least} to {most}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], device: Device) -> Result<Options, String> {
        let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Options::of(&Model { options, device, ..Model::default() })
    }

    #[test]
    fn settings_are_read() {
        let o = of(&[], Device::Auto).unwrap();
        assert_eq!((o.devices, o.slots, o.rows, o.step), (None, 4, None, STEP));
        assert_eq!(of(&[], Device::Accelerator(1)).unwrap().devices, Some(vec![1]));
        assert_eq!(of(&[("devices", "all")], Device::Auto).unwrap().devices, None);
        let o = of(&[("devices", "0, 2"), ("slots", "8"), ("rows_per_launch", "100")], Device::Auto).unwrap();
        assert_eq!((o.devices, o.slots, o.rows), (Some(vec![0, 2]), 8, Some(100)));
    }

    #[test]
    fn odd_settings_are_refused() {
        for (key, value, says) in [
            ("devices", "a", "devices is 'a'; expected indices"),
            ("devices", "1,0,1", "devices names card 1 twice"),
            ("slots", "0", "slots is '0'; expected a number from 1 to 64"),
            ("rows_per_launch", "-1", "rows_per_launch is '-1'"),
            ("step_timeout_ms", "soon", "step_timeout_ms is 'soon'"),
            ("xrt_api", "cuda", "xrt_api is 'cuda'; expected native or opencl"),
        ] {
            let error = of(&[(key, value)], Device::Auto).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn launches_have_a_size_in_bytes() {
        let o = of(&[], Device::Auto).unwrap();
        assert_eq!(o.rows([36, 4].into_iter()), 16_384);
        assert_eq!(o.rows([602_112, 4000].into_iter()), 3);
        assert_eq!(o.rows([1 << 30].into_iter()), 1);
    }
}
