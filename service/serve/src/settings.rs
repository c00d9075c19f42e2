//! Trace and log settings that clients may read and change.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use tokio::sync::watch;

use crate::ServeError;

/// What the server logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// File that the log goes to; empty: standard error.
    pub file: String,
    /// Whether information is logged.
    pub info: bool,
    /// Whether warnings are logged.
    pub warning: bool,
    /// Whether errors are logged.
    pub error: bool,
    /// Detail, 0 for none.
    pub verbose_level: u32,
    /// `default` or `ISO8601`.
    pub format: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            file: String::new(),
            info: true,
            warning: true,
            error: true,
            verbose_level: 0,
            format: "default".to_owned(),
        }
    }
}

impl LogSettings {
    /// The settings under the protocol's names.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("log_file", self.file.clone().into()),
            ("log_info", self.info.into()),
            ("log_warning", self.warning.into()),
            ("log_error", self.error.into()),
            ("log_verbose_level", self.verbose_level.into()),
            ("log_format", self.format.clone().into()),
        ]
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), ServeError> {
        let wrong = |expected: &str| {
            ServeError::invalid(format!("log setting '{key}' is {value}, expected {expected}"))
        };
        let switch = || value.as_bool().ok_or_else(|| wrong("true or false"));
        match key {
            "log_info" => self.info = switch()?,
            "log_warning" => self.warning = switch()?,
            "log_error" => self.error = switch()?,
            "log_verbose_level" => {
                let level = value.as_u64().and_then(|v| u32::try_from(v).ok());
                self.verbose_level = level.ok_or_else(|| wrong("a whole number"))?;
            }
            "log_format" => {
                let known = value.as_str().filter(|v| ["default", "ISO8601"].contains(v));
                self.format = known.ok_or_else(|| wrong("'default' or 'ISO8601'"))?.to_owned();
            }
            "log_file" => {
                let same = value.as_str().is_some_and(|v| v == self.file);
                if !same {
                    return Err(ServeError::invalid(
                        "log setting 'log_file' cannot be changed by clients: it names a file of the server",
                    ));
                }
            }
            other => {
                return Err(ServeError::invalid(format!(
                    "unknown log setting '{other}'; there are log_info, log_warning, log_error, \
                     log_verbose_level and log_format"
                )));
            }
        }
        Ok(())
    }
}

/// The trace settings' names and defaults.
const TRACE: &[(&str, &str)] = &[
    ("trace_file", ""),
    ("trace_level", "OFF"),
    ("trace_rate", "1000"),
    ("trace_count", "-1"),
    ("log_frequency", "0"),
    ("trace_mode", "triton"),
];

/// What was set, and the requests that it has decided on.
#[derive(Debug, Default)]
struct Trace {
    values: BTreeMap<String, Vec<String>>,
    /// Requests that might have been recorded, and that have been.
    seen: u64,
    recorded: u64,
}

impl Trace {
    fn get(&self, key: &str) -> Option<&Vec<String>> {
        self.values.get(key)
    }
}

/// Trace and log settings.
#[derive(Debug)]
pub struct Settings {
    log: watch::Sender<LogSettings>,
    /// By model; the empty name holds what is set for all.
    trace: Mutex<BTreeMap<String, Trace>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { log: watch::Sender::new(LogSettings::default()), trace: Mutex::default() }
    }
}

impl Settings {
    /// The log settings.
    pub fn log(&self) -> LogSettings {
        self.log.borrow().clone()
    }

    /// Follows the log settings.
    pub fn follow_log(&self) -> watch::Receiver<LogSettings> {
        self.log.subscribe()
    }

    /// Replaces the log settings, at start.
    pub fn set_log(&self, settings: LogSettings) {
        self.log.send_replace(settings);
    }

    /// Changes the settings named, all or none.
    pub fn update_log<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<LogSettings, ServeError> {
        let mut new = self.log();
        for (key, value) in changes {
            new.set(key, &value)?;
        }
        self.log.send_replace(new.clone());
        Ok(new)
    }

    /// The trace settings that hold for a model, or for all models when `model` is empty.
    pub fn trace(&self, model: &str) -> Vec<(&'static str, Vec<String>)> {
        let all = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |key: &str| {
            let own = all.get(model).and_then(|t| t.get(key));
            own.or_else(|| all.get("").and_then(|t| t.get(key))).cloned()
        };
        TRACE
            .iter()
            .map(|(key, default)| (*key, find(key).unwrap_or_else(|| vec![(*default).to_owned()])))
            .collect()
    }

    /// Whether a request to a model is to be recorded; to none when `model` is empty. `caller`: whether its caller
    /// records it, where there is one that says so: what a caller leaves out is left out here, and what it records is
    /// not subject to the rate.
    pub fn records(&self, model: &str, caller: Option<bool>) -> bool {
        if caller == Some(false) {
            return false;
        }
        let mut all = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |key: &str| {
            let own = all.get(model).and_then(|t| t.get(key));
            own.or_else(|| all.get("").and_then(|t| t.get(key))).and_then(|v| v.first()).map(String::as_str)
        };
        let number = |key: &str, default: i64| text(key).and_then(|v| v.parse().ok()).unwrap_or(default);
        let off = text("trace_level").is_none_or(|level| level == "OFF");
        let (rate, count) = (number("trace_rate", 1000), number("trace_count", -1));
        if off || (caller.is_none() && rate == 0) {
            return false;
        }
        // A model with settings of its own counts for itself.
        let own = all.get(model).is_some_and(|t| !t.values.is_empty());
        let Some(scope) = all.get_mut(if own { model } else { "" }) else { return false };
        if caller.is_none() {
            scope.seen += 1;
            if !scope.seen.is_multiple_of(rate.unsigned_abs()) {
                return false;
            }
        }
        let wanted = u64::try_from(count).map_or(true, |count| scope.recorded < count);
        scope.recorded += u64::from(wanted);
        wanted
    }

