//! Servers as processes: their start, what they use, their end.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{BenchError, Subject, failed, models::Dialect, output};

/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// Starts of which the median counts.
const STARTS: usize = 5;

/// A server that is ready.
pub(crate) struct Running {
    pub(crate) name: String,
    child: Child,
    pub(crate) http: u16,
    pub(crate) grpc: u16,
    /// From its start to being ready.
    ready: Duration,
}

impl Drop for Running {
    fn drop(&mut self) {
        // When a bench fails half-way; after `stop` there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that nobody uses now.
fn free_ports() -> Result<[u16; 3], BenchError> {
    let listeners = [(); 3].map(|()| TcpListener::bind(("127.0.0.1", 0)));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        let address = listener.and_then(|l| l.local_addr()).map_err(failed("a free port"))?;
        *port = address.port();
    }
    Ok(ports)
}

/// Whether the server says over HTTP that it is ready.
fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

impl Running {
    /// Starts a server and waits until it is ready; `work` takes its log.
    pub(crate) fn start(subject: &Subject, repository: &Path, work: &Path) -> Result<Self, BenchError> {
        let [http, grpc, metrics] = free_ports()?;
        let mut command = Command::new(&subject.program);
        if subject.dialect == Dialect::Echo {
            command.args([http.to_string(), grpc.to_string()]);
        } else {
            if subject.dialect == Dialect::Hypersonic {
                command.arg("serve");
            }
            command.arg(format!("--model-repository={}", repository.display()));
            for (service, port) in [("http", http), ("grpc", grpc), ("metrics", metrics)] {
                command.arg(format!("--{service}-port={port}"));
                command.arg(format!("--{service}-address=127.0.0.1"));
            }
            if let Some(dir) = &subject.backends {
                command.arg(format!("--backend-directory={}", dir.display()));
            }
        }
        let log: PathBuf = work.join(format!("{}.log", subject.name));
        let file = File::create(&log).map_err(failed("a log"))?;
        let both = file.try_clone().map_err(failed("a log"))?;
        let begin = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(both)
            .spawn()
            .map_err(failed(subject.program.display().to_string()))?;
        let name = subject.name.clone();
        let mut running = Self { name, child, http, grpc, ready: Duration::ZERO };
        while !is_ready(http) {
            let ended = running.child.try_wait().map_err(failed("the server"))?.is_some();
            if ended || begin.elapsed() > PATIENCE {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(20).collect();
                let log = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(BenchError::Start { name: subject.name.clone(), log });
            }
            sleep(LOOK);
        }
        running.ready = begin.elapsed();
        Ok(running)
    }

    /// Ends it with SIGTERM; the time until it was gone.
    pub(crate) fn stop(mut self, limit: Duration) -> Result<Duration, BenchError> {
        let begin = Instant::now();
        output(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        while self.child.try_wait().map_err(failed("the server"))?.is_none() {
            if begin.elapsed() > limit {
                let output = format!("still there after {} s", limit.as_secs());
                return Err(BenchError::Command { command: format!("kill -TERM {}", self.name), output });
            }
            sleep(LOOK);
        }
        Ok(begin.elapsed())
    }

    /// CPU seconds that it and the processes it started have used.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        // The kernel counts in hundredths for whoever asks, on every machine.
        const TICK: f64 = 0.01;
        self.family().iter().map(|p| p.ticks).sum::<u64>() as f64 * TICK
    }

    /// Resident memory of all of them, in MiB.
    fn resident_mib(&self) -> f64 {
        let of = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
            line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        self.family().iter().map(|p| of(p.pid)).sum::<f64>() / 1024.0
    }

    /// The process and all below it.
    fn family(&self) -> Vec<Process> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let all: Vec<Process> = pids.filter_map(Process::read).collect();
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = family.get(next).copied() {
            family.extend(all.iter().filter(|p| p.parent == parent).map(|p| p.pid));
            next += 1;
        }
        all.into_iter().filter(|p| family.contains(&p.pid)).collect()
    }
}

struct Process {
    pid: u32,
    parent: u32,
    /// Time in user and kernel mode.
    ticks: u64,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// Start, idle memory and end of a server.
pub(crate) fn life(subject: &Subject, repository: &Path, work: &Path) -> Result<Value, BenchError> {
    let (mut ready, mut exit, mut memory) = (Vec::new(), Vec::new(), 0.0);
    for i in 0..STARTS {
        let running = Running::start(subject, repository, work)?;
        ready.push(running.ready.as_secs_f64() * 1e3);
        if i == 0 {
            sleep(Duration::from_secs(1));
            memory = running.resident_mib();
        }
        exit.push(running.stop(Duration::from_secs(60))?.as_secs_f64() * 1e3);
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    Ok(
        json!({ "server": subject.name, "ready_ms": median(ready), "idle_mib": memory, "exit_ms": median(exit) }),
    )
}
