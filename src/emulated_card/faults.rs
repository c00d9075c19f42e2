//! Faults of emulated cards, to be switched on and off while hosts run.

use std::{env, fs, io, path::PathBuf, time::Duration};

/// The variable that names the file with the faults.
pub(crate) const FAULTS: &str = "HYPERSONIC_EMU_FAULTS";

/// Where the faults of a card are written down.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    file: Option<PathBuf>,
    pub(super) device: u32,
}

/// The faults that a card has now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Now {
    /// A compute unit that is started does not end.
    pub(super) hang: bool,
    /// A compute unit that is started ends at once, and computes nothing.
    pub(super) skip: bool,
    /// A bit of a result is wrong.
    pub(super) wrong: bool,
    /// The card's process dies by a signal.
    pub(super) crash: bool,
    /// The trailer has another fingerprint.
    pub(super) trailer: bool,
    /// No xclbin is loaded.
    pub(super) fail_load: bool,
    /// A run takes so much longer.
    pub(super) slow: Duration,
}

impl Faults {
    /// As the environment says.
    pub(super) fn of_process(device: u32) -> Self {
        let file = env::var_os(FAULTS).filter(|file| !file.is_empty());
        Self { file: file.map(PathBuf::from), device }
    }

    /// Reads the file. One that is not there has no faults.
    pub(super) fn now(&self) -> Result<Now, String> {
        let Some(file) = &self.file else { return Ok(Now::default()) };
        match fs::read_to_string(file) {
            Ok(text) => Now::parse(&text, self.device).map_err(|why| format!("{}: {why}", file.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Now::default()),
            Err(error) => Err(format!("{}: {error}", file.display())),
        }
    }
}

impl Now {
    /// The faults of a device: lines `DEVICE FAULT`, of which DEVICE is a number or `*`.
    fn parse(text: &str, device: u32) -> Result<Self, String> {
        let mut now = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |expected: &str| format!("'{}': expected {expected}", line.escape_debug());
            let words: Vec<&str> = line.split_whitespace().collect();
            let &[whose, fault] = words.as_slice() else { return Err(wrong("DEVICE FAULT")) };
            let named: Option<u32> = match whose {
                "*" => None,
                number => Some(number.parse().map_err(|_| wrong("a number or * first"))?),
            };
            let mut of_this = Self::default();
            match fault.split_once('=') {
                None if fault == "hang" => of_this.hang = true,
                None if fault == "skip" => of_this.skip = true,
                None if fault == "wrong" => of_this.wrong = true,
                None if fault == "crash" => of_this.crash = true,
                None if fault == "trailer" => of_this.trailer = true,
                None if fault == "fail-load" => of_this.fail_load = true,
                Some(("slow", time)) => {
                    let milliseconds = time.strip_suffix("ms").and_then(|ms| ms.parse().ok());
                    of_this.slow =
                        milliseconds.map(Duration::from_millis).ok_or_else(|| wrong("slow=20ms"))?;
                }
                _ => return Err(wrong("hang, skip, wrong, crash, trailer, fail-load or slow=20ms")),
            }
            if named.is_none_or(|named| named == device) {
                now = now.and(&of_this);
            }
        }
        Ok(now)
    }

    fn and(&self, other: &Self) -> Self {
        Self {
            hang: self.hang || other.hang,
            skip: self.skip || other.skip,
            wrong: self.wrong || other.wrong,
            crash: self.crash || other.crash,
            trailer: self.trailer || other.trailer,
            fail_load: self.fail_load || other.fail_load,
            slow: self.slow.max(other.slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_those_of_a_card() {
        let text = "# a card that is slow, and two that are wrong\n\n0 slow=20ms\n1 wrong\n  2   wrong  \n* trailer\n2 slow=5ms\n";
        let of = |device| Now::parse(text, device).unwrap();
        let all = Now { trailer: true, ..Now::default() };
        assert_eq!(of(0), Now { slow: Duration::from_millis(20), ..all.clone() });
        assert_eq!(of(1), Now { wrong: true, ..all.clone() });
        assert_eq!(of(2), Now { wrong: true, slow: Duration::from_millis(5), ..all.clone() });
        assert_eq!(of(3), all);
        let every = Now::parse("0 hang\n0 crash\n0 fail-load", 0).unwrap();
        assert_eq!(every, Now { hang: true, crash: true, fail_load: true, ..Now::default() });
        assert_eq!(Now::parse("", 0).unwrap(), Now::default());
    }

    #[test]
    fn what_is_no_fault_is_told() {
        for line in [
            "hang",
            "0 1 hang",
            "x hang",
            "-1 hang",
            "0 hung",
            "0 slow",
            "0 slow=20",
            "0 hang=1",
            "0 slow=-1ms",
        ] {
            let why = Now::parse(line, 7).unwrap_err();
            assert!(why.starts_with(&format!("'{line}': expected ")), "{why}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_has_no_faults() {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults { file: Some(dir.path().join("faults")), device: 1 };
        assert_eq!(faults.now(), Ok(Now::default()));
        fs::write(dir.path().join("faults"), "1 hang\n").unwrap();
        assert_eq!(faults.now(), Ok(Now { hang: true, ..Now::default() }));
        let none = Faults { file: Some(dir.path().to_owned()), device: 1 };
        assert!(none.now().is_err());
    }
}
