//! The threads that blocks run on, shared by all emulators.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use hs_runtime::RunError;

/// A number of threads, of which the caller's may be one.
pub(crate) struct Workers {
    pool: rayon::ThreadPool,
    /// Where the caller works along; one at a time, so that there are never more threads than there should be.
    seat: Option<Mutex<()>>,
}

impl Workers {
    /// The threads of all emulators with so many, as long as there is one. `strict`: none of them is the caller's.
    pub(crate) fn shared(threads: usize, strict: bool) -> Result<Arc<Self>, RunError> {
        static ALL: Mutex<BTreeMap<(usize, bool), Weak<Workers>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(workers) = all.get(&(threads, strict)).and_then(Weak::upgrade) {
            return Ok(workers);
        }
        let n = if strict { threads } else { (threads - 1).max(1) };
        let name = move |i| format!("emulator-{threads}-{i}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).thread_name(name).build().map_err(|e| {
            RunError::Backend { backend: "emulator", message: format!("cannot start {n} threads: {e}") }
        })?;
        let workers = Arc::new(Self { pool, seat: (!strict).then(Mutex::default) });
        all.insert((threads, strict), Arc::downgrade(&workers));
        Ok(workers)
    }

    /// Runs `work` on one of the threads that are not the caller's.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Calls `work` with each of `items` and its index, on as many threads as there are items and threads for; each
    /// gets memory of its own by `begin` and gives it to `end`. Of several errors that of the first item counts.
    pub(crate) fn each<I: ExactSizeIterator<Item: Send> + Send, M>(
        &self,
        items: I,
        (begin, end): (impl Fn() -> M + Sync, impl Fn(M) + Sync),
        work: impl Fn(usize, I::Item, &mut M) -> Result<(), RunError> + Sync,
    ) -> Result<(), RunError> {
        let n = items.len();
        let left = Mutex::new(items.enumerate());
        let first: Mutex<Option<(usize, RunError)>> = Mutex::new(None);
        let some = || {
            let mut memory = begin();
            // The lock is not held while an item is worked on.
            while let Some((i, item)) = take(&left) {
                if let Err(e) = work(i, item, &mut memory) {
                    let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                    if first.as_ref().is_none_or(|(at, _)| i < *at) {
                        *first = Some((i, e));
                    }
                }
            }
            end(memory);
        };
        self.pool.in_place_scope(|scope| {
            let seat = self.seat.as_ref().and_then(|seat| seat.try_lock().ok());
            let helpers = n - usize::from(seat.is_some()).min(n);
            for _ in 0..helpers.min(self.pool.current_num_threads()) {
                scope.spawn(|_| some());
            }
            if seat.is_some() {
                some();
            }
        });
        first.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), |(_, e)| Err(e))
    }
}

fn take<T>(items: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    items.lock().unwrap_or_else(PoisonError::into_inner).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::BTreeSet,
        thread::{self, ThreadId},
    };

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
}
