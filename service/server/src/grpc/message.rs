//! Messages of a request's body.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use crate::net::Progress;

/// A flag and the length: what precedes each message.
const HEADER: usize = 5;

/// A message comes through when this part of it is there.
const EARNED: usize = 8;

/// A body of gRPC messages. What reads it reserves memory for the length that a message claims, and a claim costs its sender
/// nothing: so a message does not come through before a good part of it is there.
pub(super) struct Messages<B> {
    inner: B,
    limit: usize,
    progress: Progress,
    /// Whether the client may rest between messages.
    rests: bool,
    /// What has come and not gone through, in order.
    held: VecDeque<Bytes>,
    /// Bytes of `held`.
    length: usize,
    /// Bytes that may go through, those of the last message that are still to come included.
    open: usize,
    /// Length of the last message that was let through, its header included.
    last: usize,
    ended: bool,
}

impl<B> Messages<B> {
    pub(super) fn new(inner: B, limit: usize, read_timeout: Duration, rests: bool) -> Self {
        Self {
            inner,
            limit,
            progress: Progress::new(read_timeout),
            rests,
            held: VecDeque::new(),
            length: 0,
            open: 0,
            last: 0,
            ended: false,
        }
    }

    /// Bytes of the message that begins after the open ones, its header included; `None` while its header is not
    /// there.
    fn next_length(&self) -> Result<Option<usize>, Status> {
        if self.length < self.open + HEADER {
            return Ok(None);
        }
        let mut header = self.held.iter().flat_map(|b| b.iter()).skip(self.open + 1);
        let length = [(); 4].map(|()| header.next().copied().unwrap_or(0));
        let length = u32::from_be_bytes(length) as usize;
        if length > self.limit {
            return Err(Status::resource_exhausted(format!(
                "a message of {length} bytes, but the server takes {} at most",
                self.limit
            )));
        }
        Ok(Some(length + HEADER))
    }

    fn push(&mut self, data: Bytes) -> Result<(), Status> {
        self.length += data.len();
        self.held.push_back(data);
        while let Some(next) = self.next_length()? {
            if self.length - self.open < next / EARNED {
                break;
            }
            self.open += next;
            self.last = next;
        }
        Ok(())
    }

    /// A part of an open message.
    fn pop(&mut self) -> Option<Bytes> {
        if self.open == 0 {
            return None;
        }
        let front = self.held.front_mut()?;
        let part = front.split_to(front.len().min(self.open));
        if front.is_empty() {
            self.held.pop_front();
        }
        self.length -= part.len();
        self.open -= part.len();
        Some(part)
    }

