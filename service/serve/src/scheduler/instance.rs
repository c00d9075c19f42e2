//! The threads that run batches.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::{
    Core, State,
    batch::Reply,
    call::Caller,
    queue::{Next, Waiting},
};

/// What a thread does next.
enum Step {
    /// Run a batch, the one of that number.
    Run(Vec<Waiting>, u64),
    /// Sleep until woken, or until then.
    Sleep(Option<Instant>),
    End,
}

impl Core {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a request that is about to wait is looked at; the error says why there is no thread at all.
    pub(super) fn attend(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let first = state.queue.len() == 1;
        if !first && state.queue.rows() < self.enough {
            // Somebody waits already for a batch to fill.
            return Ok(());
        }
        self.call(state)
    }

    /// Has a thread look at the queue: one that sleeps, or a new one where those do not suffice.
    fn call(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        if state.threads < self.instances && state.starting + state.idle < state.queue.len() {
            let core = Arc::clone(self);
            match thread::Builder::new().name(format!("hs-{}", self.name)).spawn(move || core.serve()) {
                Ok(_) => {
                    state.threads += 1;
                    state.starting += 1;
                }
                Err(e) if state.threads == 0 => return Err(e),
                // Those that there are do it all.
                Err(_) => {}
            }
        }
        // Whoever is awake looks before it sleeps.
        if state.idle > 0 {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// The life of an instance.
    fn serve(self: Arc<Self>) {
        let mut caller = Caller::default();
        let mut state = self.state();
        state.starting -= 1;
        loop {
            match self.step(&mut state) {
                Step::Run(requests, number) => {
                    drop(state);
                    // Backends that panic are caught closer by; whatever else does must not take the place along.
                    let run = AssertUnwindSafe(|| self.execute(requests, &mut caller));
                    let replies = catch_unwind(run).unwrap_or_default();
                    match &self.order {
                        Some(order) => order.send(number, replies),
                        None => replies.into_iter().for_each(Reply::send),
                    }
                    state = self.state();
                    // This thread itself looks at who waits.
                    let _ = self.gate.leave();
                }
                Step::Sleep(until) => {
                    state.idle += 1;
                    state = match until {
                        None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                        Some(until) => {
                            let time = until.saturating_duration_since(Instant::now());
                            self.wake.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                        }
                    };
                    state.idle -= 1;
                }
                Step::End => break,
            }
        }
    }

    fn step(self: &Arc<Self>, state: &mut State) -> Step {
        let now = Instant::now();
        let refused = state.queue.expire(now, &self.policy);
        self.gate.unqueued(refused.len());
        for request in refused {
            self.statistics.queued(now.saturating_duration_since(request.arrived));
            let _ = request.reply.send(Err(super::expired()));
        }
        if state.queue.is_empty() {
            return if state.closed { Step::End } else { Step::Sleep(None) };
        }
        // Whoever leaves wakes one that finds no place.
        if !self.gate.enter() {
            return Step::Sleep(None);
        }
        match state.queue.next(now, &self.policy, state.closed) {
            Next::Batch(requests) => {
                self.gate.unqueued(requests.len());
                let number = state.formed;
                state.formed += 1;
                if !state.queue.is_empty() {
                    // It is this thread's no longer. Where no other one can be had, it comes back.
                    let _ = self.call(state);
                }
                Step::Run(requests, number)
            }
            Next::Hold(until) => {
                // The lock is held: nobody has missed the place meanwhile.
                let _ = self.gate.leave();
                Step::Sleep(until)
            }
        }
    }
}
