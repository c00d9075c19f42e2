//! The frame of every call: its deadline, and messages that must be whole.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    response::Response,
    routing::{Route, future::RouteFuture},
};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::Service;

use super::{Options, message::Messages};

/// The longest deadline taken at its word. Clients that never set theirs send what lay in memory.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Header of the deadline.
const HEADER: &str = "grpc-timeout";

/// The only call whose client may rest between messages.
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// Ends calls whose deadline has passed, and with them the work; gives them whole messages.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    inner: Route,
    options: Options,
}

impl Calls {
    pub(super) fn new(inner: Route, options: Options) -> Self {
        Self { inner, options }
    }
}

impl Service<Request> for Calls {
    type Response = Response;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Route as Service<Request>>::poll_ready(&mut self.inner, cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let header = request.headers().get(HEADER).and_then(|v| v.to_str().ok());
        let deadline = header.and_then(parse).map(|limit| Box::pin(sleep(limit.min(LONGEST))));
        let rests = request.uri().path() == STREAM;
        let Options { max_message, read_timeout, .. } = self.options;
        let request = request.map(|body| Body::new(Messages::new(body, max_message, read_timeout, rests)));
        Answer { inner: self.inner.call(request), deadline }
    }
}

/// The answer, or that the deadline has passed.
pub(super) struct Answer {
    inner: RouteFuture<Infallible>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Future for Answer {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = Pin::new(&mut self.inner).poll(cx) {
            return Poll::Ready(answer);
        }
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        deadline
            .as_mut()
            .poll(cx)
            .map(|()| Ok(Status::deadline_exceeded("the deadline of the call has passed").into_http()))
    }
}

/// At most eight digits and a unit; `None`: no deadline that can be understood.
fn parse(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_parsed_or_ignored() {
        let second = Duration::from_secs(1);
        for (header, expected) in [
            ("1S", Some(second)),
            ("1000m", Some(second)),
            ("1000000u", Some(second)),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("2M", Some(120 * second)),
            ("99999999H", Some(Duration::from_secs(3600 * 99_999_999))),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "1\u{e9}", "\u{e9}", " 1S"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