    /// Why the body cannot end here, if it cannot.
    fn is_cut(&self) -> Option<Status> {
        // What may go through has gone.
        let (found, expected) = match (self.open, self.length) {
            (0, 0) => return None,
            (0, found) => (found, self.next_length().ok().flatten().unwrap_or(HEADER)),
            (open, _) => (self.last - open, self.last),
        };
        let message = format!("the request ended after {found} of the {expected} bytes of a message");
        Some(Status::invalid_argument(message))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Messages<B>
where
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            if let Some(part) = this.pop() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.progress.step();
                    match frame.into_data() {
                        Ok(data) => {
                            if let Err(status) = this.push(data) {
                                return Poll::Ready(Some(Err(status.into())));
                            }
                        }
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) if !this.ended => {
                    this.ended = true;
                    return Poll::Ready(this.is_cut().map(|status| Err(status.into())));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if this.rests && this.length + this.open == 0 => {
                    this.progress.step();
                    return Poll::Pending;
                }
                Poll::Pending => {
                    return this
                        .progress
                        .poll_overdue(cx)
                        .map(|late| Some(Err(Status::deadline_exceeded(late.to_string()).into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length + self.open == 0 && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt as _;

    /// The parts that come out of a body that comes in the given chunks, and the error at its end.
    async fn through(chunks: &[&[u8]], limit: usize) -> (Vec<Vec<u8>>, Option<Status>) {
        let chunks: Vec<Result<Bytes, std::io::Error>> =
            chunks.iter().map(|c| Ok(Bytes::copy_from_slice(c))).collect();
        let body = axum::body::Body::from_stream(futures_util::stream::iter(chunks));
        let messages = Messages::new(body, limit, Duration::from_secs(1), false);
        let mut parts = Vec::new();
        let mut stream = axum::body::Body::new(messages).into_data_stream();
        while let Some(part) = stream.next().await {
            match part {
                Ok(part) => parts.push(part.to_vec()),
                Err(error) => return (parts, Some(Status::from_error(Box::new(error)))),
            }
        }
        (parts, None)
    }

    #[tokio::test]
    async fn messages_come_out_as_they_came() {
        let message = [0, 0, 0, 0, 3, 1, 2, 3];
        let (parts, error) = through(&[&message], 3).await;
        assert_eq!((parts, error.is_none()), (vec![message.to_vec()], true));
        // Byte by byte, two messages.
        let two = [message, message].concat();
        let single: Vec<&[u8]> = two.chunks(1).collect();
        let (parts, error) = through(&single, 3).await;
        assert!(error.is_none());
        assert_eq!(parts.concat(), two);
        let (parts, error) = through(&single[..15], 3).await;
        assert_eq!(parts.concat(), two[..15]);
        let error = error.unwrap();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
        assert_eq!(error.message(), "the request ended after 7 of the 8 bytes of a message");
        // The end of one and the beginning of another in one chunk.
        let (parts, error) = through(&[&two[..3], &two[3..10], &two[10..]], 3).await;
        assert!(error.is_none());
        assert_eq!(parts.concat(), two);
    }

    #[tokio::test]
    async fn a_claim_is_earned() {
        let mut message = vec![7; 8000 + HEADER];
        message[..HEADER].copy_from_slice(&[0, 0, 0, 0x1f, 0x40]);
        // An eighth less a byte, and an eighth.
        for (found, parts) in [(999, 0), (1000, 1)] {
            let (came, error) = through(&[&message[..found]], 8000).await;
            assert_eq!(came.len(), parts, "{found}");
            let expected = format!("the request ended after {found} of the 8005 bytes of a message");
            assert_eq!(error.unwrap().message(), expected);
        }
        let (parts, error) = through(&[&message[..999], &message[999..3000], &message[3000..]], 8000).await;
        assert!(error.is_none());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [999, 2001, 5005]);
        assert_eq!(parts.concat(), message);
        // The next one has to earn its own.
        let two = [&message[..], &message[..500]].concat();
        let (parts, error) = through(&[&two], 8000).await;
        assert_eq!(parts, [&message[..]]);
        assert_eq!(error.unwrap().message(), "the request ended after 500 of the 8005 bytes of a message");
    }

    #[tokio::test]
    async fn a_claim_beyond_the_limit_is_refused_at_once() {
        let (parts, error) = through(&[&[0, 0, 0, 0, 4], &[1, 2, 3, 4]], 3).await;
        assert!(parts.is_empty());
        assert_eq!(error.unwrap().code(), tonic::Code::ResourceExhausted);
        let (parts, error) = through(&[&[0, 255, 255, 255]], usize::MAX).await;
        assert!(parts.is_empty());
        assert!(error.unwrap().message().contains("after 4 of the 5"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_stops_is_given_up() {
        use std::future::poll_fn;
        // Before it comes through, and in its midst.
        for (length, parts) in [(99, 0), (9, 1)] {
            let first: Result<_, std::io::Error> = Ok(Bytes::copy_from_slice(&[0, 0, 0, 0, length, 1]));
            let stream = futures_util::stream::iter([first]).chain(futures_util::stream::pending());
            let body = axum::body::Body::from_stream(stream);
            let mut messages = Messages::new(body, 100, Duration::from_secs(5), true);
            let began = tokio::time::Instant::now();
            for _ in 0..parts {
                poll_fn(|cx| Pin::new(&mut messages).poll_frame(cx)).await.unwrap().unwrap();
            }
            let frame = poll_fn(|cx| Pin::new(&mut messages).poll_frame(cx)).await.unwrap();
            assert_eq!(Status::from_error(frame.unwrap_err()).code(), tonic::Code::DeadlineExceeded);
            assert_eq!(began.elapsed(), Duration::from_secs(5));
        }
        // Between messages only a client that has one message to send must hurry.
        for (rests, late) in [(true, false), (false, true)] {
            let body = axum::body::Body::from_stream(futures_util::stream::pending::<
                Result<Bytes, std::io::Error>,
            >());
            let mut messages = Messages::new(body, 100, Duration::from_secs(5), rests);
            let next = poll_fn(|cx| Pin::new(&mut messages).poll_frame(cx));
            assert_eq!(tokio::time::timeout(Duration::from_secs(60), next).await.is_ok(), late);
        }
    }
}
