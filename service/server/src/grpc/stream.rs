//! `ModelStreamInfer`: requests and answers over one call.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, stream::FuturesOrdered};
use hs_proto::{ModelInferRequest, ModelInferResponse, ModelStreamInferResponse};
use hs_serve::{ServeError, Server};
use tonic::{Request, Status, Streaming};

use crate::net::{Trace, trace_of};

use super::{infer::infer, parameters::bool_param, status};

/// Requests of one stream that are under way at a time; more wait at the client.
const AT_A_TIME: usize = 128;

/// Metadata by which a client asks for errors that end the stream, with their code.
const GRPC_ERROR: &str = "triton_grpc_error";

type Answer = Result<ModelStreamInferResponse, (String, ServeError)>;

/// The answers to a stream of requests, in their order; the requests run side by side.
pub(super) struct Answers {
    server: Arc<Server>,
    /// Its end is the end of the stream.
    trace: Option<Arc<Trace>>,
    requests: Option<Streaming<ModelInferRequest>>,
    running: FuturesOrdered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether errors end the stream.
    errors_end: bool,
}

impl Answers {
    pub(super) fn new(server: Arc<Server>, request: Request<Streaming<ModelInferRequest>>) -> Self {
        let errors_end = request.metadata().get(GRPC_ERROR).is_some_and(|v| v.as_bytes() == b"true");
        let draining = Box::pin(super::draining(&request));
        let trace = trace_of(request.extensions()).cloned();
        let requests = Some(request.into_inner());
        Self { server, trace, requests, running: FuturesOrdered::new(), draining, errors_end }
    }

    /// Starts what clients have sent. An error ends the stream.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while self.running.len() < AT_A_TIME {
            let Some(requests) = &mut self.requests else { return Ok(()) };
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(request)) => {
                    let request = request?;
                    let (server, trace) = (Arc::clone(&self.server), self.trace.clone());
                    self.running.push_back(Box::pin(async move {
                        let id = request.id.clone();
                        infer(&server, trace.as_deref(), request)
                            .await
                            .map(answer)
                            .map_err(|error| (id, error))
                    }));
                }
            }
        }
        Ok(())
    }
}

fn answer(mut response: ModelInferResponse) -> ModelStreamInferResponse {
    // Each request has one answer.
    response.parameters.insert("triton_final_response".to_owned(), bool_param(true));
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
}

fn failure(id: String, error: ServeError) -> ModelStreamInferResponse {
    let response = ModelInferResponse { id, ..Default::default() };
    ModelStreamInferResponse { error_message: error.message, ..answer(response) }
}

impl Stream for Answers {
    type Item = Result<ModelStreamInferResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Err(status) = this.poll_requests(cx) {
            (this.requests, this.running) = (None, FuturesOrdered::new());
            return Poll::Ready(Some(Err(status)));
        }
        if this.running.is_empty() {
            if this.requests.is_none() {
                return Poll::Ready(None);
            }
            ready!(this.draining.as_mut().poll(cx));
            this.requests = None;
            return Poll::Ready(Some(Err(Status::unavailable("the server is shutting down"))));
        }
        match ready!(Pin::new(&mut this.running).poll_next(cx)) {
            Some(Ok(response)) => Poll::Ready(Some(Ok(response))),
            Some(Err((_, error))) if this.errors_end => {
                (this.requests, this.running) = (None, FuturesOrdered::new());
                Poll::Ready(Some(Err(status(error))))
            }
            Some(Err((id, error))) => Poll::Ready(Some(Ok(failure(id, error)))),
            None => Poll::Ready(None),
        }
    }
}
