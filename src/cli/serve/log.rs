//! The server's log: text or JSON, its detail changed while it runs.

use std::{
    fs::OpenOptions,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use hs_serve::{LogSettings, Settings};
use tracing::{Level, Metadata};
use tracing_subscriber::{Layer, Registry, filter::filter_fn, fmt, layer::SubscriberExt as _};

use super::flags::{LogFlags, LogFormat};
use crate::cli::exit::Failure;

/// A bit a level that is logged.
#[derive(Debug, Default)]
struct Levels(AtomicU32);

fn bit(level: Level) -> u32 {
    1 << match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}

impl Levels {
    fn set(&self, s: &LogSettings) {
        let levels = [
            (s.error, Level::ERROR),
            (s.warning, Level::WARN),
            (s.info, Level::INFO),
            (s.verbose_level > 0, Level::DEBUG),
            (s.verbose_level > 1, Level::TRACE),
        ];
        let bits = levels.into_iter().filter(|(on, _)| *on).map(|(_, level)| bit(level)).sum();
        self.0.store(bits, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    fn has(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries below the server talk only when asked for all detail.
        let ours = metadata.target().starts_with("hs_") || metadata.target().starts_with("hypersonic");
        let bits = self.0.load(Ordering::Relaxed);
        bits & bit(*metadata.level()) != 0
            && (ours || *metadata.level() <= Level::WARN || bits & bit(Level::TRACE) != 0)
    }
}

/// Starts the log as the command line asks. Returns what follows later changes of the settings.
pub(super) fn start(flags: &LogFlags, settings: &Settings) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let initial = LogSettings {
        file: flags.log_file.as_ref().map(|f| f.display().to_string()).unwrap_or_default(),
        info: flags.log_info,
        warning: flags.log_warning,
        error: flags.log_error,
        verbose_level: flags.log_verbose,
        format: if flags.log_format == LogFormat::Iso8601 { "ISO8601" } else { "default" }.to_owned(),
    };
    let levels = Arc::new(Levels::default());
    levels.set(&initial);
    settings.set_log(initial);
    let mut changes = settings.follow_log();
    let writer = match &flags.log_file {
        None => fmt::writer::BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            fmt::writer::BoxMakeWriter::new(file.map_err(|e| Failure::file(path, e))?)
        }
    };
    let filter = {
        let levels = Arc::clone(&levels);
        filter_fn(move |metadata| levels.has(metadata))
    };
    let layer = fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match flags.log_format {
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Default | LogFormat::Iso8601 => layer.with_filter(filter).boxed(),
    };
    let subscriber = Registry::default().with(layer);
    // A second server in this process, as in tests, keeps the first one's log.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(async move {
        while changes.changed().await.is_ok() {
            levels.set(&changes.borrow_and_update());
        }
    })
}
