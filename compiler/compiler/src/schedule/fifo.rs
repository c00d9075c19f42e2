//! FIFO depths, by running the processes' traffic with bounded FIFOs.

use std::collections::VecDeque;
use std::fmt;

use hs_hw::{Fifo, Io, Program, Schedule};

use super::traffic::{Ports, Traffic};
use crate::hls::network::{Network, Place};

/// Depth that every FIFO starts with.
const SHALLOW: usize = 2;
/// Rows that a simulation runs, so that one row's end and the next one's start overlap.
const ROWS: usize = 2;

/// A FIFO that a deadlocked process waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Node whose value the FIFO carries.
    pub from: u32,
    /// Reader and slot; `None`: the clone process.
    pub to: Option<(u32, usize)>,
    /// Whether it is full (else empty).
    pub full: bool,
}

/// No process can go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Deadlock {
    /// What the processes wait for, in order.
    pub blocked: Vec<Blocked>,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the processes wait for each other:")?;
        for b in &self.blocked {
            let state = if b.full { "full" } else { "empty" };
            match b.to {
                Some((reader, slot)) => write!(f, " {state} %{} -> %{reader}.{slot};", b.from)?,
                None => write!(f, " {state} %{} -> clone;", b.from)?,
            }
        }
        Ok(())
    }
}

/// A depth for each FIFO with which the design never deadlocks: [`SHALLOW`], and more where a shorter one would.
pub(crate) fn depths(program: &Program) -> Result<Vec<Fifo>, Deadlock> {
    let net = Network::new(program, Io::Stream);
    let mut sim = Simulation::new(program, &net, |_| SHALLOW);
    while let Err(stuck) = sim.run() {
        let Some(channel) = sim.to_grow(program, &stuck) else { return Err(sim.report(&stuck)) };
        sim.depth[channel] += 1;
        sim.queue.push_back(sim.writer[channel]);
    }
    let mut fifos: Vec<Fifo> = net
        .channels
        .iter()
        .enumerate()
        .filter(|(_, c)| c.place == Place::Local)
        .map(|(i, c)| Fifo { from: c.value.0, to: c.to.map(|(id, slot)| (id.0, slot)), depth: sim.depth[i] })
        .collect();
    fifos.sort_by_key(|f| (f.from, f.to));
    Ok(fifos)
}

/// Runs a streamed schedule's processes with its depths.
pub fn simulate(program: &Program, schedule: &Schedule) -> Result<(), Deadlock> {
    let net = Network::new(program, Io::Stream);
    let mut sim = Simulation::new(program, &net, |c| {
        let c = &net.channels[c];
        schedule.depth(c.value.0, c.to.map(|(id, slot)| (id.0, slot))).unwrap_or(1)
    });
    sim.run().map_err(|stuck| sim.report(&stuck))
}

/// A process that waits, and for which channel.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    process: usize,
    channel: usize,
    full: bool,
}

struct Simulation<'a> {
    net: &'a Network,
    traffic: Vec<Traffic>,
    reads: Vec<Vec<usize>>,
    steps: Vec<usize>,
    /// Steps done in all rows.
    done: Vec<usize>,
    /// Reads and writes done in the current step.
    within: Vec<usize>,
    queued: Vec<bool>,
    queue: VecDeque<usize>,
    fill: Vec<usize>,
    depth: Vec<usize>,
    writer: Vec<usize>,
    reader: Vec<usize>,
}

const OUTSIDE: usize = usize::MAX;

impl<'a> Simulation<'a> {
    fn new(program: &Program, net: &'a Network, depth: impl Fn(usize) -> usize) -> Self {
        let n = net.channels.len();
        let mut writer = vec![OUTSIDE; n];
        let mut reader = vec![OUTSIDE; n];
        let reads: Vec<Vec<usize>> = net.processes.iter().map(|p| p.read_channels()).collect();
        for (p, process) in net.processes.iter().enumerate() {
            for c in &reads[p] {
                reader[*c] = p;
            }
            for c in &process.writes {
                writer[*c] = p;
            }
        }
        let traffic: Vec<Traffic> = net.processes.iter().map(|p| Traffic::of(program, net, p)).collect();
        Self {
            net,
            steps: traffic.iter().map(Traffic::steps).collect(),
            traffic,
            reads,
            done: vec![0; net.processes.len()],
            within: vec![0; net.processes.len()],
            queued: vec![true; net.processes.len()],
            queue: (0..net.processes.len()).collect(),
            fill: vec![0; n],
            depth: (0..n).map(depth).collect(),
            writer,
            reader,
        }
    }

