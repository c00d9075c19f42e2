//! Answers, until they are responses.

use std::{
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use serde::Serialize;

use super::{encoding, error::HttpError};

/// Where the JSON in a body ends and binary tensors begin.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    content: HeaderValue,
    header: Option<(HeaderName, HeaderValue)>,
    /// Headers that are always the same.
    fixed: &'static [(HeaderName, HeaderValue)],
    /// The body, in pieces that lie where they were made.
    parts: Vec<Bytes>,
    /// Whether it may be compressed. Clients ask for that with every call, and some undo it for inference alone.
    packable: bool,
}

/// Bodies up to this size are put in one piece: copying costs less than more pieces on their way.
const ONE_PIECE: usize = 16 << 10;

impl Answer {
    /// Only a status.
    pub(super) fn status(status: StatusCode) -> Self {
        Self { status, content: JSON, header: None, fixed: &[], parts: Vec::new(), packable: false }
    }

    /// Success with nothing to say.
    pub(super) fn done() -> Self {
        Self::status(StatusCode::OK)
    }

    /// Success, with `value` as JSON.
    pub(super) fn json(value: &impl Serialize) -> Result<Self, HttpError> {
        let json = serde_json::to_vec(value)
            .map_err(|e| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, format_args!("answer: {e}")))?;
        Ok(Self { parts: vec![json.into()], ..Self::done() })
    }

    /// Success, with JSON and the tensors that it announces.
    pub(super) fn tensors(mut json: Vec<u8>, tensors: Vec<Bytes>) -> Self {
        if tensors.is_empty() {
            return Self { parts: vec![json.into()], packable: true, ..Self::done() };
        }
        let header = Some((HEADER_LENGTH, HeaderValue::from(json.len())));
        let size = json.len() + tensors.iter().map(Bytes::len).sum::<usize>();
        let parts = if size <= ONE_PIECE {
            tensors.iter().for_each(|t| json.extend_from_slice(t));
            vec![json.into()]
        } else {
            let filled = tensors.into_iter().filter(|t| !t.is_empty());
            std::iter::once(Bytes::from(json)).chain(filled).collect()
        };
        Self { content: BINARY, header, parts, packable: true, ..Self::done() }
    }

    /// Success, with metrics.
    pub(super) fn metrics(text: String) -> Self {
        Self { content: METRICS, parts: vec![text.into()], packable: true, ..Self::done() }
    }

    /// Success, with a file: its content type, its version as a header, and headers of all files.
    pub(super) fn file(
        content: HeaderValue,
        version: (HeaderName, HeaderValue),
        fixed: &'static [(HeaderName, HeaderValue)],
        body: &'static [u8],
    ) -> Self {
        let parts = vec![Bytes::from_static(body)];
        Self { content, header: Some(version), fixed, parts, ..Self::done() }
    }

    /// The same answer to a client that has the body already.
    pub(super) fn not_modified(self) -> Self {
        Self { status: StatusCode::NOT_MODIFIED, parts: Vec::new(), ..self }
    }

    /// The response, packed as `headers` ask for.
    pub(super) async fn into_response(self, headers: &HeaderMap) -> Response {
        let size = self.parts.iter().map(Bytes::len).sum();
        let mut parts = self.parts;
        let mut packed = None;
        if self.packable
            && let Some(coding) = encoding::of_response(headers, size)
        {
            // Without packing it is as good an answer. The parts are shared, not copied.
            if let Ok(body) = encoding::pack(coding, parts.clone()).await {
                parts = vec![body];
                packed = Some(encoding::header(coding));
            }
        }
        let mut response = Response::new(body(parts));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content);
        headers.extend(self.header);
        headers.extend(self.fixed.iter().cloned());
        headers.extend(packed);
        response
    }
}

impl From<HttpError> for Answer {
    fn from(error: HttpError) -> Self {
        #[derive(Serialize)]
        struct Text<'a> {
            error: &'a str,
        }
        let json = serde_json::to_vec(&Text { error: &error.message }).unwrap_or_default();
        Self { status: error.status, header: error.header, parts: vec![json.into()], ..Self::done() }
    }
}

fn body(mut parts: Vec<Bytes>) -> Body {
    match parts.len() {
        0 => Body::empty(),
        1 => Body::from(parts.remove(0)),
        _ => {
            let left = parts.iter().map(|p| p.len() as u64).sum();
            Body::new(Pieces { parts: parts.into_iter(), left })
        }
    }
}

/// A body whose length is known, sent piece by piece without a copy.
struct Pieces {
    parts: vec::IntoIter<Bytes>,
    left: u64,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = self.parts.next();
        if let Some(part) = &next {
            self.left -= part.len() as u64;
        }
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
