//! What a connection is doing, for its deadlines.
//!
//! An idle connection costs little and may stay. One that has begun a request's head must end it, and one that is
//! being written to must take what it is sent.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Shared by a connection's bytes ([`Watched`]), its requests ([`Busy`]) and its deadlines ([`Watchdog`]). All are
/// polled by the connection's own task, so nothing here needs to wake anybody.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// Since when the head of a request is under way, in milliseconds since the start, plus one; 0: it is not.
    head: AtomicU64,
    /// Since when the peer takes nothing of what is being written, likewise.
    stalled: AtomicU64,
    /// Whether a request is being answered.
    busy: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        // A peer that connects has to say something.
        Arc::new(Self {
            start: Instant::now(),
            head: AtomicU64::new(1),
            stalled: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A request's head has arrived; its service runs until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> Busy {
        self.head.store(0, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }
}

/// A request of HTTP/1.1 is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// Whether the connection speaks HTTP/2, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// This many bytes of the preface have come.
    Perhaps(usize),
    /// One request after the other, each with a head that must end.
    Http1,
    /// Frames at any time. Pings find out whether the peer is there.
    Http2,
}

/// A connection's bytes, watched.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
    speaks: Speaks,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity, speaks: Speaks::Perhaps(0) }
    }

    fn received(&mut self, bytes: &[u8]) {
        if let Speaks::Perhaps(seen) = self.speaks {
            let expected = &PREFACE[seen..];
            let length = bytes.len().min(expected.len());
            if bytes[..length] != expected[..length] {
                self.speaks = Speaks::Http1;
            } else if length == expected.len() {
                self.speaks = Speaks::Http2;
                self.activity.head.store(0, Ordering::Relaxed);
            } else {
                self.speaks = Speaks::Perhaps(seen + length);
            }
        }
        if self.speaks == Speaks::Http1
            && !self.activity.busy.load(Ordering::Relaxed)
            && self.activity.head.load(Ordering::Relaxed) == 0
        {
            self.activity.head.store(self.activity.now(), Ordering::Relaxed);
        }
    }

    fn written<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalled = &self.activity.stalled;
        if result.is_ready() {
            if stalled.load(Ordering::Relaxed) != 0 {
                stalled.store(0, Ordering::Relaxed);
            }
        } else if stalled.load(Ordering::Relaxed) == 0 {
            stalled.store(self.activity.now(), Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() && this.speaks != Speaks::Http2 {
            this.received(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.written(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_flush(cx);
        this.written(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.inner).poll_shutdown(cx);
        this.written(result)
    }
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request did not end.
    Head,
    /// The peer takes nothing.
    Stalled,
}

/// Ends connections that are overdue. To be polled after the connection, by its task.
#[derive(Debug)]
pub(super) struct Watchdog {
    activity: Arc<Activity>,
    head: Duration,
    stalled: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watchdog {
    pub(super) fn new(activity: Arc<Activity>, head: Duration, stalled: Duration) -> Self {
        Self { activity, head, stalled, timer: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let deadline = |since: &AtomicU64, limit: Duration, why| {
                let since = since.load(Ordering::Relaxed).checked_sub(1)?;
                let at =
                    self.activity.start.checked_add(Duration::from_millis(since).saturating_add(limit))?;
                Some((at, why))
            };
            let head = deadline(&self.activity.head, self.head, Overdue::Head);
            let stalled = deadline(&self.activity.stalled, self.stalled, Overdue::Stalled);
            let Some((at, why)) = head.into_iter().chain(stalled).min_by_key(|(at, _)| *at) else {
                // Memory of idle connections counts.
                self.timer = None;
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(why);
            }
        }
    }
}