    /// Runs until every process has finished its rows, or returns who waits for what.
    fn run(&mut self) -> Result<(), Vec<Waiting>> {
        while let Some(p) = self.queue.pop_front() {
            self.queued[p] = false;
            self.advance(p);
        }
        let stuck: Vec<Waiting> = (0..self.traffic.len()).filter_map(|p| self.waiting(p)).collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck) }
    }

    /// The next channel access of a process: channel and whether it writes.
    fn next(&self, p: usize) -> Option<Option<(usize, bool)>> {
        if self.done[p] == self.steps[p] * ROWS {
            return None;
        }
        let step = self.traffic[p].step(self.done[p] % self.steps[p]);
        let pick = |ports: Ports, channels: &[usize], k: usize| match ports {
            Ports::None => None,
            Ports::One(port) => (k == 0).then(|| channels[port]),
            Ports::All => channels.get(k).copied(),
        };
        let count = |ports: Ports, channels: &[usize]| match ports {
            Ports::None => 0,
            Ports::One(_) => 1,
            Ports::All => channels.len(),
        };
        let (reads, writes) = (&self.reads[p], &self.net.processes[p].writes);
        let k = self.within[p];
        let n = count(step.reads, reads);
        if let Some(c) = pick(step.reads, reads, k) {
            return Some(Some((c, false)));
        }
        Some(pick(step.writes, writes, k - n).map(|c| (c, true)))
    }

    fn wake(&mut self, p: usize) {
        if p != OUTSIDE && !self.queued[p] {
            self.queued[p] = true;
            self.queue.push_back(p);
        }
    }

    fn advance(&mut self, p: usize) {
        while let Some(access) = self.next(p) {
            let Some((c, writes)) = access else {
                self.done[p] += 1;
                self.within[p] = 0;
                continue;
            };
            if self.net.channels[c].place == Place::Local {
                if writes {
                    if self.fill[c] >= self.depth[c] {
                        return;
                    }
                    self.fill[c] += 1;
                    self.wake(self.reader[c]);
                } else {
                    if self.fill[c] == 0 {
                        return;
                    }
                    self.fill[c] -= 1;
                    self.wake(self.writer[c]);
                }
            }
            self.within[p] += 1;
        }
    }

    fn waiting(&self, p: usize) -> Option<Waiting> {
        let (channel, full) = self.next(p)??;
        Some(Waiting { process: p, channel, full })
    }

    /// The full FIFO to grow: among those in the circle of processes that wait for each other, the one with the
    /// narrowest beats.
    fn to_grow(&self, program: &Program, stuck: &[Waiting]) -> Option<usize> {
        let mut waits: Vec<Option<Waiting>> = vec![None; self.traffic.len()];
        for w in stuck {
            waits[w.process] = Some(*w);
        }
        let mut seen = vec![false; self.traffic.len()];
        let mut at = stuck.first()?.process;
        let next = |w: Waiting| if w.full { self.reader[w.channel] } else { self.writer[w.channel] };
        while !seen[at] {
            seen[at] = true;
            at = next(waits[at]?);
        }
        let first = at;
        let mut full = Vec::new();
        loop {
            let w = waits[at]?;
            if w.full {
                full.push(w.channel);
            }
            at = next(w);
            if at == first {
                break;
            }
        }
        let bits = |c: &usize| {
            let node = program.node(self.net.channels[*c].value);
            node.channels() * node.format().width() as usize
        };
        full.into_iter().min_by_key(|c| (bits(c), *c))
    }

    fn report(&self, stuck: &[Waiting]) -> Deadlock {
        let blocked = stuck
            .iter()
            .map(|w| {
                let c = &self.net.channels[w.channel];
                Blocked { from: c.value.0, to: c.to.map(|(id, slot)| (id.0, slot)), full: w.full }
            })
            .collect();
        Deadlock { blocked }
    }
}
