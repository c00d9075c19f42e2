//! Work that may take minutes and may panic, away from the threads that answer.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use tokio::sync::{Semaphore, oneshot};

/// Stack of a thread: compilers recurse.
const STACK: usize = 8 << 20;

/// Threads for loading, so many at a time.
///
/// They are no threads of the runtime, which waits for its own when the server goes down.
#[derive(Debug, Clone)]
pub(super) struct Threads(Arc<Semaphore>);

impl Threads {
    /// As many as the machine runs at once.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))))
    }

    /// What `work` gives, or why there is nothing.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let permit = Arc::clone(&self.0).acquire_owned().await.map_err(|e| e.to_string())?;
        let (done, wait) = oneshot::channel();
        let run = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            drop(permit);
            // Nobody waits any more when the server goes down.
            let _ = done.send(result.map_err(|payload| format!("loading panicked: {}", message(&*payload))));
        };
        std::thread::Builder::new()
            .name("load".to_owned())
            .stack_size(STACK)
            .spawn(run)
            .map_err(|e| format!("cannot start a thread: {e}"))?;
        wait.await.map_err(|_| "loading was given up".to_owned())?
    }
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
