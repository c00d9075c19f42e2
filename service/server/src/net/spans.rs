//! What there is to tell of a call: spans, in the form of OpenTelemetry, for an exporter.
//!
//! A [`Tracer`] makes a [`Trace`] of each call. Whether it is recorded is decided when the model is known; when the last
//! who works on the call has dropped it, its spans go to the exporter, or are dropped where that cannot keep up.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::Request,
    http::{Extensions, HeaderMap, Method, StatusCode, Uri},
};
use hs_serve::{InferRequest, InferResponse, ServeError, Server, scheduler::Times};
use tokio::sync::mpsc;

use super::{Dialect, Group, Peer, TraceParent};
use crate::http::routes::Route;

/// Traces that wait for the exporter at most.
const WAITING: usize = 4096;

/// A part of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace's number; not 0.
    pub trace: u128,
    /// Its own number; not 0.
    pub id: u64,
    /// The span that it is part of.
    pub parent: Option<u64>,
    /// What was done.
    pub name: String,
    /// Whether it is the server's side of a call, rather than a part of its work.
    pub is_server: bool,
    /// Begin, nanoseconds since 1970.
    pub start: u64,
    /// End, nanoseconds since 1970.
    pub end: u64,
    /// More about it, under the names of OpenTelemetry's conventions where there are some.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Whether it failed, and it was not the client's fault.
    pub failed: bool,
}

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanValue {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// True or false.
    Switch(bool),
}

impl From<&str> for SpanValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Makes traces of calls.
#[derive(Debug)]
pub struct Tracer {
    server: Arc<Server>,
    finished: mpsc::Sender<Vec<Span>>,
    dropped: Arc<AtomicU64>,
    /// Numbers that nobody can guess, out of a sequence.
    random: RandomState,
    sequence: AtomicU64,
}

/// The exporter's end of a [`Tracer`].
#[derive(Debug)]
pub struct Traces {
    finished: mpsc::Receiver<Vec<Span>>,
    dropped: Arc<AtomicU64>,
}

impl Traces {
    /// Waits for a trace and appends its spans; false: there will be no more.
    pub async fn next(&mut self, spans: &mut Vec<Span>) -> bool {
        match self.finished.recv().await {
            Some(trace) => {
                spans.extend(trace);
                true
            }
            None => false,
        }
    }

    /// Traces that found no room since this was last asked.
    pub fn dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Tracer {
    /// A tracer that records what the server's trace settings say.
    pub fn new(server: Arc<Server>) -> (Arc<Self>, Traces) {
        let (send, finished) = mpsc::channel(WAITING);
        let dropped = Arc::<AtomicU64>::default();
        let tracer = Self {
            server,
            finished: send,
            dropped: Arc::clone(&dropped),
            random: RandomState::new(),
            sequence: AtomicU64::new(0),
        };
        (Arc::new(tracer), Traces { finished, dropped })
    }

    /// Begins the trace of a call, in its extensions from now on. Health is asked too often to be worth one.
    pub(super) fn begin(
        self: &Arc<Self>,
        dialect: Dialect,
        group: Option<Group>,
        request: &mut Request,
    ) -> Option<Arc<Trace>> {
        if group == Some(Group::Health) {
            return None;
        }
        let trace = Arc::new(Trace {
            tracer: Arc::clone(self),
            dialect,
            is_inference: group == Some(Group::Inference),
            method: request.method().clone(),
            uri: request.uri().clone(),
            client: request.extensions().get::<Peer>().map(|p| p.address().ip()),
            parent: TraceParent::of(request.headers()),
            began: Instant::now(),
            clock: SystemTime::now(),
            state: Mutex::default(),
        });
        request.extensions_mut().insert(Arc::clone(&trace));
        Some(trace)
    }

    fn number(&self) -> u64 {
        loop {
            let number = self.random.hash_one(self.sequence.fetch_add(1, Ordering::Relaxed));
            if number != 0 {
                return number;
            }
        }
    }
}

/// What is known of a call so far.
#[derive(Debug)]
pub(crate) struct Trace {
    tracer: Arc<Tracer>,
    dialect: Dialect,
    is_inference: bool,
    method: Method,
    uri: Uri,
    client: Option<IpAddr>,
    parent: Option<TraceParent>,
    /// The same moment on two clocks.
    began: Instant,
    clock: SystemTime,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whether it is recorded, once that is decided.
    wanted: Option<bool>,
    answer: Option<Answer>,
    runs: Vec<Run>,
}

/// How a call was answered.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Http(StatusCode),
    Grpc(tonic::Code),
}

