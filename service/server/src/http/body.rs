//! Bodies of requests: the whole in one buffer.

use std::{future::poll_fn, pin::Pin};

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header},
};
use bytes::Bytes;

use super::{encoding, error::HttpError};

/// Bytes that a client's announcement alone may reserve; memory beyond follows the data.
const TRUSTED: usize = 4 << 20;

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
    // Hyper holds the body to the length; what is no number it has refused.
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(HttpError::too_large(limit));
    }
    let Some(first) = frame(&mut body).await? else { return Ok(Bytes::new()) };
    if first.len() > limit {
        return Err(HttpError::too_large(limit));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    let Some(second) = frame(&mut body).await? else { return Ok(first) };
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
        next = frame(&mut body).await?;
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
