//! Bodies of requests and answers.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::{HeaderMap, body::Incoming};

/// Tensors up to this size are copied to their neighbours: a frame of their own would cost more.
const SMALL: usize = 8 << 10;
/// Memory for an answer that is reserved on its sender's word.
const RESERVED: usize = 64 << 20;

/// What is sent, put together once; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    parts: Arc<[Bytes]>,
    length: usize,
}

impl Parts {
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn empty() -> Self {
        Builder::default().finish()
    }

    pub(crate) fn body(&self) -> Sent {
        Sent { parts: self.parts.clone(), next: 0, left: self.length as u64 }
    }
}

/// Puts [`Parts`] together.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    done: Vec<Bytes>,
    small: Vec<u8>,
}

impl Builder {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.small.extend_from_slice(bytes);
    }

    /// Shares a tensor's memory, unless it is small.
    pub(crate) fn tensor(&mut self, data: &Bytes) {
        if data.len() <= SMALL {
            return self.bytes(data);
        }
        self.flush();
        self.done.push(data.clone());
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.done.push(std::mem::take(&mut self.small).into());
        }
    }

    pub(crate) fn finish(mut self) -> Parts {
        self.flush();
        let length = self.done.iter().map(Bytes::len).sum();
        Parts { parts: self.done.into(), length }
    }
}

/// Parts on their way.
#[derive(Debug)]
pub(crate) struct Sent {
    parts: Arc<[Bytes]>,
    next: usize,
    left: u64,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(part) = self.parts.get(self.next).cloned() else { return Poll::Ready(None) };
        self.next += 1;
        self.left -= part.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.next == self.parts.len()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// All of an answer's body, and its trailers. What comes in one piece is not copied.
pub(crate) async fn receive(mut body: Incoming) -> Result<(Bytes, Option<HeaderMap>), hyper::Error> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(RESERVED).min(RESERVED);
    let (mut first, mut all, mut trailers) = (Bytes::new(), Vec::new(), None);
    while let Some(frame) = next_frame(&mut body).await {
        match frame?.into_data() {
            Ok(data) if all.is_empty() && first.is_empty() => first = data,
            Ok(data) => {
                if all.is_empty() {
                    all.reserve(expected.max(first.len() + data.len()));
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((if all.is_empty() { first } else { all.into() }, trailers))
}

async fn next_frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}
