//! The scheduler of one card: jobs into launches, launches through the stages of buffer slots.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    time::Duration,
};

use crate::{Admission, Breaker, BreakerPolicy, BreakerState, Counters, Time, Used};

/// Buffer slots a compute unit, where nothing else is said: one in each direction of the link, one in the kernel, and
/// one with the host.
pub const DEFAULT_SLOTS: usize = 4;

/// Rows of a launch at least, where a job is spread over idle compute units and nothing else is said: fewer are hardly
/// faster than the launch itself.
pub const DEFAULT_LEAST: usize = 256;

/// What a scheduler has to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Compute units.
    pub units: usize,
    /// Buffer slots of each.
    pub slots: usize,
    /// Rows that a slot holds: the most of a launch.
    pub rows: usize,
    /// Rows of a launch at least, where a job is cut smaller than it need be, so that idle compute units get some.
    pub least: usize,
    /// A step that takes longer means that the card hangs.
    pub step_limit: Duration,
    /// When the card is left alone.
    pub breaker: BreakerPolicy,
}

impl Config {
    /// One launch of `rows` rows a slot, [`DEFAULT_SLOTS`] slots a unit, jobs cut as little as they can be, and ten
    /// seconds a step.
    pub fn new(units: usize, rows: usize) -> Self {
        let (step_limit, breaker) = (Duration::from_secs(10), BreakerPolicy::default());
        Self { units, slots: DEFAULT_SLOTS, rows, least: rows, step_limit, breaker }
    }
}

/// A card without anything to run on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a card has 1 or more {0}, not 0")]
pub struct ConfigError(&'static str);

/// A job of this scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

/// A step that was started. None is given twice, so that the end of one that was given up is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// Its number, for where a step is done by somebody who knows no tickets.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// What happens to a launch in its slot, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The host writes rows into the slot's input buffers.
    Pack,
    /// They go to the card.
    HostToDevice,
    /// The kernel runs, alone on its compute unit.
    Kernel,
    /// Results and trailer come back.
    DeviceToHost,
    /// The host checks the trailer and takes the results out of the slot's output buffers.
    Unpack,
}

impl Stage {
    fn next(self) -> Option<Self> {
        match self {
            Self::Pack => Some(Self::HostToDevice),
            Self::HostToDevice => Some(Self::Kernel),
            Self::Kernel => Some(Self::DeviceToHost),
            Self::DeviceToHost => Some(Self::Unpack),
            Self::Unpack => None,
        }
    }
}

/// To be started now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// To be given back when it ends.
    pub ticket: Ticket,
    /// What to do.
    pub stage: Stage,
    /// On which compute unit, from 0.
    pub unit: usize,
    /// In which of its slots, from 0.
    pub slot: usize,
    /// For which job.
    pub job: JobId,
    /// For which of the job's rows: at least one, and never more than a slot holds.
    pub rows: Range<usize>,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// A step has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Which one.
    pub ticket: Ticket,
    /// How.
    pub result: Result<(), Fault>,
}

/// The card takes no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It failed too often.
    #[error("the card failed and is left alone until it is probed again")]
    Open {
        /// When to ask again; `None` while a probe is under way.
        retry: Option<Time>,
    },
    /// It hung or died: its buffers cannot be used until it is started again ([`Scheduler::restarted`]).
    #[error("the card hung or died, and must be started again")]
    Lost {
        /// When starting it should be tried.
        retry: Time,
    },
}

/// Why a job has rows undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its deadline came.
    Deadline,
    /// A step of it failed.
    Fault(Fault),
    /// The breaker opened before they were started.
    Unavailable,
    /// The card hung in a step of this or another job.
    Hung {
        /// Where.
        unit: usize,
        /// In what.
        stage: Stage,
    },
    /// The card died.
    Died(String),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All its rows were computed.
    Done,
    /// Some were not, and are to be run elsewhere.
    Failed {
        /// The first reason.
        why: Why,
        /// The rows, in ascending order.
        unfinished: Vec<Range<usize>>,
    },
}

/// A job that ended. Each is answered once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which one.
    pub job: JobId,
    /// How.
    pub outcome: Outcome,
    /// Since it was taken.
    pub took: Duration,
}

