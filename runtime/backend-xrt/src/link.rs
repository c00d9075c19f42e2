//! The device that a card's scheduler drives: a worker for what the card does, and the callers' threads for packing and
//! unpacking.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
};

use hs_card::{Clock, Device, Done, Fault, JobId, RealClock, Stage, Step, Ticket, Time};

use crate::{
    arena::Arena,
    card::{Event, Unfinished},
    plan::Plan,
    process::Worker,
    protocol::Task,
};

/// What the thread whose rows a card computes is to do.
pub(crate) enum Order {
    /// Pack rows into a slot.
    Pack(Place),
    /// Check the trailers, and unpack rows from a slot.
    Unpack(Place),
    /// Nothing more.
    Ended(Result<(), Unfinished>),
}

/// A slot that a caller's thread has for itself, until it gives the ticket back.
pub(crate) struct Place {
    pub(crate) ticket: Ticket,
    pub(crate) memory: Arc<Arena>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) unit: usize,
    pub(crate) slot: usize,
    /// Rows of the job.
    pub(crate) rows: Range<usize>,
}

/// The device.
pub(crate) struct Link {
    clock: RealClock,
    plan: Arc<Plan>,
    events: Receiver<Event>,
    /// What came beside the ends of steps.
    pub(crate) inbox: VecDeque<Event>,
    pub(crate) worker: Option<Worker>,
    pub(crate) jobs: BTreeMap<JobId, Sender<Order>>,
    /// Steps that the worker does.
    steps: BTreeMap<u64, Ticket>,
    /// Steps that could not begin.
    failed: VecDeque<Done>,
}

impl Link {
    pub(crate) fn new(plan: Arc<Plan>, events: Receiver<Event>) -> Self {
        Self {
            clock: RealClock::start(),
            plan,
            events,
            inbox: VecDeque::new(),
            worker: None,
            jobs: BTreeMap::new(),
            steps: BTreeMap::new(),
            failed: VecDeque::new(),
        }
    }

    /// Ends the worker and forgets what it did.
    pub(crate) fn kill(&mut self) {
        self.worker = None;
        self.steps.clear();
    }

    fn begin(&mut self, step: &Step) -> Result<(), String> {
        let worker = self.worker.as_mut().ok_or("there is no worker")?;
        if let Some(task) = Task::of(step.stage) {
            let number = step.ticket.number();
            self.steps.insert(number, step.ticket);
            return worker
                .step(number, step.unit, step.slot, step.rows.len(), task)
                .map_err(|e| format!("XRT's worker: {e}"));
        }
        let place = Place {
            ticket: step.ticket,
            memory: Arc::clone(worker.memory()),
            plan: Arc::clone(&self.plan),
            unit: step.unit,
            slot: step.slot,
            rows: step.rows.clone(),
        };
        let order = if step.stage == Stage::Pack { Order::Pack(place) } else { Order::Unpack(place) };
        let caller = self.jobs.get(&step.job).ok_or("nobody waits for the rows")?;
        caller.send(order).map_err(|_| "nobody waits for the rows".to_owned())
    }
}

impl Clock for Link {
    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Device for Link {
    fn start(&mut self, step: Step) {
        if let Err(why) = self.begin(&step) {
            self.failed.push_back(Done { ticket: step.ticket, result: Err(Fault(why)) });
        }
    }

    fn wait(&mut self, until: Option<Time>) -> Option<Done> {
        if let Some(done) = self.failed.pop_front() {
            return Some(done);
        }
        let event = match until {
            Some(until) => self.events.recv_timeout(until.saturating_sub(self.now())).ok()?,
            None => self.events.recv().ok()?,
        };
        match event {
            Event::Done(done) => Some(done),
            Event::Reported { number, fault, .. } => {
                let ticket = self.steps.remove(&number)?;
                Some(Done { ticket, result: fault.map_or(Ok(()), |fault| Err(Fault(fault))) })
            }
            other => {
                self.inbox.push_back(other);
                None
            }
        }
    }
}
