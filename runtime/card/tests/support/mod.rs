//! A card without time, whose steps end when the test says so, and which watches what it is told to do.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use hs_card::{Answer, Config, Done, Fault, JobId, Outcome, Scheduler, Stage, Step, Time};

/// Milliseconds.
pub(crate) const MS: fn(u64) -> Time = Duration::from_millis;

/// A launch, and its last stage that ended.
type Held = (JobId, Range<usize>, Option<Stage>);

/// A scheduler, the steps under way, and what every slot went through.
pub(crate) struct Bench {
    pub(crate) scheduler: Scheduler,
    pub(crate) now: Time,
    pub(crate) under_way: Vec<Step>,
    pub(crate) started: Vec<Step>,
    /// What is in each slot.
    slots: BTreeMap<(usize, usize), Held>,
    pub(crate) answers: Vec<Answer>,
    /// Rows that were unpacked, of each job.
    pub(crate) unpacked: BTreeMap<JobId, Vec<Range<usize>>>,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            scheduler: Scheduler::new(config).unwrap(),
            now: Time::ZERO,
            under_way: Vec::new(),
            started: Vec::new(),
            slots: BTreeMap::new(),
            answers: Vec::new(),
            unpacked: BTreeMap::new(),
        }
    }

    pub(crate) fn submit(&mut self, rows: usize, deadline: Option<Time>) -> JobId {
        self.scheduler.submit(self.now, rows, deadline).unwrap()
    }

    /// Starts all that can start, and checks that it may.
    pub(crate) fn advance(&mut self) {
        self.scheduler.expire(self.now);
        while let Some(step) = self.scheduler.next(self.now) {
            let config = *self.scheduler.config();
            assert!(step.unit < config.units && step.slot < config.slots, "{step:?}");
            assert!((1..=config.rows).contains(&step.rows.len()), "a slot holds {}: {step:?}", config.rows);
            let before = self.slots.remove(&(step.unit, step.slot));
            match step.stage {
                Stage::Pack => assert_eq!(before, None, "the slot is still in use: {step:?}"),
                stage => {
                    let ended = match stage {
                        Stage::Pack | Stage::HostToDevice => Stage::Pack,
                        Stage::Kernel => Stage::HostToDevice,
                        Stage::DeviceToHost => Stage::Kernel,
                        Stage::Unpack => Stage::DeviceToHost,
                    };
                    assert_eq!(before, Some((step.job, step.rows.clone(), Some(ended))), "{step:?}");
                }
            }
            self.slots.insert((step.unit, step.slot), (step.job, step.rows.clone(), None));
            self.started.push(step.clone());
            self.under_way.push(step);
            for unit in 0..config.units {
                let kernels = self.under_way.iter().filter(|s| s.unit == unit && s.stage == Stage::Kernel);
                assert!(kernels.count() <= 1, "two kernels on unit {unit}");
            }
        }
        self.answers.extend(self.scheduler.answers());
    }

    /// Ends the step at a position of those under way.
    pub(crate) fn end(&mut self, at: usize, well: bool) {
        let step = self.under_way.remove(at);
        let waits = !self.answers.iter().any(|a| a.job == step.job);
        let key = (step.unit, step.slot);
        if well && step.stage == Stage::Unpack && waits {
            self.unpacked.entry(step.job).or_default().push(step.rows.clone());
        }
        if !well || step.stage == Stage::Unpack || !waits {
            self.slots.remove(&key);
        } else if let Some(slot) = self.slots.get_mut(&key) {
            slot.2 = Some(step.stage);
        }
        let result = if well { Ok(()) } else { Err(Fault("broken".to_owned())) };
        self.scheduler.done(self.now, Done { ticket: step.ticket, result });
        self.answers.extend(self.scheduler.answers());
        // A launch that waited for the compute unit may have been dropped with its job.
        let answers = &self.answers;
        self.slots.retain(|_, (job, _, ended)| {
            *ended != Some(Stage::HostToDevice) || !answers.iter().any(|a| a.job == *job)
        });
    }

    /// Ends steps in the order in which they began, until there are none.
    pub(crate) fn finish(&mut self) {
        self.advance();
        while !self.under_way.is_empty() {
            self.end(0, true);
            self.advance();
        }
    }

    /// Ends the first step under way of a stage.
    pub(crate) fn end_stage(&mut self, stage: Stage) {
        let at = self.under_way.iter().position(|s| s.stage == stage).expect("such a step");
        self.end(at, true);
        self.advance();
    }

    pub(crate) fn outcome(&self, job: JobId) -> &Outcome {
        let all: Vec<_> = self.answers.iter().filter(|a| a.job == job).collect();
        assert_eq!(all.len(), 1, "{job:?} is answered once");
        &all[0].outcome
    }

    /// Each row of a job is computed or given back, and only once.
    pub(crate) fn check_rows(&self, job: JobId, rows: usize) {
        let back = match self.outcome(job) {
            Outcome::Done => &Vec::new(),
            Outcome::Failed { unfinished, .. } => unfinished,
        };
        let mut all: Vec<Range<usize>> = self.unpacked.get(&job).cloned().unwrap_or_default();
        all.extend(back.iter().cloned());
        all.sort_by_key(|r| r.start);
        let mut next = 0;
        for range in all {
            assert_eq!(range.start, next, "{job:?}");
            next = range.end;
        }
        assert_eq!(next, rows, "{job:?}");
    }
}
