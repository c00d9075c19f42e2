//! A card: the thread that schedules its work and looks after its worker.

use std::{
    io::ErrorKind,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use hs_card::{
    Answer, Breaker, BreakerPolicy, BreakerState, Clock as _, Config, DEFAULT_LEAST, Done, Driver, Outcome,
    Refused, Scheduler, Time, Why,
};
use hs_runtime::CardStatus;

use crate::{
    arena::Arena,
    golden::Golden,
    link::{Link, Order},
    plan::Plan,
    process::Worker,
    protocol::{self, Report},
    status,
};

/// What happens to a card.
pub(crate) enum Event {
    /// Rows are to be computed.
    Rows { rows: usize, to: Sender<Order> },
    /// A caller's thread has done a step.
    Done(Done),
    /// The worker has done a step.
    Reported { number: u64, fault: Option<String> },
    /// The worker of this number is gone.
    Gone { worker: u64, why: String },
    /// The worker of this number has started, or could not.
    Started { worker: u64, result: Box<Result<Worker, String>> },
    /// A row that the card computed is wrong.
    Wrong { memory: Arc<Arena>, why: String },
    /// Somebody asks how the card is.
    Status(Sender<CardStatus>),
    /// Nobody uses the card any more.
    Close,
}

/// Rows that a card did not compute.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) why: String,
    pub(crate) rows: Vec<Range<usize>>,
}

/// How workers of a card are started.
pub(crate) struct Setting {
    /// The executable that is the worker.
    pub(crate) program: PathBuf,
    pub(crate) plan: Arc<Plan>,
    pub(crate) golden: Golden,
    /// Time for opening the card.
    pub(crate) start_limit: Duration,
    /// Time of a step.
    pub(crate) step_limit: Duration,
    pub(crate) breaker: BreakerPolicy,
}

/// A card that a model runs on.
pub(crate) struct Card {
    plan: Arc<Plan>,
    events: Mutex<Sender<Event>>,
    shared: Arc<Shared>,
}

/// What callers look at without asking the card's thread.
#[derive(Default)]
struct Shared {
    /// Rows that callers wait for.
    outstanding: AtomicUsize,
    working: AtomicBool,
}

impl Card {
    /// Opens a card. It is there even if that fails, is tried again, and `Err` of the second says why.
    pub(crate) fn open(setting: Setting) -> (Self, Result<(), String>) {
        let first = setting.start();
        let (events, received) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        shared.working.store(first.is_ok(), Ordering::Relaxed);
        let plan = Arc::clone(&setting.plan);
        let (opened, result) = match first {
            Ok(worker) => (Ok(worker), Ok(())),
            Err(why) => (Err(why.clone()), Err(why)),
        };
        let keeper = Keeper::new(setting, events.clone(), received, Arc::clone(&shared));
        let name = format!("card {}", plan.device);
        let spawned = match keeper {
            Ok(keeper) => thread::Builder::new()
                .name(name)
                .spawn(move || keeper.run(opened))
                .map_err(|e| format!("a thread for the card: {e}")),
            Err(e) => Err(e.to_string()),
        };
        let result = spawned.map_or_else(Err, |_| result);
        (Self { plan, events: Mutex::new(events), shared }, result)
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether it takes rows now, and how many it has.
    pub(crate) fn load(&self) -> (bool, usize) {
        (self.shared.working.load(Ordering::Relaxed), self.shared.outstanding.load(Ordering::Relaxed))
    }

    /// What happens is told through this.
    pub(crate) fn events(&self) -> Sender<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts rows as the card's while the result lives.
    pub(crate) fn hold(&self, rows: usize) -> Held<'_> {
        self.shared.outstanding.fetch_add(rows, Ordering::Relaxed);
        Held { card: self, rows }
    }

    /// How it is; none where its thread does not answer.
    pub(crate) fn status(&self) -> Option<CardStatus> {
        let (to, answer) = mpsc::channel();
        self.events().send(Event::Status(to)).ok()?;
        answer.recv_timeout(Duration::from_secs(1)).ok()
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // The thread may be gone.
        let _: Result<_, _> = self.events().send(Event::Close);
    }
}