#[derive(Debug)]
struct Job {
    rows: usize,
    /// Rows of a launch: the job in equal parts.
    part: usize,
    /// Rows that launches were cut from.
    cut: usize,
    /// Launches in slots.
    flying: usize,
    submitted: Time,
    deadline: Option<Time>,
    probe: bool,
    failed: Option<Why>,
    unfinished: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Launch {
    job: JobId,
    rows: Range<usize>,
    stage: Stage,
    /// Since when it is in the stage, or waits for the compute unit.
    since: Time,
    /// Since when it has the slot.
    taken: Time,
}

#[derive(Debug, Default)]
struct Unit {
    slots: Vec<Option<Launch>>,
    /// Rows of its launches.
    outstanding: usize,
    /// Slots whose rows are on the card, in the order in which they came.
    ready: VecDeque<usize>,
    /// Slot that the kernel works on, and since when.
    running: Option<(usize, Time)>,
    busy: Duration,
}

/// The state of a card's work. Every method is told the time, which must not go back.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    units: Vec<Unit>,
    breaker: Breaker,
    jobs: BTreeMap<JobId, Job>,
    /// Jobs with rows that no launch has yet.
    queue: VecDeque<JobId>,
    deadlines: BTreeSet<(Time, JobId)>,
    /// Steps under way: unit, slot and start. Tickets ascend, and so do the starts.
    tickets: BTreeMap<Ticket, (usize, usize, Time)>,
    /// Steps that follow upon others, to be started.
    due: VecDeque<Step>,
    answers: Vec<Answer>,
    lost: bool,
    issued: u64,
    counters: Counters,
    slots_busy: Duration,
}

