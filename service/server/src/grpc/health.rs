//! `grpc.health.v1.Health`: what probes and balancers ask.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use hs_serve::Server;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health,
};

/// Time between two looks for those who watch.
const LOOK: Duration = Duration::from_millis(250);

/// Health of the server as a whole, under the empty name and the one of the inference service.
#[derive(Debug)]
pub(super) struct HealthService {
    server: Arc<Server>,
}

impl HealthService {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }
}

fn known(service: &str) -> bool {
    ["", hs_proto::grpc_inference_service_server::SERVICE_NAME].contains(&service)
}

fn answer(server: &Server, service: &str) -> HealthCheckResponse {
    let status = match (known(service), server.is_ready()) {
        (false, _) => ServingStatus::ServiceUnknown,
        (true, false) => ServingStatus::NotServing,
        (true, true) => ServingStatus::Serving,
    };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !known(&service) {
            return Err(Status::not_found(format!("there is no service '{service}'")));
        }
        Ok(Response::new(answer(&self.server, &service)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The status now, and then each time it changes; also of a service that is not there, as the protocol has it.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let draining = super::draining(&request);
        let service = request.into_inner().service;
        let server = Arc::clone(&self.server);
        let statuses = stream::unfold(None, move |last| {
            let (server, service) = (Arc::clone(&server), service.clone());
            async move {
                let mut now = answer(&server, &service);
                while Some(now) == last {
                    tokio::time::sleep(LOOK).await;
                    now = answer(&server, &service);
                }
                Some((Ok(now), Some(now)))
            }
        });
        let statuses = futures_util::StreamExt::take_until(statuses, draining);
        Ok(Response::new(Box::pin(statuses)))
    }
}
