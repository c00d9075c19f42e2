//! How many requests may be inside at a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use crate::ServeError;

/// A count of the requests inside, with a limit.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    inside: AtomicUsize,
    left: Notify,
}

/// One request inside; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Admitted<'a>(&'a Admission);

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, inside: AtomicUsize::new(0), left: Notify::new() }
    }

    /// Lets a request in, or says at once that there are too many.
    pub(crate) fn enter(&self) -> Result<Admitted<'_>, ServeError> {
        let before = self.inside.fetch_add(1, Ordering::AcqRel);
        let admitted = Admitted(self);
        if before < self.limit {
            return Ok(admitted);
        }
        Err(ServeError::unavailable(format!(
            "the server is at its limit of {} requests at a time; try again later or elsewhere",
            self.limit
        )))
    }

    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::Acquire)
    }

    /// Waits until nobody is inside, at most `limit`; how many are left.
    pub(crate) async fn empty(&self, limit: Duration) -> usize {
        let wait = async {
            loop {
                let left = self.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                if self.inside() == 0 {
                    break;
                }
                left.await;
            }
        };
        let _ = tokio::time::timeout(limit, wait).await;
        self.inside()
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[tokio::test]
    async fn the_limit_holds_and_leaving_is_noticed() {
        let door = Admission::new(2);
        let (a, b) = (door.enter().unwrap(), door.enter().unwrap());
        assert_eq!(door.enter().unwrap_err().code, Code::Unavailable);
        assert_eq!(door.inside(), 2);
        drop(a);
        drop(door.enter().unwrap());
        assert_eq!(door.empty(Duration::from_millis(1)).await, 1);
        let wait = door.empty(Duration::from_secs(60));
        tokio::pin!(wait);
        tokio::select! { biased; _ = &mut wait => unreachable!(), () = async { drop(b) } => {} }
        assert_eq!(wait.await, 0);
    }
}
