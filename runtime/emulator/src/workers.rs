//! The threads that blocks run on, shared by all emulators.
//!
//! Not a library's, for two reasons: a call returns when its work is done, not when every thread that it woke has seen
//! that nothing is left, and threads look for work a while before they sleep. Waking one takes longer than many a batch.
//!
//! `unsafe` here is one thing: threads are lent the caller's closure, which [`Loan`] takes back before the caller
//! returns.

#![allow(unsafe_code)]

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hs_runtime::RunError;

/// How long a thread looks for what it waits for before it sleeps: about as long as it takes to wake it.
const PATIENCE: Duration = Duration::from_micros(50);

/// Threads that help callers, and seats at which callers and helpers compute: never more than so many at a time.
pub(crate) struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    /// Whether callers compute too.
    along: bool,
}

impl Workers {
    /// The threads of all emulators with so many, as long as there is one. `strict`: none of them is a caller's.
    pub(crate) fn shared(threads: usize, strict: bool) -> Result<Arc<Self>, RunError> {
        static ALL: Mutex<BTreeMap<(usize, bool), Weak<Workers>>> = Mutex::new(BTreeMap::new());
        let mut all = lock(&ALL);
        if let Some(workers) = all.get(&(threads, strict)).and_then(Weak::upgrade) {
            return Ok(workers);
        }
        let workers = Arc::new(Self::start(threads, strict)?);
        all.insert((threads, strict), Arc::downgrade(&workers));
        Ok(workers)
    }

    fn start(threads: usize, strict: bool) -> Result<Self, RunError> {
        let n = if strict { threads } else { threads - 1 };
        let mut workers = Self { queue: Arc::new(Queue::new(threads)), threads: Vec::new(), along: !strict };
        for i in 0..n {
            let queue = Arc::clone(&workers.queue);
            let named = thread::Builder::new().name(format!("emulator-{threads}-{i}"));
            let started = named.spawn(move || {
                while let Some(help) = queue.next() {
                    let more = help.join();
                    queue.leave(more.then_some(help));
                }
            });
            workers.threads.push(started.map_err(|e| RunError::Backend {
                backend: "emulator",
                message: format!("cannot start {n} threads: {e}"),
            })?);
        }
        Ok(workers)
    }

    /// Runs `work` on one of the threads that are not the caller's, of which there must be one.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (work, result) = (Mutex::new(Some(work)), Mutex::new(None));
        let once = || {
            let work = lock(&work).take();
            *lock(&result) = work.map(|work| work());
            false
        };
        self.lend(&once, 1, false);
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("it has been called")
    }

    /// Calls `work` with each of `items` and its index, on as many threads as there are items and free seats for; each
    /// gets memory of its own by `begin` and gives it to `end`. Of several errors that of the first item counts.
    pub(crate) fn each<I: DoubleEndedIterator<Item: Send> + ExactSizeIterator + Send, M>(
        &self,
        items: I,
        (begin, end): (impl Fn() -> M + Sync, impl Fn(M) + Sync),
        work: impl Fn(usize, I::Item, &mut M) -> Result<(), RunError> + Sync,
    ) -> Result<(), RunError> {
        let n = items.len();
        if n == 0 {
            return Ok(());
        }
        let left = Mutex::new(items.enumerate());
        let first: Mutex<Option<(usize, RunError)>> = Mutex::new(None);
        let caller = thread::current().id();
        let some = || {
            let mut memory = begin();
            // The caller takes the first and the others the last, so that from call to call a thread finds much of the
            // same memory in its cache. The lock is not held while an item is worked on.
            let along = thread::current().id() == caller;
            let take = || if along { lock(&left).next() } else { lock(&left).next_back() };
            while let Some((i, item)) = take() {
                if let Err(e) = work(i, item, &mut memory) {
                    let mut first = lock(&first);
                    if first.as_ref().is_none_or(|(at, _)| i < *at) {
                        *first = Some((i, e));
                    }
                }
                // A caller without a seat comes first: nobody works for it.
                if self.along && !along && self.queue.is_awaited() {
                    end(memory);
                    return true;
                }
            }
            end(memory);
            false
        };
        self.lend(&some, (n - usize::from(self.along)).min(self.threads.len()), self.along);
        first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, e)| Err(e))
    }

    /// Calls `some` on at most so many threads, and on this one too where it is to work `along`: then those that have
    /// not begun by its end never will. Otherwise it is called at least once. It gives whether it ended before its time,
    /// to be called again.
    ///
    /// # Panics
    /// When a call does.
    fn lend(&self, some: &(dyn Fn() -> bool + Sync), threads: usize, along: bool) {
        // SAFETY: only the lifetime changes. `Loan` takes it back below, also when a panic passes through.
        let some: &'static (dyn Fn() -> bool + Sync) = unsafe { std::mem::transmute(some) };
        let help = Arc::new(Help { some, now: Mutex::default(), done: Condvar::new() });
        let seat = along.then(|| self.queue.enter());
        let loan = Loan { help: &help, queue: &self.queue };
        self.queue.push(&help, threads);
        if along {
            some();
        } else {
            drop(help.wait(|now| !now.begun || now.at_work > 0));
        }
        // Others may sit here while helpers end what they have begun.
        drop(seat);
        drop(loan);
        let panic = lock(&help.now).panic.take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.queue.waiting).over = true;
        self.queue.come.notify_all();
        for thread in self.threads.drain(..) {
            // Panics have been caught.
            let _ = thread.join();
        }
    }
}

