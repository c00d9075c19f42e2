//! Bodies that must make progress.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// A client began to send a body and then sent nothing for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client sent nothing more of the request for {} s, and it is not complete", .0.as_secs_f32())]
pub struct ReadTimeout(pub Duration);

/// A deadline between steps that costs nothing while steps do not have to be waited for.
#[derive(Debug)]
pub(crate) struct Progress {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Progress {
    /// At most `limit` between two steps.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, timer: None, waiting: false }
    }

    /// Something came, or nothing is expected for now.
    pub(crate) fn step(&mut self) {
        self.waiting = false;
    }

    /// Nothing came yet; ready when that has lasted too long.
    pub(crate) fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<ReadTimeout> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.waiting {
            self.waiting = true;
            if let Some(at) = Instant::now().checked_add(limit) {
                timer.as_mut().reset(at);
            }
        }
        timer.as_mut().poll(cx).map(|()| ReadTimeout(limit))
    }
}

/// A request's body, each part of which must come within a time after the one before.
#[derive(Debug)]
pub(super) struct Timed<B> {
    inner: B,
    progress: Progress,
}

impl<B> Timed<B> {
    pub(super) fn new(inner: B, limit: Duration) -> Self {
        Self { inner, progress: Progress::new(limit) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Timed<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.progress.step();
                Poll::Ready(frame.map(|f| f.map_err(Into::into)))
            }
            Poll::Pending => this.progress.poll_overdue(cx).map(|e| Some(Err(Box::new(e) as BoxError))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