    /// Changes trace settings, all or none; no values: back to what holds for all, or to the default.
    pub fn update_trace(
        &self,
        model: &str,
        changes: impl IntoIterator<Item = (String, Vec<String>)>,
    ) -> Result<Vec<(&'static str, Vec<String>)>, ServeError> {
        let changes: Vec<_> = changes.into_iter().collect();
        for (key, values) in &changes {
            check_trace(key, values)?;
        }
        let mut all = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(model.to_owned()).or_default();
        for (key, values) in changes {
            if values.is_empty() {
                own.values.remove(&key);
            } else {
                own.values.insert(key, values);
            }
        }
        // A count begins anew.
        (own.seen, own.recorded) = (0, 0);
        drop(all);
        Ok(self.trace(model))
    }
}

fn check_trace(key: &str, values: &[String]) -> Result<(), ServeError> {
    let wrong = |expected: &str| {
        Err(ServeError::invalid(format!("trace setting '{key}' is {values:?}, expected {expected}")))
    };
    let number = |least: i64| values.iter().all(|v| v.parse::<i64>().is_ok_and(|v| v >= least));
    match key {
        "trace_level" => {
            let known = ["OFF", "TIMESTAMPS", "TENSORS"];
            if !values.iter().all(|v| known.contains(&v.as_str())) {
                return wrong("OFF, TIMESTAMPS or TENSORS");
            }
        }
        "trace_rate" | "log_frequency" if !number(0) => return wrong("a whole number"),
        "trace_count" if !number(-1) => return wrong("a whole number, -1 for no end"),
        "trace_file" if values.iter().any(|v| !v.is_empty()) => {
            return wrong("nothing: it names a file of the server, which only --trace-config sets");
        }
        "trace_mode" if values.iter().any(|v| v != "triton" && v != "opentelemetry") => {
            return wrong("triton or opentelemetry");
        }
        key if TRACE.iter().all(|(known, _)| *known != key) => {
            let known: Vec<&str> = TRACE.iter().map(|(key, _)| *key).collect();
            return Err(ServeError::invalid(format!(
                "unknown trace setting '{key}'; there are {}",
                known.join(", ")
            )));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_settings_change_together_or_not_at_all() {
        let s = Settings::default();
        let changed = s.update_log([("log_verbose_level", 2.into()), ("log_info", false.into())]).unwrap();
        assert_eq!((changed.verbose_level, changed.info), (2, false));
        for bad in [("log_verbose_level", Value::from(-1)), ("log_file", "/x".into()), ("log_x", 1.into())] {
            assert!(s.update_log([("log_info", true.into()), bad]).is_err());
            assert_eq!(s.log(), changed);
        }
    }

    #[test]
    fn a_models_trace_settings_hide_the_global_ones() {
        let s = Settings::default();
        let set = |model: &str, key: &str, value: &[&str]| {
            s.update_trace(model, [(key.to_owned(), value.iter().map(|v| (*v).to_owned()).collect())])
        };
        let rate = |model: &str| s.trace(model).into_iter().find(|(k, _)| *k == "trace_rate").unwrap().1;
        set("", "trace_rate", &["5"]).unwrap();
        set("m", "trace_rate", &["7"]).unwrap();
        assert_eq!(
            (rate(""), rate("m"), rate("n")),
            (vec!["5".to_owned()], vec!["7".to_owned()], vec!["5".to_owned()])
        );
        set("m", "trace_rate", &[]).unwrap();
        assert_eq!(rate("m"), ["5"]);
        for (key, value) in
            [("trace_level", "LOUD"), ("trace_rate", "x"), ("trace_file", "/etc/x"), ("trace_colour", "1")]
        {
            assert!(set("", key, &[value]).is_err(), "{key}");
        }
    }

    #[test]
    fn which_requests_are_recorded() {
        let s = Settings::default();
        let set = |model: &str, settings: &[(&str, &str)]| {
            let one = |(key, value): &(&str, &str)| ((*key).to_owned(), vec![(*value).to_owned()]);
            s.update_trace(model, settings.iter().map(one)).unwrap();
        };
        let of = |model: &str, count: usize| (0..count).filter(|_| s.records(model, None)).count();
        // Off, whatever callers say.
        assert!(!s.records("m", Some(true)) && of("m", 2000) == 0);
        set("", &[("trace_level", "TIMESTAMPS")]);
        assert_eq!(of("m", 2000), 2);
        // Callers that say something decide.
        assert!(s.records("m", Some(true)) && !s.records("m", Some(false)));
        set("", &[("trace_rate", "3"), ("trace_count", "2")]);
        assert_eq!((of("m", 2), of("n", 1), of("m", 3), of("", 30)), (0, 1, 1, 0));
        assert!(!s.records("m", Some(true)));
        // A count begins anew with each change, and a model's own settings are its own.
        set("", &[("trace_count", "1")]);
        set("m", &[("trace_rate", "1"), ("trace_count", "-1")]);
        assert_eq!((of("m", 9), of("n", 9)), (9, 1));
        set("m", &[("trace_level", "OFF")]);
        assert_eq!(of("m", 9), 0);
        set("", &[("trace_rate", "0"), ("trace_count", "-1")]);
        assert_eq!(of("n", 9), 0);
        assert!(s.records("n", Some(true)));
    }
}