/// Who waits for whom: callers for seats, and calls, in the order in which they asked, for helpers. Callers come first.
struct Queue {
    waiting: Mutex<Waiting>,
    /// Whether there is something for a helper, and callers without a seat, to look at without the lock.
    ready: AtomicBool,
    callers: AtomicUsize,
    /// For helpers.
    come: Condvar,
    /// For callers.
    seat: Condvar,
}

struct Waiting {
    help: VecDeque<Arc<Help>>,
    /// Seats that nobody has; none while callers wait.
    free: usize,
    /// Callers that wait for a seat.
    callers: usize,
    /// Seats for callers that have waited.
    given: usize,
    /// Helpers that sleep.
    asleep: usize,
    over: bool,
}

/// A caller's seat.
struct Seat<'a>(&'a Queue);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.leave(None);
    }
}

impl Queue {
    fn new(seats: usize) -> Self {
        let waiting =
            Waiting { help: VecDeque::new(), free: seats, callers: 0, given: 0, asleep: 0, over: false };
        Self {
            waiting: Mutex::new(waiting),
            ready: AtomicBool::new(false),
            callers: AtomicUsize::new(0),
            come: Condvar::new(),
            seat: Condvar::new(),
        }
    }

    /// Takes a seat as soon as one is free.
    fn enter(&self) -> Seat<'_> {
        let mut waiting = lock(&self.waiting);
        if waiting.free > 0 {
            waiting.free -= 1;
        } else {
            waiting.callers += 1;
            self.changed(&waiting);
            waiting = self.seat.wait_while(waiting, |w| w.given == 0).unwrap_or_else(PoisonError::into_inner);
            waiting.given -= 1;
        }
        self.changed(&waiting);
        Seat(self)
    }

    /// Gives a seat back; `more`: what its helper left for a caller's sake.
    fn leave(&self, more: Option<Arc<Help>>) {
        let mut waiting = lock(&self.waiting);
        waiting.help.extend(more);
        if waiting.callers > 0 {
            (waiting.callers, waiting.given) = (waiting.callers - 1, waiting.given + 1);
            self.seat.notify_one();
        } else {
            waiting.free += 1;
            if waiting.asleep > 0 && !waiting.help.is_empty() {
                self.come.notify_one();
            }
        }
        self.changed(&waiting);
    }

    /// Whether a caller waits for a seat.
    fn is_awaited(&self) -> bool {
        self.callers.load(Ordering::Relaxed) > 0
    }

    /// Asks for so many threads.
    fn push(&self, help: &Arc<Help>, threads: usize) {
        let mut waiting = lock(&self.waiting);
        waiting.help.extend((0..threads).map(|_| Arc::clone(help)));
        self.changed(&waiting);
        let wake = waiting.asleep.min(threads).min(waiting.free);
        drop(waiting);
        (0..wake).for_each(|_| self.come.notify_one());
    }

    /// Asks no longer.
    fn withdraw(&self, help: &Arc<Help>) {
        let mut waiting = lock(&self.waiting);
        waiting.help.retain(|h| !Arc::ptr_eq(h, help));
        self.changed(&waiting);
    }

    /// The next to help, as soon as there is one and a seat for it, which is taken; `None`: there will be none.
    fn next(&self) -> Option<Arc<Help>> {
        patiently(|| self.ready.load(Ordering::Relaxed));
        let mut waiting = lock(&self.waiting);
        loop {
            if waiting.is_ready()
                && let Some(help) = waiting.help.pop_front()
            {
                waiting.free -= 1;
                self.changed(&waiting);
                return Some(help);
            }
            if waiting.over {
                return None;
            }
            waiting.asleep += 1;
            waiting = self.come.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.asleep -= 1;
        }
    }

    fn changed(&self, waiting: &Waiting) {
        self.ready.store(waiting.is_ready(), Ordering::Relaxed);
        self.callers.store(waiting.callers, Ordering::Relaxed);
    }
}