/// An inference that was run.
#[derive(Debug)]
struct Run {
    model: Arc<str>,
    version: u64,
    backend: Arc<str>,
    exact: bool,
    times: Times,
}

/// The trace of the call that these extensions belong to.
pub(crate) fn of(extensions: &Extensions) -> Option<&Arc<Trace>> {
    extensions.get::<Arc<Trace>>()
}

/// Has the server answer a request, and notes how it went.
pub(crate) async fn infer(
    server: &Server,
    trace: Option<&Trace>,
    request: InferRequest,
) -> Result<InferResponse, ServeError> {
    let Some(trace) = trace else { return server.infer(request).await };
    let wanted = trace.wanted(&request.model);
    let response = server.infer(request).await?;
    if wanted {
        trace.state().runs.push(Run {
            model: Arc::clone(&response.model),
            version: response.version,
            backend: Arc::clone(&response.backend),
            exact: response.exact,
            times: response.times,
        });
    }
    Ok(response)
}

impl Trace {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self, model: &str) -> bool {
        let caller = self.parent.as_ref().map(TraceParent::sampled);
        // The settings count inferences. What else is asked is worth a span to callers that record it.
        let counts = self.is_inference || caller == Some(true);
        let settings = self.tracer.server.settings();
        *self.state().wanted.get_or_insert_with(|| counts && settings.records(model, caller))
    }

    /// Notes the head of the answer.
    pub(super) fn answered(&self, status: StatusCode, headers: &HeaderMap) {
        let answer = match self.dialect {
            Dialect::Http => Answer::Http(status),
            // Of calls that succeed, the trailers say so.
            Dialect::Grpc => Answer::Grpc(
                headers.get("grpc-status").map_or(tonic::Code::Ok, |v| tonic::Code::from_bytes(v.as_bytes())),
            ),
        };
        self.state().answer = Some(answer);
    }

    /// Nanoseconds since 1970.
    fn at(&self, time: Instant) -> u64 {
        let since = time.saturating_duration_since(self.began);
        let unix = self.clock.duration_since(UNIX_EPOCH).unwrap_or_default() + since;
        u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The span of the whole call.
    fn call(&self, trace: u128, answer: Option<Answer>) -> Span {
        let path = self.uri.path();
        let mut attributes: Vec<(&'static str, SpanValue)> = Vec::with_capacity(6);
        let name = match self.dialect {
            Dialect::Http => {
                attributes.push(("http.request.method", self.method.as_str().into()));
                attributes.push(("url.path", path.into()));
                match Route::parse(path).map(|route| route.pattern()) {
                    Some(pattern) => {
                        attributes.push(("http.route", pattern.into()));
                        format!("{} {pattern}", self.method)
                    }
                    None => self.method.to_string(),
                }
            }
            Dialect::Grpc => {
                attributes.push(("rpc.system", "grpc".into()));
                let name = path.trim_start_matches('/');
                if let Some((service, method)) = name.split_once('/') {
                    attributes.push(("rpc.service", service.into()));
                    attributes.push(("rpc.method", method.into()));
                }
                name.to_owned()
            }
        };
        attributes.extend(self.client.map(|ip| ("client.address", SpanValue::Text(ip.to_string()))));
        let error = match answer {
            None => Some("cancelled".to_owned()),
            Some(Answer::Http(status)) => {
                attributes.push(("http.response.status_code", SpanValue::Number(status.as_u16().into())));
                status.is_server_error().then(|| status.as_u16().to_string())
            }
            Some(Answer::Grpc(code)) => {
                use tonic::Code::{
                    DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown,
                };
                attributes.push(("rpc.grpc.status_code", SpanValue::Number(i32::from(code).into())));
                let ours = [Unknown, DeadlineExceeded, Unimplemented, Internal, Unavailable, DataLoss];
                ours.contains(&code).then(|| i32::from(code).to_string())
            }
        };
        let failed = error.is_some();
        attributes.extend(error.map(|error| ("error.type", SpanValue::Text(error))));
        let parent = self.parent.as_ref().and_then(|p| u64::from_str_radix(p.parent_id(), 16).ok());
        let (start, end) = (self.at(self.began), self.at(Instant::now()));
        Span {
            trace,
            id: self.tracer.number(),
            parent,
            name,
            is_server: true,
            start,
            end,
            attributes,
            failed,
        }
    }

    /// The waiting of an inference, and its computation.
    fn parts(&self, run: &Run, call: &Span) -> [Span; 2] {
        let Run { model, version, backend, exact, times } = run;
        let model = [
            ("hypersonic.model.name", SpanValue::from(&**model)),
            ("hypersonic.model.version", SpanValue::Text(version.to_string())),
        ];
        let span = |name: &str, start: Instant, end: Instant, attributes| Span {
            trace: call.trace,
            id: self.tracer.number(),
            parent: Some(call.id),
            name: name.to_owned(),
            is_server: false,
            start: self.at(start),
            end: self.at(end),
            attributes,
            failed: false,
        };
        let mut more = model.to_vec();
        more.push(("hypersonic.backend", (&**backend).into()));
        more.push(("hypersonic.exact", SpanValue::Switch(*exact)));
        more.push(("hypersonic.batch.rows", SpanValue::Number(times.rows as i64)));
        [
            span("queue", times.arrived, times.started, model.to_vec()),
            span("compute", times.started, times.ended, more),
        ]
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if !self.wanted("") {
            return;
        }
        let (answer, runs) = {
            let mut state = self.state();
            (state.answer, std::mem::take(&mut state.runs))
        };
        let id = match &self.parent {
            Some(parent) => u128::from_str_radix(parent.trace_id(), 16).unwrap_or(1),
            None => (u128::from(self.tracer.number()) << 64) | u128::from(self.tracer.number()),
        };
        let call = self.call(id, answer);
        let parts: Vec<Span> = runs.iter().flat_map(|run| self.parts(run, &call)).collect();
        let spans = std::iter::once(call).chain(parts).collect();
        if self.tracer.finished.try_send(spans).is_err() {
            self.tracer.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use hs_serve::{LoadRequest, LoadedModel, ModelControl, ModelLoader, ServerOptions};

    use super::*;

    struct Nothing;

    impl ModelLoader for Nothing {
        fn load(&self, _: &LoadRequest<'_>) -> Result<LoadedModel, String> {
            Err("nothing is loaded".to_owned())
        }
        fn backends(&self) -> Vec<(String, bool, String)> {
            Vec::new()
        }
    }

    fn tracer() -> (Arc<Tracer>, Traces) {
        let options = ServerOptions {
            name: "test".to_owned(),
            repositories: Vec::new(),
            control: ModelControl::None,
            load_models: Vec::new(),
            strict_readiness: false,
            strict_config: false,
            client_shm: false,
            max_requests: 1,
        };
        let server = Server::new(options, Arc::new(Nothing));
        let on = [("trace_level", "TIMESTAMPS"), ("trace_rate", "1")];
        let on = on.map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        server.settings().update_trace("", on).unwrap();
        Tracer::new(server)
    }

    fn call(tracer: &Arc<Tracer>, path: &str) -> Option<Arc<Trace>> {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        let trace = tracer.begin(Dialect::Http, Group::of(Dialect::Http, path), &mut request);
        assert_eq!(of(request.extensions()).is_some(), trace.is_some());
        trace
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted() {
        let (tracer, mut traces) = tracer();
        for _ in 0..WAITING + 3 {
            drop(call(&tracer, "/v2/models/m/infer"));
        }
        assert_eq!((traces.dropped(), traces.dropped()), (3, 0));
        let mut spans = Vec::new();
        assert!(traces.next(&mut spans).await);
        drop(call(&tracer, "/v2/models/m/infer"));
        assert_eq!(traces.dropped(), 0);
        drop(tracer);
        while traces.next(&mut spans).await {}
        assert_eq!(spans.len(), WAITING + 1);
    }

    #[tokio::test]
    async fn only_inference_is_recorded_unasked() {
        let (tracer, mut traces) = tracer();
        assert!(call(&tracer, "/v2/health/live").is_none());
        drop(call(&tracer, "/v2"));
        let trace = call(&tracer, "/v2/models/m/infer").unwrap();
        trace.answered(StatusCode::SERVICE_UNAVAILABLE, &HeaderMap::new());
        drop((trace, tracer));
        let mut spans = Vec::new();
        while traces.next(&mut spans).await {}
        let [span] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((&*span.name, span.is_server, span.failed), ("POST /v2/models/{model}/infer", true, true));
        assert!(span.attributes.contains(&("error.type", "503".into())));
        assert!(span.start > 0 && span.start <= span.end && span.parent.is_none() && span.trace > 0);
    }
}
