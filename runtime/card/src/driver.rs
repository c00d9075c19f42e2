//! A scheduler and its device.

use crate::{Answer, Clock, Done, JobId, Refused, Scheduler, Step, Time};

/// What carries out the steps of a scheduler.
pub trait Device: Clock {
    /// Begins a step. Must not block; its end is told by [`wait`](Self::wait), a failure to begin too.
    fn start(&mut self, step: Step);

    /// Blocks, without spinning, until a step has ended, or until `until`. `None` where that time has come, where the
    /// device was woken for another reason, or where there is nothing to wait for.
    fn wait(&mut self, until: Option<Time>) -> Option<Done>;
}

/// Runs jobs on a device.
#[derive(Debug)]
pub struct Driver<D> {
    scheduler: Scheduler,
    device: D,
}

impl<D: Device> Driver<D> {
    /// Joins them. The scheduler must be fresh.
    pub fn new(scheduler: Scheduler, device: D) -> Self {
        Self { scheduler, device }
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Takes a job; see [`Scheduler::submit`].
    pub fn submit(&mut self, rows: usize, deadline: Option<Time>) -> Result<JobId, Refused> {
        self.scheduler.submit(self.device.now(), rows, deadline)
    }

    /// The device died; see [`Scheduler::died`].
    pub fn died(&mut self, message: &str) {
        self.scheduler.died(self.device.now(), message);
    }

    /// The device has been started again; see [`Scheduler::restarted`].
    pub fn restarted(&mut self) {
        self.scheduler.restarted();
    }

    /// Starts what can start, then waits for one thing to happen, until `until` at most. Gives the jobs that ended;
    /// none is a normal answer too.
    pub fn turn(&mut self, until: Option<Time>) -> Vec<Answer> {
        self.advance();
        let ended = self.scheduler.answers();
        if !ended.is_empty() {
            return ended;
        }
        let until = [until, self.scheduler.wake()].into_iter().flatten().min();
        if let Some(done) = self.device.wait(until) {
            self.scheduler.done(self.device.now(), done);
        }
        self.advance();
        self.scheduler.answers()
    }

    fn advance(&mut self) {
        let now = self.device.now();
        self.scheduler.expire(now);
        while let Some(step) = self.scheduler.next(now) {
            self.device.start(step);
        }
    }
}
