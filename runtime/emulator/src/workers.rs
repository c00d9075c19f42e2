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
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hs_runtime::RunError;

/// How long a thread looks for what it waits for before it sleeps: about as long as it takes to wake it.
const PATIENCE: Duration = Duration::from_micros(50);

/// A number of threads, of which the caller's may be one.
pub(crate) struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    /// Where the caller works along; one at a time, so that there are never more threads than there should be.
    seat: Option<Mutex<()>>,
}

impl Workers {
    /// The threads of all emulators with so many, as long as there is one. `strict`: none of them is the caller's.
    pub(crate) fn shared(threads: usize, strict: bool) -> Result<Arc<Self>, RunError> {
        static ALL: Mutex<BTreeMap<(usize, bool), Weak<Workers>>> = Mutex::new(BTreeMap::new());
        let mut all = lock(&ALL);
        if let Some(workers) = all.get(&(threads, strict)).and_then(Weak::upgrade) {
            return Ok(workers);
        }
        let n = if strict { threads } else { (threads - 1).max(1) };
        let mut workers =
            Self { queue: Arc::default(), threads: Vec::new(), seat: (!strict).then(Mutex::default) };
        for i in 0..n {
            let queue = Arc::clone(&workers.queue);
            let named = thread::Builder::new().name(format!("emulator-{threads}-{i}"));
            let started = named.spawn(move || {
                while let Some(help) = queue.next() {
                    help.join();
                }
            });
            workers.threads.push(started.map_err(|e| RunError::Backend {
                backend: "emulator",
                message: format!("cannot start {n} threads: {e}"),
            })?);
        }
        let workers = Arc::new(workers);
        all.insert((threads, strict), Arc::downgrade(&workers));
        Ok(workers)
    }

    /// Runs `work` on one of the threads that are not the caller's.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (work, result) = (Mutex::new(Some(work)), Mutex::new(None));
        let once = || {
            let work = lock(&work).take();
            *lock(&result) = work.map(|work| work());
        };
        self.lend(&once, 1, false);
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.expect("it has been called")
    }

    /// Calls `work` with each of `items` and its index, on as many threads as there are items and threads for; each
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
            }
            end(memory);
        };
        let seat = self.seat.as_ref().and_then(|seat| seat.try_lock().ok());
        let helpers = n - usize::from(seat.is_some());
        self.lend(&some, helpers.min(self.threads.len()), seat.is_some());
        drop(seat);
        first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, e)| Err(e))
    }

    /// Calls `some` on at most so many threads, and on this one too where it is to work `along`: then those that have
    /// not begun by its end never will. Otherwise it is called at least once.
    ///
    /// # Panics
    /// When a call does.
    fn lend(&self, some: &(dyn Fn() + Sync), threads: usize, along: bool) {
        // SAFETY: only the lifetime changes. `Loan` takes it back below, also when a panic passes through.
        let some: &'static (dyn Fn() + Sync) = unsafe { std::mem::transmute(some) };
        let help = Arc::new(Help { some, now: Mutex::default(), done: Condvar::new() });
        let loan = Loan(&help);
        self.queue.push(&help, threads);
        if along {
            some();
        } else {
            drop(help.wait(|now| !now.begun || now.at_work > 0));
        }
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

/// What waits for threads, first come, first served.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// How many wait, to look at without the lock.
    len: AtomicUsize,
    come: Condvar,
}

#[derive(Default)]
struct Waiting {
    help: VecDeque<Arc<Help>>,
    asleep: usize,
    over: bool,
}

impl Queue {
    /// Asks for so many threads.
    fn push(&self, help: &Arc<Help>, threads: usize) {
        let mut waiting = lock(&self.waiting);
        waiting.help.extend((0..threads).map(|_| Arc::clone(help)));
        self.len.store(waiting.help.len(), Ordering::Relaxed);
        let wake = waiting.asleep.min(threads);
        drop(waiting);
        (0..wake).for_each(|_| self.come.notify_one());
    }

    /// The next, as soon as there is one; `None`: there will be none.
    fn next(&self) -> Option<Arc<Help>> {
        patiently(|| self.len.load(Ordering::Relaxed) > 0);
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(help) = waiting.help.pop_front() {
                self.len.store(waiting.help.len(), Ordering::Relaxed);
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
}

/// A closure that threads are lent for a while.
struct Help {
    some: &'static (dyn Fn() + Sync),
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
    fn join(&self) {
        {
            let mut now = lock(&self.now);
            if now.over {
                return;
            }
            (now.begun, now.at_work) = (true, now.at_work + 1);
        }
        let result = catch_unwind(AssertUnwindSafe(self.some));
        let mut now = lock(&self.now);
        now.panic = result.err().or(now.panic.take());
        now.at_work -= 1;
        if now.at_work == 0 {
            self.done.notify_all();
        }
    }

    fn wait(&self, not_yet: impl Fn(&Now) -> bool) -> MutexGuard<'_, Now> {
        patiently(|| !not_yet(&lock(&self.now)));
        self.done.wait_while(lock(&self.now), |now| not_yet(now)).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends with nobody at work, and nobody who may begin.
struct Loan<'a>(&'a Help);

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        lock(&self.0.now).over = true;
        drop(self.0.wait(|now| now.at_work > 0));
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
        // While another works along, all is done without this thread.
        let seat = with_caller.seat.as_ref().unwrap().lock().unwrap();
        let (threads, sum) = run(&with_caller);
        assert_eq!((threads.contains(&caller), sum), (false, 499_500));
        drop(seat);
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