impl Waiting {
    /// Whether there is something for a helper.
    fn is_ready(&self) -> bool {
        self.free > 0 && !self.help.is_empty()
    }
}

/// A closure that threads are lent for a while.
struct Help {
    some: &'static (dyn Fn() -> bool + Sync),
    now: Mutex<Now>,
    /// Nobody is at work any more.
    done: Condvar,
}

#[derive(Default)]
struct Now {
    at_work: usize,
    begun: bool,
    /// Nobody may begin.
    over: bool,
    panic: Option<Box<dyn Any + Send>>,
}

impl Help {
    /// Helps; whether it ended before its time.
    fn join(&self) -> bool {
        {
            let mut now = lock(&self.now);
            if now.over {
                return false;
            }
            (now.begun, now.at_work) = (true, now.at_work + 1);
        }
        let result = catch_unwind(AssertUnwindSafe(self.some));
        let mut now = lock(&self.now);
        let more = *result.as_ref().unwrap_or(&false);
        now.panic = result.err().or(now.panic.take());
        now.at_work -= 1;
        if now.at_work == 0 {
            self.done.notify_all();
        }
        more
    }

    fn wait(&self, not_yet: impl Fn(&Now) -> bool) -> MutexGuard<'_, Now> {
        patiently(|| !not_yet(&lock(&self.now)));
        self.done.wait_while(lock(&self.now), |now| not_yet(now)).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with nobody at work, and nobody who may begin.
struct Loan<'a> {
    help: &'a Arc<Help>,
    queue: &'a Queue,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.queue.withdraw(self.help);
        lock(&self.help.now).over = true;
        drop(self.help.wait(|now| now.at_work > 0));
    }
}

