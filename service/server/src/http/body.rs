//! Bodies of requests: the whole in one buffer.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, StatusCode, header},
};
use bytes::Bytes;

use super::{encoding, error::HttpError};

/// Bytes that a client's announcement alone may reserve; memory beyond follows the data.
const TRUSTED: usize = 4 << 20;

/// How long a client may go on sending a body that was refused.
const LINGER: Duration = Duration::from_secs(2);

/// Reads a body, unpacked: at most `limit` bytes, on the wire and unpacked.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, HttpError> {
    let coding = encoding::of_request(headers)?;
    let packed = collect(headers, body, limit).await?;
    match coding {
        Some(coding) if !packed.is_empty() => encoding::unpack(coding, packed, limit).await,
        _ => Ok(packed),
    }
}

async fn collect(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Bytes, HttpError> {
    let collected = collect_from(headers, &mut body, limit).await;
    if collected.as_ref().is_err_and(|e| e.status == StatusCode::PAYLOAD_TOO_LARGE)
        && !headers.contains_key(header::EXPECT)
    {
        // Most clients read the answer after they have sent all; a connection that closes before would lose it.
        tokio::spawn(tokio::time::timeout(LINGER, async move {
            while let Ok(Some(_)) = frame(&mut body).await {}
        }));
    }
    collected
}

async fn collect_from(headers: &HeaderMap, body: &mut Body, limit: usize) -> Result<Bytes, HttpError> {
    // Hyper holds the body to the length; what is no number it has refused.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(HttpError::too_large(limit));
    }
    let Some(first) = frame(body).await? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        return Err(HttpError::too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = frame(body).await? else { return Ok(first) };
    let least = first.len() + second.len();
    let mut whole = Vec::with_capacity(least.max(length.unwrap_or(0).min(TRUSTED)));
    whole.extend_from_slice(&first);
    drop(first);
    let mut next = Some(second);
    while let Some(data) = next {
        let size = whole.len() + data.len();
        if size > limit {
            return Err(HttpError::too_large(limit));
        }
        if size > whole.capacity() {
            // Doubled, so that the copies stay in proportion, but no further than the end.
            let end = length.unwrap_or(usize::MAX).max(size);
            whole.reserve_exact((2 * size).min(end) - whole.len());
        }
        whole.extend_from_slice(&data);
        drop(data);
        next = frame(body).await?;
    }
    Ok(whole.into())
}

/// The next data of a body; trailers are dropped.
async fn frame(body: &mut Body) -> Result<Option<Bytes>, HttpError> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Err(e)) => return Err(HttpError::bad(format_args!("the body broke off: {e}"))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Ok(Some(data)),
                Err(_) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        task::{Context, Poll},
    };

    use http_body::Frame;

    use super::*;

    /// A body of these frames, which knows its end when it gives the last.
    struct Frames(VecDeque<Bytes>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|b| Ok(Frame::data(b))))
        }
        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    async fn read_frames(
        frames: &[&'static [u8]],
        length: Option<usize>,
        limit: usize,
    ) -> Result<Bytes, u16> {
        let headers = length.map(|length| (header::CONTENT_LENGTH, length.into()));
        let body = Body::new(Frames(frames.iter().map(|f| Bytes::from_static(f)).collect()));
        read(&headers.into_iter().collect(), body, limit).await.map_err(|e| e.status.as_u16())
    }

    #[tokio::test]
    async fn frames_become_one_buffer() {
        for length in [None, Some(6), Some(usize::MAX >> 1)] {
            let limit = length.unwrap_or(6);
            let body = read_frames(&[b"ab", b"", b"c", b"def"], length, limit).await;
            assert_eq!(body.as_deref(), Ok(&b"abcdef"[..]));
        }
        assert_eq!(read_frames(&[], None, 6).await.as_deref(), Ok(&b""[..]));
        assert_eq!(read_frames(&[b""], None, 6).await.as_deref(), Ok(&b""[..]));
    }

    #[tokio::test]
    async fn one_frame_is_taken_as_it_is() {
        static DATA: [u8; 4] = *b"abcd";
        let body = read_frames(&[&DATA], Some(4), 4).await.unwrap();
        assert_eq!(body.as_ptr(), DATA.as_ptr());
    }

    #[tokio::test]
    async fn the_limit_holds_announced_or_not() {
        assert_eq!(read_frames(&[b"abc"], Some(3), 2).await, Err(413));
        assert_eq!(read_frames(&[b"abc"], None, 2).await, Err(413));
        assert_eq!(read_frames(&[b"a", b"b", b"c"], None, 2).await, Err(413));
        assert_eq!(read_frames(&[b"a", b"b", b"c"], None, 3).await.as_deref(), Ok(&b"abc"[..]));
    }
}