/// Rows that are counted as a card's.
pub(crate) struct Held<'a> {
    card: &'a Card,
    rows: usize,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.card.shared.outstanding.fetch_sub(self.rows, Ordering::Relaxed);
    }
}

impl Setting {
    fn start(&self) -> Result<Worker, String> {
        Worker::start(&self.program, &self.plan, &self.golden, (self.start_limit, self.step_limit))
    }
}

/// The state of a card's thread.
struct Keeper {
    setting: Arc<Setting>,
    driver: Driver<Link>,
    events: Sender<Event>,
    shared: Arc<Shared>,
    /// When a worker is started: open while the card is left alone, half open while one is.
    starts: Breaker,
    /// When the last one was.
    started: Time,
    /// Number of the worker that runs or is being started.
    worker: u64,
    /// Times that one was started after the first.
    restarts: u64,
    /// What last went wrong.
    why: Option<String>,
}

impl Keeper {
    fn new(
        setting: Setting,
        events: Sender<Event>,
        received: Receiver<Event>,
        shared: Arc<Shared>,
    ) -> Result<Self, hs_card::ConfigError> {
        let Plan { slots, rows, units, .. } = &*setting.plan;
        let config = Config {
            slots: *slots,
            step_limit: setting.step_limit,
            breaker: setting.breaker,
            least: DEFAULT_LEAST.min(*rows),
            ..Config::new(units.len(), *rows)
        };
        let driver = Driver::new(Scheduler::new(config)?, Link::new(Arc::clone(&setting.plan), received));
        let starts = Breaker::new(BreakerPolicy { failures: 1, ..setting.breaker });
        Ok(Self {
            setting: Arc::new(setting),
            driver,
            events,
            shared,
            starts,
            started: Time::ZERO,
            worker: 0,
            restarts: 0,
            why: None,
        })
    }

    fn run(mut self, first: Result<Worker, String>) {
        match first {
            Ok(worker) => self.adopt(worker),
            Err(why) => self.lose(why),
        }
        loop {
            self.shared.working.store(self.starts.state() == BreakerState::Closed, Ordering::Relaxed);
            let until = match self.starts.state() {
                BreakerState::Open { until } => Some(until),
                BreakerState::Closed | BreakerState::HalfOpen => None,
            };
            let answers = self.driver.turn(until);
            for answer in answers {
                self.answer(answer);
            }
            let failing = self.driver.scheduler().breaker() != BreakerState::Closed;
            if failing && !self.driver.scheduler().is_lost() {
                // Known rows tell better than those of a caller whether it works again.
                self.lose(self.why.clone().unwrap_or_else(|| "its launches fail".to_owned()));
            }
            if self.driver.scheduler().is_lost() && self.driver.device().worker.is_some() {
                // A step took too long; which one, its jobs' answers have said.
                let why = self.why.as_deref().unwrap_or("a step took too long");
                tracing::warn!(card = self.setting.plan.device, "the card is lost: {why}");
                self.abandon();
            }
            while let Some(event) = self.driver.device_mut().inbox.pop_front() {
                if !self.take(event) {
                    return;
                }
            }
            self.restart();
        }
    }

    fn now(&self) -> Time {
        self.driver.device().now()
    }

