//! What the machine and its devices are busy with.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A share is taken over this time at least, so that several readers of the metrics do not disturb each other.
const WINDOW: Duration = Duration::from_secs(1);

/// Shares of time, from one reading to the next.
#[derive(Debug)]
pub(crate) struct Meters(Mutex<BTreeMap<String, Meter>>);

/// Something that is busy for a part of the time.
#[derive(Debug, Clone, Copy)]
struct Meter {
    at: Instant,
    busy: u64,
    all: u64,
    share: f64,
}

/// The whole processor, in units of the kernel's clock. No device is called so.
const CPU: &str = "";

impl Default for Meters {
    fn default() -> Self {
        let meters = Self(Mutex::default());
        meters.cpu();
        meters
    }
}

impl Meters {
    /// Share of the machine's processor time in use since the last reading, 0 to 1; `None` where the machine does not
    /// say.
    pub(super) fn cpu(&self) -> Option<f64> {
        let (busy, all) = processor(&fs::read_to_string("/proc/stat").ok()?)?;
        Some(self.share(CPU, busy, all, Instant::now()))
    }

    /// Share of the time since the last reading that a device was in calls, which have taken `busy` nanoseconds in
    /// all so far.
    pub(super) fn device(&self, name: &str, busy: u64, start: Instant, now: Instant) -> f64 {
        let all = now.saturating_duration_since(start).as_nanos();
        self.share(name, busy, u64::try_from(all).unwrap_or(u64::MAX), now)
    }

    fn share(&self, name: &str, busy: u64, all: u64, now: Instant) -> f64 {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = meters.get_mut(name) else {
            let share = ratio(busy, all);
            meters.insert(name.to_owned(), Meter { at: now, busy, all, share });
            return share;
        };
        if now.saturating_duration_since(last.at) >= WINDOW {
            let share = ratio(busy.saturating_sub(last.busy), all.saturating_sub(last.all));
            *last = Meter { at: now, busy, all, share };
        }
        last.share
    }
}

fn ratio(busy: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (busy as f64 / all as f64).min(1.0) }
}

/// Time in use and in all of `/proc/stat`.
fn processor(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|l| l.starts_with("cpu "))?;
    let times = line.split_whitespace().skip(1).map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is contained in user.
    let all = times.iter().take(8).sum::<u64>();
    let idle = times.get(3)? + times.get(4)?;
    Some((all - idle, all))
}

/// Bytes of memory: in all, and in use.
pub(super) fn memory() -> Option<(u64, u64)> {
    memory_of(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn memory_of(meminfo: &str) -> Option<(u64, u64)> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let total = kib("MemTotal")?;
    Some((total * 1024, total.saturating_sub(kib("MemAvailable")?) * 1024))
}

/// The name under which the processor is listed beside accelerators.
pub(super) fn cpu_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    format!("cpu-{}", if host.is_empty() { "0" } else { host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between() {
        let meters = Meters::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let second = 1_000_000_000;
        assert_eq!(meters.device("d", second, start, at(4_000)), 0.25);
        // Too soon after the last one.
        assert_eq!(meters.device("d", second, start, at(4_500)), 0.25);
        assert_eq!(meters.device("d", 2 * second, start, at(6_000)), 0.5);
        // Calls at the same time do not make more than all of it, a model that was unloaded not less than nothing.
        assert_eq!(meters.device("d", 12 * second, start, at(7_000)), 1.0);
        assert_eq!(meters.device("d", second, start, at(8_000)), 0.0);
        assert_eq!(meters.device("other", 0, start, at(8_000)), 0.0);
    }

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "cpu  10 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(processor(stat), Some((81, 531)));
        assert_eq!(processor("cpu  10 20"), None);
        assert_eq!(processor("cpu  a b c d e"), None);
        let meminfo = "MemTotal:       1000 kB\nMemFree:         1 kB\nMemAvailable:    400 kB\n";
        assert_eq!(memory_of(meminfo), Some((1_024_000, 614_400)));
        assert_eq!(memory_of("MemTotal: 1000 kB\n"), None);
    }
}
