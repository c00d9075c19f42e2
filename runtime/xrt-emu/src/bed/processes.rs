//! Processes: one in a group of its own, and what belongs to a bed.
#![expect(unsafe_code, reason = "std sends no signals to groups, and sets none for a parent's death")]

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exit(i32),
    /// By a signal that was not ours.
    Signal(i32),
    /// It took too long and was killed.
    Limit,
    /// It was to stop.
    Stopped,
}

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(2);
/// Time for a program to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How often processes that are left are looked for, until none is.
const ROUNDS: usize = 50;

/// Runs a program in a process group of its own until it ends, `limit` has passed, or `stop` says so. Its group ends with
/// it; it ends with the thread that calls this.
pub(super) fn run(
    command: &mut Command,
    limit: Option<Duration>,
    stop: &dyn Fn() -> bool,
) -> io::Result<End> {
    command.process_group(0);
    end_with_parent(command);
    let mut child = command.spawn()?;
    let begin = Instant::now();
    let end = loop {
        if let Some(status) = child.try_wait()? {
            break of(status);
        }
        if limit.is_some_and(|limit| begin.elapsed() >= limit) {
            break End::Limit;
        }
        if stop() {
            // The program alone: the processes in the place of its cards must not end before it.
            signal(child.id(), libc::SIGTERM);
            wait(&mut child, GRACE)?;
            break End::Stopped;
        }
        thread::sleep(TICK);
    };
    signal_group(child.id(), libc::SIGKILL);
    child.wait()?;
    Ok(end)
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<()> {
    let begin = Instant::now();
    while child.try_wait()?.is_none() && begin.elapsed() < limit {
        thread::sleep(TICK);
    }
    Ok(())
}

fn of(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Exit(code),
        None => End::Signal(status.signal().unwrap_or_default()),
    }
}

/// Kills every process that was started with a variable of this value, but this one.
pub(super) fn kill_all(variable: &str, value: &str) {
    let entry = format!("{variable}={value}");
    for _ in 0..ROUNDS {
        let left = with_entry(entry.as_bytes());
        if left.is_empty() {
            return;
        }
        left.into_iter().for_each(|process| signal(process, libc::SIGKILL));
        thread::sleep(TICK);
    }
}

/// Processes of this user whose environment has an entry. One that has ended has none.
fn with_entry(entry: &[u8]) -> Vec<u32> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    all.filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process| *process != std::process::id())
        .filter(|process| {
            let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|e| e == entry)
        })
        .collect()
}

fn signal(process: u32, signal: libc::c_int) {
    if let Ok(process @ 2..) = libc::pid_t::try_from(process) {
        // SAFETY: takes numbers only. A process that is gone is no error here.
        unsafe { libc::kill(process, signal) };
    }
}

fn signal_group(leader: u32, signal: libc::c_int) {
    if let Ok(leader @ 2..) = libc::pid_t::try_from(leader) {
        // SAFETY: as above.
        unsafe { libc::kill(-leader, signal) };
    }
}

#[cfg(target_os = "linux")]
fn end_with_parent(command: &mut Command) {
    // SAFETY: the closure makes one system call, and touches no memory.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn never() -> bool {
        false
    }

    #[test]
    fn programs_end_as_they_like() {
        assert_eq!(run(&mut sh("exit 3"), None, &never).unwrap(), End::Exit(3));
        assert_eq!(run(&mut sh("kill -9 $$"), None, &never).unwrap(), End::Signal(9));
        assert!(run(&mut Command::new("/nowhere"), None, &never).is_err());
    }

    #[test]
    fn programs_end_when_they_must() {
        let begin = Instant::now();
        let limit = Some(Duration::from_millis(50));
        assert_eq!(run(&mut sh("exec sleep 60"), limit, &never).unwrap(), End::Limit);
        assert_eq!(run(&mut sh("exec sleep 60"), None, &|| true).unwrap(), End::Stopped);
        assert!(begin.elapsed() < GRACE, "{:?}", begin.elapsed());
    }

    #[test]
    fn what_belongs_to_a_bed_is_found_in_other_groups_too() {
        let value = format!("{}-{:?}", std::process::id(), thread::current().id());
        let mut other = sh("exec sleep 60").env("HS_BED_TEST", &value).process_group(0).spawn().unwrap();
        let mut stranger =
            sh("exec sleep 60").env("HS_BED_TEST", "another").process_group(0).spawn().unwrap();
        let entry = format!("HS_BED_TEST={value}");
        while with_entry(entry.as_bytes()).is_empty() {
            thread::sleep(TICK);
        }
        kill_all("HS_BED_TEST", &value);
        assert_eq!(of(other.wait().unwrap()), End::Signal(libc::SIGKILL));
        assert!(with_entry(entry.as_bytes()).is_empty());
        assert!(stranger.try_wait().unwrap().is_none());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
