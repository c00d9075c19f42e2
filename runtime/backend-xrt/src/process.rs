//! Worker processes, from the supervisor's side.
#![expect(unsafe_code, reason = "kills process groups, uses shared memory")]

use std::{
    env, io,
    io::{BufRead as _, BufReader, Read},
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hs_xrt::{Environment, Xrt};
use serde::{Deserialize, Serialize};

use crate::{
    WORKER,
    arena::Arena,
    golden::Golden,
    plan::Plan,
    protocol::{self, Order, Report, Task},
};

/// Time in which [`probe`] must have answered.
pub const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a line of a worker's that is logged at most, lines in a second, and lines at once.
const LINE: u64 = 4096;
const LINES_PER_SECOND: f64 = 10.0;
const LINES_AT_ONCE: f64 = 50.0;

/// What XRT says of the cards here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// What XRT's calls reach: cards or an emulation.
    pub mode: String,
    /// Cards, numbered from 0.
    pub cards: u32,
    /// Why there is none.
    pub why: Option<String>,
}

/// Looks for cards, in this process.
pub(crate) fn look() -> Probed {
    let xrt = match Xrt::open() {
        Ok(xrt) => xrt,
        Err(e) => return Probed { mode: "none".to_owned(), cards: 0, why: Some(e.to_string()) },
    };
    let (cards, why) = match xrt.cards() {
        // Opening one says why there is none.
        Ok(0) => (0, xrt.device(0).err().map(|e| e.to_string())),
        Ok(cards) => (cards, None),
        Err(e) => (0, Some(e.to_string())),
    };
    Probed { mode: xrt.mode().to_string(), cards, why }
}

/// Asks a worker process for the cards that XRT finds here. `program`: the executable that calls
/// [`worker`](crate::worker) when [`WORKER`] is its first argument.
///
/// # Errors
/// XRT cannot be used here, or it did not answer: for a person to read.
pub fn probe(program: &Path) -> Result<Probed, String> {
    let mode = Environment::of_process().check().map_err(|e| e.to_string())?;
    let (_, memory) = Arena::create(1).map_err(|e| format!("shared memory: {e}"))?;
    let mut process = Process::start(program, memory, "probe")?;
    process.order(&Order::Probe).map_err(|e| format!("XRT's worker: {e}"))?;
    match process.report(PROBE_LIMIT)? {
        Report::Cards(probed) => Ok(probed),
        other => Err(format!("XRT ({mode}): its worker answered {other:?}")),
    }
}

/// The program of this process.
pub(crate) fn this_program() -> Result<PathBuf, String> {
    env::current_exe().map_err(|e| format!("the path of this program: {e}"))
}

/// A child in a process group of its own, which ends with this value.
struct Process {
    child: Option<Child>,
    socket: UnixStream,
}

impl Process {
    fn start(program: &Path, memory: OwnedFd, name: &str) -> Result<Self, String> {
        let failed = |e: io::Error| format!("starting XRT's worker {}: {e}", program.display());
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg(WORKER).arg(name).process_group(0);
        command.stdin(OwnedFd::from(theirs)).stdout(memory).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(lines) = child.stderr.take() {
            let name = name.to_owned();
            thread::spawn(move || log(&name, lines));
        }
        Ok(Self { child: Some(child), socket })
    }

    fn order(&mut self, order: &Order) -> io::Result<()> {
        protocol::write(&mut self.socket, order)
    }

    /// The next report, within a time.
    fn report(&mut self, limit: Duration) -> Result<Report, String> {
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("XRT did not answer within {} s", limit.as_secs())
            }
            io::ErrorKind::UnexpectedEof => "XRT ended its process".to_owned(),
            _ => format!("XRT's worker: {e}"),
        };
        self.socket.set_read_timeout(Some(limit)).map_err(failed)?;
        protocol::read(&mut self.socket).map_err(failed)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Ok(group) = i32::try_from(child.id()) {
            // SAFETY: it has no preconditions. The child is not waited for yet, so that its number is still its own.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        // A process that waits for a driver may not end at once.
        thread::spawn(move || child.wait());
    }
}