    /// Whether the card is still to be kept.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Rows { rows, to } => match self.driver.submit(rows, None) {
                Ok(job) => {
                    self.driver.device_mut().jobs.insert(job, to);
                }
                Err(refused) => {
                    let why = match (refused, &self.why) {
                        (Refused::Lost { .. } | Refused::Open { .. }, Some(why)) => {
                            format!("{refused}: {why}")
                        }
                        (Refused::Lost { .. } | Refused::Open { .. }, None) => refused.to_string(),
                    };
                    // The caller may have given up.
                    let _: Result<_, _> = to.send(Order::Ended(Err(Unfinished {
                        why,
                        rows: std::iter::once(0..rows).collect(),
                    })));
                }
            },
            Event::Wrong { memory, why }
                if self.driver.device().worker.as_ref().is_some_and(|w| Arc::ptr_eq(w.memory(), &memory)) =>
            {
                self.lose(why);
            }
            Event::Gone { worker, why } if worker == self.worker && self.driver.device().worker.is_some() => {
                self.lose(why);
            }
            Event::Started { worker, result } if worker == self.worker => match *result {
                Ok(worker) => {
                    tracing::info!(card = self.setting.plan.device, "the card was started again");
                    self.restarts += 1;
                    self.adopt(worker);
                }
                Err(why) => {
                    tracing::warn!(card = self.setting.plan.device, "the card cannot be started: {why}");
                    self.why = Some(why);
                    let now = self.now();
                    self.starts.failed(now);
                }
            },
            Event::Status(to) => {
                // Whoever asked may have given up.
                let _: Result<_, _> = to.send(self.status());
            }
            Event::Close => return false,
            // Of a worker before; ends of steps were taken by the link.
            Event::Wrong { .. }
            | Event::Gone { .. }
            | Event::Started { .. }
            | Event::Done(_)
            | Event::Reported { .. } => {}
        }
        true
    }

    fn adopt(&mut self, worker: Worker) {
        let reports = match worker.reports() {
            Ok(reports) => reports,
            Err(e) => return self.lose(format!("XRT's worker: {e}")),
        };
        let (events, number) = (self.events.clone(), self.worker);
        thread::spawn(move || listen(reports, number, &events));
        self.driver.device_mut().worker = Some(worker);
        self.driver.mended();
        self.starts.passed();
        self.started = self.now();
    }

    /// The worker is gone: everything it had is given back.
    fn lose(&mut self, why: String) {
        tracing::warn!(card = self.setting.plan.device, "the card is lost: {why}");
        self.driver.died(&why);
        self.why = Some(why);
        self.abandon();
    }

    /// Ends the worker; another is started later.
    fn abandon(&mut self) {
        self.driver.device_mut().kill();
        let now = self.now();
        if now.saturating_sub(self.started) >= self.setting.breaker.most {
            // It worked for so long that this is no relapse.
            self.starts.succeeded();
        }
        self.starts.trip(now);
    }

    /// Starts a worker, if it is time to.
    fn restart(&mut self) {
        if self.driver.device().worker.is_some() || !self.driver.scheduler().is_lost() {
            return;
        }
        let now = self.now();
        if self.starts.admit(now).is_err() {
            return;
        }
        self.worker += 1;
        let (setting, events, worker) = (Arc::clone(&self.setting), self.events.clone(), self.worker);
        thread::spawn(move || {
            let result = Box::new(setting.start());
            // The card may have been closed; the worker ends with the message.
            let _: Result<_, _> = events.send(Event::Started { worker, result });
        });
    }

    fn answer(&mut self, answer: Answer) {
        let Some(to) = self.driver.device_mut().jobs.remove(&answer.job) else { return };
        let result = match answer.outcome {
            Outcome::Done => Ok(()),
            Outcome::Failed { why, unfinished } => {
                let why = said(why, &self.setting.plan);
                self.why = Some(why.clone());
                Err(Unfinished { why, rows: unfinished })
            }
        };
        // The caller may have given up.
        let _: Result<_, _> = to.send(Order::Ended(result));
    }

    fn status(&self) -> CardStatus {
        let (scheduler, plan) = (self.driver.scheduler(), &self.setting.plan);
        status::of(scheduler, plan, self.now(), self.starts.state(), self.restarts, self.why.as_deref())
    }
}

fn said(why: Why, plan: &Plan) -> String {
    match why {
        Why::Deadline => "its deadline came".to_owned(),
        Why::Fault(fault) => fault.to_string(),
        Why::Unavailable => "the card failed too often and is left alone".to_owned(),
        Why::Hung { unit, stage } => {
            format!("compute unit {} hung in {stage:?}, the worker was killed", plan.units[unit])
        }
        Why::Died(why) => why,
    }
}

/// Passes on what a worker reports, until it is gone.
fn listen(mut reports: std::os::unix::net::UnixStream, worker: u64, events: &Sender<Event>) {
    let why = loop {
        match protocol::read(&mut reports) {
            Ok(Report::Done { number, fault }) => {
                if events.send(Event::Reported { number, fault }).is_err() {
                    return;
                }
            }
            Ok(other) => break format!("XRT's worker reported {other:?}"),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => break "XRT ended its process".to_owned(),
            Err(e) => break format!("XRT's worker: {e}"),
        }
    };
    // The card may have been closed.
    let _: Result<_, _> = events.send(Event::Gone { worker, why });
}
