//! Long computations, off the threads that serve connections.

/// Runs `work` here, or, when it is `long`, on a thread for such work.
pub(super) async fn offload<T: Send + 'static>(long: bool, work: impl FnOnce() -> T + Send + 'static) -> T {
    if !long {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime goes down, and takes along who waits here.
            Err(_) => std::future::pending().await,
        },
    }
}