/// Logs what a worker prints, as far as it is not too much.
fn log(name: &str, lines: impl Read) {
    let mut lines = BufReader::new(lines);
    let (mut allowed, mut at, mut left_out) = (LINES_AT_ONCE, Instant::now(), 0_u64);
    let mut line = Vec::new();
    while matches!(lines.by_ref().take(LINE).read_until(b'\n', &mut line), Ok(n) if n > 0) {
        let now = Instant::now();
        allowed = (allowed + (now - at).as_secs_f64() * LINES_PER_SECOND).min(LINES_AT_ONCE);
        at = now;
        if allowed >= 1.0 {
            allowed -= 1.0;
            if left_out > 0 {
                tracing::warn!(card = name, "{left_out} lines of XRT's worker are left out");
                left_out = 0;
            }
            tracing::warn!(card = name, "XRT's worker: {}", String::from_utf8_lossy(&line).trim_end());
        } else {
            left_out += 1;
        }
        line.clear();
    }
}

/// A worker with an open card. Dropping it kills the worker's process group.
pub(crate) struct Worker {
    process: Process,
    memory: Arc<Arena>,
    plan: Arc<Plan>,
}

impl Worker {
    /// Starts a worker, has it open the card, and has each compute unit compute rows whose results are known.
    /// Everything within `limit` a step.
    pub(crate) fn start(
        program: &Path,
        plan: &Arc<Plan>,
        golden: &Golden,
        limit: Duration,
    ) -> Result<Self, String> {
        let (memory, file) = Arena::create(plan.bytes()).map_err(|e| {
            format!("{} bytes of shared memory: {e}; let a slot hold fewer rows", plan.bytes())
        })?;
        let mut process = Process::start(program, file, &plan.device.to_string())?;
        process.order(&Order::Open(Plan::clone(plan))).map_err(|e| format!("XRT's worker: {e}"))?;
        match process.report(limit)? {
            Report::Opened => {}
            Report::Refused(why) => return Err(why),
            other => return Err(format!("XRT's worker answered {other:?}")),
        }
        let mut worker = Self { process, memory: Arc::new(memory), plan: Arc::clone(plan) };
        for unit in 0..plan.units.len() {
            worker
                .check(unit, golden, limit)
                .map_err(|e| format!("compute unit {}: {e}", plan.units[unit]))?;
        }
        worker.process.socket.set_read_timeout(None).map_err(|e| format!("XRT's worker: {e}"))?;
        Ok(worker)
    }

    fn check(&mut self, unit: usize, golden: &Golden, limit: Duration) -> Result<(), String> {
        for (i, bytes) in golden.inputs.iter().enumerate() {
            // SAFETY: no step is under way, and only this thread knows of the memory.
            unsafe { self.memory.bytes_mut(self.plan.input(unit, 0, i, golden.rows)) }.copy_from_slice(bytes);
        }
        for task in [Task::ToCard, Task::Run, Task::FromCard] {
            self.step(0, unit, 0, golden.rows, task).map_err(|e| format!("XRT's worker: {e}"))?;
            match self.process.report(limit)? {
                Report::Done { fault: None, .. } => {}
                Report::Done { fault: Some(fault), .. } => return Err(fault),
                other => return Err(format!("XRT's worker answered {other:?}")),
            }
        }
        let results = (0..golden.outputs.len()).map(|o| {
            // SAFETY: as above.
            unsafe { self.memory.bytes(self.plan.output(unit, 0, o, golden.rows)) }
        });
        golden.check(&results.collect::<Vec<_>>())
    }

    /// Has a step done; its end is reported under its number.
    pub(crate) fn step(
        &mut self,
        number: u64,
        unit: usize,
        slot: usize,
        rows: usize,
        task: Task,
    ) -> io::Result<()> {
        self.process.order(&Order::Step { number, unit, slot, rows, task })
    }

    /// Where reports are read.
    pub(crate) fn reports(&self) -> io::Result<UnixStream> {
        self.process.socket.try_clone()
    }

    /// The memory of its slots.
    pub(crate) fn memory(&self) -> &Arc<Arena> {
        &self.memory
    }
}
