//! The two loops.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Runtime,
    sync::mpsc::{self, UnboundedSender},
    task::LocalSet,
    time::timeout_at,
};

use super::{Arrival, Load, Measured, Pace, Random, Start};
use crate::{Client, ClientError, Options, Prepared, Url};

/// Rest after a failure: a server that is gone is not asked as fast as the machine can.
const REST: Duration = Duration::from_millis(10);
/// Time after an open loop for the requests that are still under way or waiting.
const DRAIN: Duration = Duration::from_secs(10);
/// How much too late the system wakes a thread, at most.
const SLACK: Duration = Duration::from_micros(60);

/// What one thread does of a load.
pub(super) struct Part<'a> {
    pub(super) url: &'a Url,
    pub(super) options: &'a Options,
    pub(super) requests: &'a [Prepared],
    pub(super) load: &'a Load,
    /// Which of them this is.
    pub(super) index: usize,
    pub(super) of: usize,
}

/// The times of a run.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Part<'_> {
    /// Runs it, when all parts are connected.
    pub(super) fn run(&self, runtime: &Runtime, start: &Start) -> Result<Measured, ClientError> {
        LocalSet::new().block_on(runtime, async {
            let connected = self.connect().await;
            let all_ready = start.wait(connected.is_ok());
            let clients = connected?;
            if !all_ready {
                return Ok(Measured::new());
            }
            let begin = Instant::now() + self.load.warmup;
            let window = Window { begin, end: begin + self.load.duration };
            Ok(match self.load.pace {
                Pace::Closed { .. } => self.closed(clients, window).await,
                Pace::Open { rate, arrival, .. } => self.open(clients, window, rate, arrival).await,
            })
        })
    }

    /// This part's share of `n` things.
    fn share(&self, n: usize) -> usize {
        n / self.of + usize::from(self.index < n % self.of)
    }

    /// The connections of the start: all of a closed loop, one of an open loop.
    async fn connect(&self) -> Result<Vec<Client>, ClientError> {
        let count = match self.load.pace {
            Pace::Closed { clients } => self.share(clients),
            Pace::Open { .. } => 1,
        };
        let mut clients = Vec::with_capacity(count);
        for _ in 0..count {
            clients.push(Client::connect(self.url, self.options).await?);
        }
        Ok(clients)
    }

    async fn closed(&self, clients: Vec<Client>, window: Window) -> Measured {
        let measured = Rc::new(RefCell::new(Measured::new()));
        let mut tasks = Vec::new();
        for (i, client) in clients.into_iter().enumerate() {
            let (measured, requests) = (Rc::clone(&measured), self.requests.to_vec());
            let first = self.index + i * self.of;
            tasks.push(tokio::task::spawn_local(async move {
                for request in requests.iter().cycle().skip(first % requests.len()) {
                    let sent = Instant::now();
                    if sent >= window.end {
                        break;
                    }
                    let answer = client.send(request).await.map(drop);
                    let done = Instant::now();
                    let counts = (window.begin..window.end).contains(&done);
                    measured.borrow_mut().note(&answer, counts.then_some(done - sent));
                    if answer.is_err() {
                        tokio::time::sleep(REST).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("it does not panic");
        }
        let mut measured = measured.replace(Measured::new());
        measured.seconds = (window.end - window.begin).as_secs_f64();
        measured
    }

    async fn open(&self, clients: Vec<Client>, window: Window, rate: f64, arrival: Arrival) -> Measured {
        let Pace::Open { clients: most, .. } = self.load.pace else { unreachable!("an open loop") };
        let (due, mut times) = mpsc::unbounded_channel();
        let schedule = Schedule::new(rate, arrival, self.index, self.of, self.load.seed);
        let warmup = self.load.warmup;
        let pacer = std::thread::spawn(move || pace(schedule, window.begin - warmup, window.end, &due));

        let measured = Rc::new(RefCell::new(Measured::new()));
        let last = Rc::new(Cell::new(window.begin));
        // Places for clients; who comes back is taken first, so no more are connected than needed.
        let mut free: Vec<Option<Client>> = (clients.len()..self.share(most)).map(|_| None).collect();
        free.extend(clients.into_iter().map(Some));
        let (give, mut back) = mpsc::unbounded_channel();
        let (places, mut next) = (free.len(), 0);
        let limit = tokio::time::Instant::from_std(window.end + DRAIN);
        let mut left = 0;
        while let Some(time) = times.recv().await {
            while let Ok(client) = back.try_recv() {
                free.push(client);
            }
            let client = match free.pop() {
                Some(client) => client,
                None => match timeout_at(limit, back.recv()).await {
                    Ok(Some(client)) => client,
                    // `give` lives, so this is the end of the drain.
                    _ => {
                        left += u64::from(time >= window.begin);
                        continue;
                    }
                },
            };
            let request = self.requests[next % self.requests.len()].clone();
            next += 1;
            let job = Job { time, request, window, url: self.url.clone(), options: self.options.clone() };
            let (measured, last, give) = (Rc::clone(&measured), Rc::clone(&last), give.clone());
            tokio::task::spawn_local(async move {
                let client = job.run(client, &measured, &last).await;
                // The loop has ended when nobody takes it.
                let _ = give.send(client);
            });
        }
        pacer.join().expect("it does not panic");
        // What is still under way.
        let mut here = free.len();
        while here < places {
            match timeout_at(limit, back.recv()).await {
                Ok(Some(_)) => here += 1,
                _ => break,
            }
        }
        left += (places - here) as u64;
        let mut measured = measured.replace(Measured::new());
        if left > 0 {
            let limit = DRAIN.as_secs();
            measured.fail_as(format!("not answered {limit} s after the last request was due"), left);
        }
        measured.seconds = (last.get().max(window.end) - window.begin).as_secs_f64();
        measured
    }
}

/// A request of an open loop.
struct Job {
    time: Instant,
    request: Prepared,
    window: Window,
    url: Url,
    options: Options,
}

impl Job {
    async fn run(
        self,
        client: Option<Client>,
        all: &RefCell<Measured>,
        last: &Cell<Instant>,
    ) -> Option<Client> {
        let lateness = self.time.elapsed();
        let client = match client {
            Some(client) => Ok(client),
            None => Client::connect(&self.url, &self.options).await,
        };
        let answer = match &client {
            Ok(client) => client.send(&self.request).await.map(drop),
            Err(error) => Err(error.clone()),
        };
        let done = Instant::now();
        let counts = self.time >= self.window.begin;
        if counts {
            last.set(last.get().max(done));
            all.borrow_mut().lateness.record(lateness);
        }
        all.borrow_mut().note(&answer, counts.then_some(done - self.time));
        client.ok()
    }
}

/// When requests are due, in seconds from the start.
enum Schedule {
    Constant { rate: f64, next: u64, of: u64 },
    Poisson { step: f64, random: Random, last: f64 },
}

impl Schedule {
    /// The share of part `index` of `of`: together they make `rate`.
    fn new(rate: f64, arrival: Arrival, index: usize, of: usize, seed: u64) -> Self {
        match arrival {
            Arrival::Constant => Self::Constant { rate, next: index as u64, of: of as u64 },
            Arrival::Poisson => {
                let random = Random::new(seed ^ ((index as u64) << 48));
                Self::Poisson { step: of as f64 / rate, random, last: 0.0 }
            }
        }
    }
}

impl Iterator for Schedule {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        Some(match self {
            Self::Constant { rate, next, of } => {
                let time = *next as f64 / *rate;
                *next += *of;
                time
            }
            Self::Poisson { step, random, last } => {
                *last += random.exponential() * *step;
                *last
            }
        })
    }
}

/// Says when requests are due. A thread of its own, because a runtime's clock counts milliseconds.
fn pace(schedule: Schedule, start: Instant, end: Instant, due: &UnboundedSender<Instant>) {
    for offset in schedule {
        let time = start + Duration::from_secs_f64(offset);
        if time >= end {
            return;
        }
        let left = time.saturating_duration_since(Instant::now());
        if left > SLACK {
            std::thread::sleep(left - SLACK);
        }
        while Instant::now() < time {
            std::hint::spin_loop();
        }
        if due.send(time).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_schedule_make_the_rate() {
        let all = |arrival, of| {
            let mut times: Vec<f64> = (0..of)
                .flat_map(|i| Schedule::new(1000.0, arrival, i, of, 1).take_while(|t| *t < 10.0))
                .collect();
            times.sort_by(f64::total_cmp);
            times
        };
        for of in [1, 3] {
            let constant = all(Arrival::Constant, of);
            assert_eq!(constant, (0..10_000u32).map(|i| f64::from(i) / 1000.0).collect::<Vec<_>>());
            let poisson = all(Arrival::Poisson, of);
            // Five standard deviations.
            assert!((poisson.len() as f64 - 10_000.0).abs() < 500.0, "{}", poisson.len());
            let short =
                poisson.windows(2).filter(|w| w[1] - w[0] < 1e-3).count() as f64 / poisson.len() as f64;
            assert!((short - (1.0 - (-1f64).exp())).abs() < 0.03, "{short}");
        }
    }
}