/// Looks for something for a while; others may have the processor meanwhile.
fn patiently(found: impl Fn() -> bool) {
    let start = Instant::now();
    while !found() && start.elapsed() < PATIENCE {
        thread::yield_now();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, thread::ThreadId};

    fn error(message: String) -> RunError {
        RunError::Backend { backend: "emulator", message }
    }

    /// Threads that worked on 1,000 items, and the sum of the items.
    fn run(workers: &Workers) -> (BTreeSet<String>, usize) {
        let (threads, sum) = (Mutex::new(BTreeSet::new()), Mutex::new(0));
        let id = |id: ThreadId| format!("{id:?}");
        let done =
            workers.each(0..1000usize, (|| 0, |part| *sum.lock().unwrap() += part), |i, item, part| {
                assert_eq!(i, item);
                *part += item;
                threads.lock().unwrap().insert(id(thread::current().id()));
                Ok(())
            });
        done.unwrap();
        (threads.into_inner().unwrap(), sum.into_inner().unwrap())
    }

    #[test]
    fn all_items_run_on_no_more_threads_than_asked_for() {
        let caller = format!("{:?}", thread::current().id());
        let (strict, with_caller) = (Workers::shared(1, true).unwrap(), Workers::shared(3, false).unwrap());
        let (threads, sum) = run(&strict);
        assert_eq!((threads.len(), threads.contains(&caller), sum), (1, false, 499_500));
        for _ in 0..100 {
            let (threads, sum) = run(&with_caller);
            assert!(threads.len() <= 3 && sum == 499_500, "{threads:?}: {sum}");
        }
        let here = format!("{:?}", strict.run(|| thread::current().id()));
        assert!(run(&strict).0.contains(&here) && here != caller);
        assert!(Arc::ptr_eq(&with_caller, &Workers::shared(3, false).unwrap()));
    }

    #[test]
    fn the_first_error_counts() {
        let workers = Workers::shared(2, false).unwrap();
        for _ in 0..50 {
            let fail =
                |i: usize, _: usize, _: &mut ()| if i % 7 == 3 { Err(error(i.to_string())) } else { Ok(()) };
            let found = workers.each(0..100usize, (|| (), |()| ()), fail);
            assert_eq!(found.unwrap_err().to_string(), error("3".to_owned()).to_string());
        }
        assert!(workers.each(0..0usize, (|| (), |()| ()), |_, _, ()| Ok(())).is_ok());
    }

    #[test]
    fn nobody_waits_for_threads_with_nothing_to_do() {
        let workers = Workers::shared(2, false).unwrap();
        let (busy, done) = (Mutex::new(()), Mutex::new(Vec::new()));
        let (held, started) = (lock(&busy), std::sync::Barrier::new(2));
        thread::scope(|scope| {
            // It takes the only thread beside the callers'.
            scope.spawn(|| {
                workers.run(|| {
                    started.wait();
                    drop(lock(&busy));
                });
            });
            started.wait();
            let work = |_, i: usize, (): &mut ()| {
                lock(&done).push(i);
                Ok(())
            };
            workers.each(0..5usize, (|| (), |()| ()), work).unwrap();
            assert_eq!(*lock(&done), [0, 1, 2, 3, 4]);
            drop(held);
        });
    }

    #[test]
    fn callers_come_before_helpers() {
        let workers = Workers::start(2, false).unwrap();
        let (at_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (both, second_is_done) = (std::sync::Barrier::new(3), AtomicBool::new(false));
        let until = |found: &dyn Fn() -> bool| {
            while !found() {
                thread::yield_now();
            }
        };
        let counted = |work: &dyn Fn()| {
            most.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            work();
            at_work.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let begun = Mutex::new(BTreeSet::new());
                let work = |i: usize, _: usize, (): &mut ()| {
                    counted(&|| {
                        if lock(&begun).insert(format!("{:?}", thread::current().id())) {
                            both.wait();
                        }
                        // The caller cannot end before the second call has, the helper not leave before it waits.
                        match i {
                            0 => until(&|| second_is_done.load(Ordering::SeqCst)),
                            99 => until(&|| workers.queue.is_awaited()),
                            _ => {}
                        }
                    })
                };
                workers.each(0..100usize, (|| (), |()| ()), work).unwrap();
                assert_eq!(lock(&begun).len(), 2);
            });
            // Both seats are taken.
            both.wait();
            let work = |_, _: usize, (): &mut ()| counted(&|| {});
            workers.each(0..5usize, (|| (), |()| ()), work).unwrap();
            second_is_done.store(true, Ordering::SeqCst);
        });
        assert_eq!(most.into_inner(), 2);
        // A helper gives its seat back after its caller has gone on.
        until(&|| lock(&workers.queue.waiting).free == 2);
    }

    #[test]
    fn panics_come_back_and_threads_live_on() {
        for strict in [false, true] {
            let workers = Workers::shared(2, strict).unwrap();
            for bad in [0, 7, 49] {
                let work = |_, i: usize, (): &mut ()| if i == bad { panic!("at {i}") } else { Ok(()) };
                let call = || workers.each(0..50usize, (|| (), |()| ()), work);
                let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
                assert_eq!(*panic.downcast::<String>().unwrap(), format!("at {bad}"));
            }
            let (_, sum) = run(&workers);
            assert_eq!((sum, workers.run(|| 5)), (499_500, 5));
        }
    }

    #[test]
    fn threads_end_with_the_last_who_has_them() {
        let workers = Workers::shared(4, true).unwrap();
        let queue = Arc::downgrade(&workers.queue);
        run(&workers);
        drop(workers);
        assert_eq!(queue.strong_count(), 0);
    }
}
