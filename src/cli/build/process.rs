//! Runs a tool: its output goes into a file, its lines to a listener, and it can be stopped with all that it started.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::cli::interrupt;

/// How a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Well.
    Ok,
    /// By itself, with this status.
    Status(i32),
    /// By a signal that we did not send.
    Signal(i32),
    /// It took too long and was stopped.
    Timeout,
    /// The user stopped us.
    Interrupted,
}

/// How often the clock and the child are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Time for a tool to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// Time for output that children of a tool still hold back when it has ended.
const DRAIN: Duration = Duration::from_secs(2);
/// Longest line; longer ones are cut into several.
const LONGEST_LINE: u64 = 1 << 16;

/// Runs `command` until it ends, is stopped by the user, or `limit` has passed. Standard output and error go to `log`,
/// which is appended to, and line by line to `hear`.
pub(super) fn run(
    command: &mut Command,
    log: &Path,
    limit: Option<Duration>,
    hear: &mut dyn FnMut(&str),
) -> io::Result<End> {
    interrupt::listen();
    let mut file = File::options().create(true).append(true).open(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that the tool's children can be stopped with it.
        .process_group(0)
        .spawn()?;
    let (send, lines) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        forward(pipe, send.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        forward(pipe, send.clone());
    }
    drop(send);

    let begin = Instant::now();
    let mut ended: Option<(ExitStatus, Instant)> = None;
    let mut stopped = None;
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                file.write_all(&line)?;
                hear(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => file.flush()?,
            Err(mpsc::RecvTimeoutError::Disconnected) if ended.is_some() => break,
            Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        match ended {
            Some((_, at)) if at.elapsed() > DRAIN => break,
            Some(_) => {}
            None => ended = child.try_wait()?.map(|status| (status, Instant::now())),
        }
        if ended.is_none() && stopped.is_none() {
            let why = if interrupt::came() {
                Some(End::Interrupted)
            } else {
                limit.filter(|l| begin.elapsed() > *l).map(|_| End::Timeout)
            };
            if let Some(why) = why {
                stopped = Some(why);
                ended = Some((stop(&mut child)?, Instant::now()));
            }
        }
    }
    let status = ended.map(|(status, _)| status);
    Ok(match (stopped, status) {
        (Some(why), _) => why,
        (None, Some(status)) if status.success() => End::Ok,
        (None, Some(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => End::Status(code),
            (None, signal) => End::Signal(signal.unwrap_or_default()),
        },
        (None, None) => End::Ok,
    })
}

/// What `command` writes, both pipes, when it ends within `limit`.
pub(super) fn capture(command: &mut Command, limit: Duration) -> Option<String> {
    let mut all = String::new();
    run(command, Path::new("/dev/null"), Some(limit), &mut |line| {
        all.push_str(line);
        all.push('\n');
    })
    .ok()
    .filter(|end| *end != End::Timeout)
    .map(|_| all)
}

fn forward(pipe: impl Read + Send + 'static, to: mpsc::Sender<Vec<u8>>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match pipe.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                Ok(1..) if to.send(line).is_ok() => {}
                Ok(_) | Err(_) => break,
            }
        }
    });
}

/// Ends a child and all of its group: first asked to, then made to.
fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    let group = child.id();
    let tell = |signal: &str| {
        // The shell's own kill: there is no safe call for it, and not every machine has the program.
        let _ = Command::new("sh").args(["-c", &format!("kill -{signal} -{group}")]).stderr(Stdio::null()).status();
    };
    tell("TERM");
    let asked = Instant::now();
    let mut status = child.try_wait()?;
    while status.is_none() && asked.elapsed() < GRACE {
        thread::sleep(TICK);
        status = child.try_wait()?;
    }
    // Those of the group that are still there, too.
    tell("KILL");
    match status {
        Some(status) => Ok(status),
        None => child.wait(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Option<Duration>) -> (End, Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut heard = Vec::new();
        let end = run(Command::new("sh").args(["-c", script]), &log, limit, &mut |l| heard.push(l.to_owned()));
        (end.unwrap(), heard, std::fs::read_to_string(log).unwrap_or_default())
    }

    #[test]
    fn ends() {
        let (end, heard, log) = sh("echo one; echo two >&2", None);
        assert_eq!(end, End::Ok);
        let mut heard = heard;
        heard.sort();
        assert_eq!((heard, log.len()), (vec!["one".to_owned(), "two".to_owned()], 8));
        assert_eq!(sh("exit 3", None).0, End::Status(3));
        assert_eq!(sh("kill -9 $$", None).0, End::Signal(9));
        assert_eq!(sh("printf 'a\\377b'", None).1, ["a\u{fffd}b"]);
    }

    #[test]
    fn a_tool_that_hangs_is_stopped_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let alive = dir.path().join("alive");
        let script = format!("(while :; do date > {}; sleep 0.05; done) & echo on; wait", alive.display());
        let begin = Instant::now();
        let (end, heard, _) = sh(&script, Some(Duration::from_millis(500)));
        assert_eq!((end, heard), (End::Timeout, vec!["on".to_owned()]));
        assert!(begin.elapsed() < GRACE, "{:?}", begin.elapsed());
        thread::sleep(Duration::from_millis(300));
        std::fs::remove_file(&alive).unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(!alive.exists(), "a child lives on");
    }

    #[test]
    fn a_child_that_keeps_the_pipe_does_not_hold_us() {
        let begin = Instant::now();
        assert_eq!(sh("sleep 30 & echo done", None).0, End::Ok);
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }
}
