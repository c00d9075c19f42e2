//! The same driver on real time: steps are threads that sleep.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use hs_card::{Clock, Config, Device, Done, Driver, Outcome, RealClock, Scheduler, Stage, Step, Time, Why};

struct Threads {
    clock: RealClock,
    hangs: bool,
    ends: Receiver<Done>,
    ended: Sender<Done>,
}

impl Clock for Threads {
    fn now(&self) -> Time {
        self.clock.now()
    }
}

impl Device for Threads {
    fn start(&mut self, step: Step) {
        if self.hangs && step.stage == Stage::Kernel {
            return;
        }
        let ended = self.ended.clone();
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(1));
            // The test may be over.
            let _: Result<_, _> = ended.send(Done { ticket: step.ticket, result: Ok(()) });
        });
    }

    fn wait(&mut self, until: Option<Time>) -> Option<Done> {
        let Some(until) = until else { return self.ends.recv().ok() };
        self.ends.recv_timeout(until.saturating_sub(self.clock.now())).ok()
    }
}

fn driver(hangs: bool) -> Driver<Threads> {
    let (ended, ends) = channel();
    let device = Threads { clock: RealClock::start(), hangs, ends, ended };
    Driver::new(Scheduler::new(Config::new(2, 10)).unwrap(), device)
}

#[test]
fn jobs_end_on_real_time() {
    let mut d = driver(false);
    for rows in [1, 10, 95] {
        d.submit(rows, None).unwrap();
    }
    let mut ended = Vec::new();
    while ended.len() < 3 {
        ended.extend(d.turn(None));
    }
    assert!(
        ended.iter().all(|a| a.outcome == Outcome::Done && a.took >= Duration::from_millis(5)),
        "{ended:?}"
    );
    let c = d.scheduler().counters();
    assert_eq!((c.rows_in, c.rows_out, c.launches), (106, 106, 12));
}

#[test]
fn a_deadline_wakes_the_driver() {
    let mut d = driver(true);
    let deadline = d.device().now() + Duration::from_millis(50);
    d.submit(10, Some(deadline)).unwrap();
    let mut turns = 0;
    let ended = loop {
        turns += 1;
        let ended = d.turn(None);
        if !ended.is_empty() {
            break ended;
        }
    };
    assert!(matches!(ended[0].outcome, Outcome::Failed { why: Why::Deadline, .. }));
    assert!(ended[0].took >= Duration::from_millis(50));
    assert!(turns < 10, "{turns} turns: it spins");
}
