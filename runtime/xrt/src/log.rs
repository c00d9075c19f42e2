//! XRT's log, which alone has the messages of its errors.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// How much of the log's end is searched for a message, in bytes.
const SEARCHED: u64 = 64 << 10;

thread_local! {
    /// Bytes of the log that this thread has read or need not read.
    static READ: Cell<u64> = const { Cell::new(0) };
}

/// A file without a name that XRT writes its log to.
pub(crate) struct Log(File);

impl Log {
    pub(crate) fn new() -> io::Result<Self> {
        tempfile::tempfile().map(Self)
    }

    /// A path by which this process can open the file.
    pub(crate) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    /// The last error that XRT logged on this thread since this was called last. Not for a call that succeeded.
    pub(crate) fn message(&self) -> String {
        self.read().unwrap_or_else(|error| format!("its log cannot be read: {error}"))
    }

    fn read(&self) -> io::Result<String> {
        let end = self.0.metadata()?.len();
        let start = READ.replace(end).max(end.saturating_sub(SEARCHED)).min(end);
        let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
        self.0.read_exact_at(&mut bytes, start)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(last_error(&text, thread()).unwrap_or_else(|| "XRT gave no reason".to_owned()))
    }
}

/// This thread as XRT's log names it.
#[expect(unsafe_code, reason = "std does not tell the name that C++ has for a thread")]
fn thread() -> u64 {
    // SAFETY: it has no preconditions.
    unsafe { libc::pthread_self() as u64 }
}

/// The message of the last entry above a warning of `thread`. An entry is `[time] [XRT] Tid: 140,  ERROR: message`, and
/// the message may go on over lines.
fn last_error(log: &str, thread: u64) -> Option<String> {
    let mut message: Option<String> = None;
    let mut inside = false;
    for line in log.lines() {
        match entry(line) {
            Some((of, severity, text)) => {
                inside = of == thread && matches!(severity, "ERROR" | "CRITICAL" | "ALERT" | "EMERGENCY");
                if inside {
                    message = Some(text.to_owned());
                }
            }
            None if inside => {
                if let Some(message) = &mut message {
                    message.push('\n');
                    message.push_str(line);
                }
            }
            None => {}
        }
    }
    message
}

/// Thread, severity and message of a line that begins an entry.
fn entry(line: &str) -> Option<(u64, &str, &str)> {
    let (_, rest) = line.strip_prefix('[')?.split_once("] Tid: ")?;
    let (thread, rest) = rest.split_once(',')?;
    let (severity, message) = rest.trim_start().split_once(": ")?;
    Some((thread.parse().ok()?, severity, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
XRT build version: 2.13.0
[Sun Nov 22 14:08:28 2026 GMT]
[Sun Nov 22 14:08:28 2026 GMT] [XRT] Tid: 7,  ERROR: No such kernel 'a': Invalid argument
[Sun Nov 22 14:08:29 2026 GMT] [XRT] Tid: 8,  ERROR: two
lines
[Sun Nov 22 14:08:30 2026 GMT] [XRT] Tid: 7,  WARNING: slow
and not an error
";

    #[test]
    fn messages_of_xrt_are_those_of_the_thread() {
        assert_eq!(last_error(LOG, 7).unwrap(), "No such kernel 'a': Invalid argument");
        assert_eq!(last_error(LOG, 8).unwrap(), "two\nlines");
        assert_eq!(last_error(LOG, 9), None);
    }

    #[test]
    fn a_message_of_xrt_is_told_once() {
        let log = Log::new().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(log.path()).unwrap();
        let line = format!("[now] [XRT] Tid: {},  ERROR: full\n", thread());
        file.write_all_at(line.as_bytes(), 0).unwrap();
        assert_eq!(log.message(), "full");
        assert_eq!(log.message(), "XRT gave no reason");
    }
}