impl Scheduler {
    /// An idle card.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        for (what, n) in
            [("compute units", config.units), ("buffer slots", config.slots), ("rows a launch", config.rows)]
        {
            if n == 0 {
                return Err(ConfigError(what));
            }
        }
        let unit = || Unit { slots: (0..config.slots).map(|_| None).collect(), ..Unit::default() };
        Ok(Self {
            config,
            units: (0..config.units).map(|_| unit()).collect(),
            breaker: Breaker::new(config.breaker),
            jobs: BTreeMap::new(),
            queue: VecDeque::new(),
            deadlines: BTreeSet::new(),
            tickets: BTreeMap::new(),
            due: VecDeque::new(),
            answers: Vec::new(),
            lost: false,
            issued: 0,
            counters: Counters::default(),
            slots_busy: Duration::ZERO,
        })
    }

    /// What it works with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// State of the breaker.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Rows of launches on each compute unit.
    pub fn outstanding(&self) -> Vec<usize> {
        self.units.iter().map(|u| u.outstanding).collect()
    }

    /// Jobs that wait for a slot with some of their rows.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// For how long its parts were in use.
    pub fn used(&self, now: Time) -> Used {
        let running = |u: &Unit| u.running.map_or(Duration::ZERO, |(_, since)| now.saturating_sub(since));
        let held = self.units.iter().flat_map(|u| u.slots.iter().flatten());
        Used {
            units: self.units.iter().map(|u| u.busy + running(u)).collect(),
            slots: self.slots_busy + held.map(|l| now.saturating_sub(l.taken)).sum::<Duration>(),
        }
    }

    /// Takes a job of any number of rows, to be done by `deadline`. It ends in an [`Answer`], without rows at once.
    pub fn submit(&mut self, now: Time, rows: usize, deadline: Option<Time>) -> Result<JobId, Refused> {
        let job = JobId(self.issue());
        if rows == 0 {
            self.counters.jobs += 1;
            self.answers.push(Answer { job, outcome: Outcome::Done, took: Duration::ZERO });
            return Ok(job);
        }
        if self.lost {
            let retry = match self.breaker.state() {
                BreakerState::Open { until } => until,
                BreakerState::Closed | BreakerState::HalfOpen => now,
            };
            return Err(Refused::Lost { retry });
        }
        let admission = self.breaker.admit(now).map_err(|retry| Refused::Open { retry })?;
        self.counters.jobs += 1;
        self.counters.rows_in += rows as u64;
        let idle =
            if self.queue.is_empty() { self.units.iter().filter(|u| u.outstanding == 0).count() } else { 0 };
        let spread = idle.min(rows / self.config.least.max(1));
        let part = rows.div_ceil(rows.div_ceil(self.config.rows).max(spread));
        let probe = admission == Admission::Probe;
        let state = Job {
            rows,
            part,
            cut: 0,
            flying: 0,
            submitted: now,
            deadline,
            probe,
            failed: None,
            unfinished: Vec::new(),
        };
        self.jobs.insert(job, state);
        self.queue.push_back(job);
        self.deadlines.extend(deadline.map(|at| (at, job)));
        Ok(job)
    }

    /// The next step to start, until there is none.
    pub fn next(&mut self, now: Time) -> Option<Step> {
        if let Some(step) = self.due.pop_front() {
            return Some(step);
        }
        let id = *self.queue.front()?;
        let free = |u: &Unit| u.slots.iter().position(Option::is_none);
        let open =
            self.units.iter().enumerate().filter_map(|(i, u)| free(u).map(|slot| (u.outstanding, i, slot)));
        let (_, unit, slot) = open.min()?;
        self.queue.pop_front();
        let job = self.jobs.get_mut(&id)?;
        let rows = job.cut..job.rows.min(job.cut + job.part);
        job.cut = rows.end;
        job.flying += 1;
        if job.cut < job.rows {
            // Jobs take turns: a large one does not keep small ones waiting.
            self.queue.push_back(id);
        }
        self.counters.queue += now.saturating_sub(job.submitted);
        self.units[unit].outstanding += rows.len();
        self.units[unit].slots[slot] =
            Some(Launch { job: id, rows, stage: Stage::Pack, since: now, taken: now });
        self.step(now, unit, slot)
    }

    /// A step has ended. What was given up before is counted and otherwise ignored.
    pub fn done(&mut self, now: Time, done: Done) {
        let Some((unit, slot, since)) = self.tickets.remove(&done.ticket) else {
            self.counters.stale += 1;
            return;
        };
        let Some(launch) = &self.units[unit].slots[slot] else { return };
        *self.counters.stage(launch.stage) += now.saturating_sub(since);
        let (id, stage) = (launch.job, launch.stage);
        if stage == Stage::Kernel {
            self.stop(now, unit);
        }
        if let Err(fault) = done.result {
            self.counters.faults += 1;
            let rows = self.free(now, unit, slot);
            self.undo(id, rows, Why::Fault(fault));
            if self.breaker.failed(now) {
                self.withdraw(now);
            }
            self.settle(now, id);
        } else if let Some(next) = stage.next() {
            if !self.jobs.contains_key(&id) {
                // Nobody waits for it any more.
                self.free(now, unit, slot);
            } else if let Some(launch) = &mut self.units[unit].slots[slot] {
                launch.stage = next;
                launch.since = now;
                if next == Stage::Kernel {
                    self.units[unit].ready.push_back(slot);
                } else {
                    let step = self.step(now, unit, slot);
                    self.due.extend(step);
                }
            }
        } else {
            let rows = self.free(now, unit, slot);
            self.breaker.succeeded();
            self.counters.launches += 1;
            if let Some(job) = self.jobs.get_mut(&id) {
                job.flying -= 1;
                self.counters.rows_out += rows.len() as u64;
            }
            self.settle(now, id);
        }
        self.run(now, unit);
    }

    /// Gives up what is due: jobs whose deadline has come, and everything if a step took too long.
    pub fn expire(&mut self, now: Time) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.give_up(now, id, Why::Deadline);
        }
        if let Some((&ticket, &(unit, slot, since))) = self.tickets.first_key_value()
            && now.saturating_sub(since) >= self.config.step_limit
            && let Some(launch) = &self.units[unit].slots[slot]
        {
            let stage = launch.stage;
            self.tickets.remove(&ticket);
            self.lose(now, Why::Hung { unit, stage });
        }
    }

    /// When [`expire`](Self::expire) will have something to do.
    pub fn wake(&self) -> Option<Time> {
        let deadline = self.deadlines.first().map(|&(at, _)| at);
        let oldest = self.tickets.first_key_value().map(|(_, &(_, _, since))| since);
        let hang = oldest.map(|since| since.saturating_add(self.config.step_limit));
        [deadline, hang].into_iter().flatten().min()
    }

    /// The card died: gives all jobs back, opens the breaker, and takes no work until the card is started again.
    pub fn died(&mut self, now: Time, message: &str) {
        self.lose(now, Why::Died(message.to_owned()));
    }

    /// The card was started again, with buffers of its own for each slot. A probe follows when the breaker says so.
    pub fn restarted(&mut self) {
        self.lost = false;
    }

    /// The card was started again and has passed a test: nothing needs to be probed.
    pub fn mended(&mut self) {
        self.lost = false;
        self.breaker.passed();
    }

    /// Whether the card hung or died, and was not started again since.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Jobs that ended since the last call, in that order.
    pub fn answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    fn issue(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// Starts the stage that a slot is in.
    fn step(&mut self, now: Time, unit: usize, slot: usize) -> Option<Step> {
        let ticket = Ticket(self.issue());
        let launch = self.units[unit].slots[slot].as_mut()?;
        launch.since = now;
        self.tickets.insert(ticket, (unit, slot, now));
        Some(Step { ticket, stage: launch.stage, unit, slot, job: launch.job, rows: launch.rows.clone() })
    }

    /// Starts the next kernel of an idle compute unit.
    fn run(&mut self, now: Time, unit: usize) {
        while self.units[unit].running.is_none()
            && let Some(slot) = self.units[unit].ready.pop_front()
        {
            let Some(launch) = &self.units[unit].slots[slot] else { continue };
            if self.jobs.contains_key(&launch.job) {
                self.counters.ready += now.saturating_sub(launch.since);
                self.units[unit].running = Some((slot, now));
                let step = self.step(now, unit, slot);
                self.due.extend(step);
            } else {
                self.free(now, unit, slot);
            }
        }
    }

    fn stop(&mut self, now: Time, unit: usize) {
        if let Some((_, since)) = self.units[unit].running.take() {
            self.units[unit].busy += now.saturating_sub(since);
        }
    }

    /// Empties a slot; the rows that were in it.
    fn free(&mut self, now: Time, unit: usize, slot: usize) -> Range<usize> {
        let Some(launch) = self.units[unit].slots[slot].take() else { return 0..0 };
        self.units[unit].outstanding -= launch.rows.len();
        self.slots_busy += now.saturating_sub(launch.taken);
        launch.rows
    }

    /// A launch of a job failed.
    fn undo(&mut self, id: JobId, rows: Range<usize>, why: Why) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.flying -= 1;
            job.unfinished.push(rows);
            job.failed.get_or_insert(why);
        }
    }

    /// The breaker opened: what has not begun is given back.
    fn withdraw(&mut self, now: Time) {
        for id in std::mem::take(&mut self.queue) {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.unfinished.push(job.cut..job.rows);
                job.cut = job.rows;
                job.failed.get_or_insert(Why::Unavailable);
            }
            self.settle(now, id);
        }
    }

    /// Answers a job of which nothing is left to do.
    fn settle(&mut self, now: Time, id: JobId) {
        if self.jobs.get(&id).is_some_and(|j| j.cut == j.rows && j.flying == 0)
            && let Some(job) = self.jobs.remove(&id)
        {
            self.answer(now, id, job);
        }
    }

    /// Answers a job with all its rows that are not computed.
    fn give_up(&mut self, now: Time, id: JobId, why: Why) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        if job.cut < job.rows {
            self.queue.retain(|j| *j != id);
            job.unfinished.push(job.cut..job.rows);
        }
        let held = self.units.iter().flat_map(|u| u.slots.iter().flatten());
        job.unfinished.extend(held.filter(|l| l.job == id).map(|l| l.rows.clone()));
        job.failed.get_or_insert(why);
        if job.probe {
            self.breaker.undecided(now);
        }
        self.answer(now, id, job);
    }

    fn answer(&mut self, now: Time, id: JobId, job: Job) {
        let Job { submitted, deadline, failed, mut unfinished, .. } = job;
        if let Some(at) = deadline {
            self.deadlines.remove(&(at, id));
        }
        unfinished.sort_by_key(|r| r.start);
        self.counters.rows_back += unfinished.iter().map(|r| r.len() as u64).sum::<u64>();
        let outcome = match failed {
            Some(why) => Outcome::Failed { why, unfinished },
            None => Outcome::Done,
        };
        self.answers.push(Answer { job: id, outcome, took: now.saturating_sub(submitted) });
    }

    fn lose(&mut self, now: Time, why: Why) {
        self.breaker.trip(now);
        self.lost = true;
        while let Some(id) = self.jobs.first_key_value().map(|(id, _)| *id) {
            self.give_up(now, id, why.clone());
        }
        self.tickets.clear();
        self.due.clear();
        self.queue.clear();
        for unit in 0..self.units.len() {
            self.stop(now, unit);
            self.units[unit].ready.clear();
            for slot in 0..self.config.slots {
                self.free(now, unit, slot);
            }
        }
    }
}
