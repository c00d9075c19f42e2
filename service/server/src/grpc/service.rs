//! `inference.GRPCInferenceService`, call by call.

use std::{collections::BTreeMap, sync::Arc};

use hs_proto::{
    self as proto, grpc_inference_service_server::GrpcInferenceService,
    log_settings_request::setting_value::ParameterChoice as LogChoice,
    log_settings_response::setting_value::ParameterChoice as LogAnswer,
    model_metadata_response::TensorMetadata, model_repository_parameter::ParameterChoice as LoadChoice,
    repository_index_response::ModelIndex, system_shared_memory_status_response::RegionStatus,
};
use hs_serve::{Code, LoadOverride, ModelStatistics, Region, ServeError, Server, StatisticDuration};
use serde_json::Value;
use tonic::{Request, Response, Status, Streaming};

use crate::net::trace_of;

use super::{infer::infer, status, stream::Answers};

/// The service, over a server.
#[derive(Debug)]
pub(super) struct Service {
    server: Arc<Server>,
}

impl Service {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn ok<T>(message: T) -> Answer<T> {
    Ok(Response::new(message))
}

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<proto::ServerLiveRequest>) -> Answer<proto::ServerLiveResponse> {
        ok(proto::ServerLiveResponse { live: self.server.is_live() })
    }

    async fn server_ready(
        &self,
        _: Request<proto::ServerReadyRequest>,
    ) -> Answer<proto::ServerReadyResponse> {
        ok(proto::ServerReadyResponse { ready: self.server.is_ready() })
    }

    async fn model_ready(
        &self,
        request: Request<proto::ModelReadyRequest>,
    ) -> Answer<proto::ModelReadyResponse> {
        let proto::ModelReadyRequest { name, version } = request.into_inner();
        ok(proto::ModelReadyResponse { ready: self.server.is_model_ready(&name, &version) })
    }

    async fn server_metadata(
        &self,
        _: Request<proto::ServerMetadataRequest>,
    ) -> Answer<proto::ServerMetadataResponse> {
        let metadata = self.server.metadata();
        ok(proto::ServerMetadataResponse {
            name: metadata.name,
            version: metadata.version.to_owned(),
            extensions: metadata.extensions.iter().map(|e| (*e).to_owned()).collect(),
        })
    }

    async fn model_metadata(
        &self,
        request: Request<proto::ModelMetadataRequest>,
    ) -> Answer<proto::ModelMetadataResponse> {
        let proto::ModelMetadataRequest { name, version } = request.into_inner();
        let model = self.server.model(&name, &version).map_err(status)?;
        let versions = if version.is_empty() { self.server.versions(&name) } else { vec![model.version()] };
        let metadata = model.metadata();
        let tensors = |tensors: &[hs_serve::TensorMetadata]| {
            let one = |t: &hs_serve::TensorMetadata| TensorMetadata {
                name: t.name.as_ref().to_owned(),
                datatype: t.datatype.to_owned(),
                shape: t.shape.clone(),
            };
            tensors.iter().map(one).collect()
        };
        ok(proto::ModelMetadataResponse {
            name: metadata.name.as_ref().to_owned(),
            versions: versions.iter().map(ToString::to_string).collect(),
            inputs: tensors(&metadata.inputs),
            outputs: tensors(&metadata.outputs),
            platform: metadata.platform,
        })
    }

    async fn model_infer(
        &self,
        request: Request<proto::ModelInferRequest>,
    ) -> Answer<proto::ModelInferResponse> {
        let trace = trace_of(request.extensions()).cloned();
        let answer = infer(&self.server, trace.as_deref(), request.into_inner()).await;
        answer.map(Response::new).map_err(status)
    }

    type ModelStreamInferStream = Answers;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<proto::ModelInferRequest>>,
    ) -> Answer<Answers> {
        ok(Answers::new(Arc::clone(&self.server), request))
    }

    async fn model_config(
        &self,
        request: Request<proto::ModelConfigRequest>,
    ) -> Answer<proto::ModelConfigResponse> {
        let proto::ModelConfigRequest { name, version } = request.into_inner();
        let model = self.server.model(&name, &version).map_err(status)?;
        ok(proto::ModelConfigResponse { config: Some(model.spec().config.clone()) })
    }

    async fn model_statistics(
        &self,
        request: Request<proto::ModelStatisticsRequest>,
    ) -> Answer<proto::ModelStatisticsResponse> {
        let proto::ModelStatisticsRequest { name, version } = request.into_inner();
        let all = self.server.statistics(&name, &version).map_err(status)?;
        ok(proto::ModelStatisticsResponse { model_stats: all.iter().map(statistics).collect() })
    }

    async fn repository_index(
        &self,
        request: Request<proto::RepositoryIndexRequest>,
    ) -> Answer<proto::RepositoryIndexResponse> {
        let proto::RepositoryIndexRequest { repository_name, ready } = request.into_inner();
        let models = self.server.index(&repository_name, ready).map_err(status)?;
        let models = models.into_iter().map(|m| ModelIndex {
            name: m.name,
            version: m.version,
            state: m.state,
            reason: m.reason,
        });
        ok(proto::RepositoryIndexResponse { models: models.collect() })
    }

    async fn repository_model_load(
        &self,
        request: Request<proto::RepositoryModelLoadRequest>,
    ) -> Answer<proto::RepositoryModelLoadResponse> {
        let proto::RepositoryModelLoadRequest { repository_name, model_name, parameters } =
            request.into_inner();
        let with = load_override(parameters).map_err(status)?;
        self.server.load(&repository_name, &model_name, with).await.map_err(status)?;
        ok(proto::RepositoryModelLoadResponse {})
    }

    async fn repository_model_unload(
        &self,
        request: Request<proto::RepositoryModelUnloadRequest>,
    ) -> Answer<proto::RepositoryModelUnloadResponse> {
        // Models depend on no other, so `unload_dependents` asks for nothing.
        let proto::RepositoryModelUnloadRequest { repository_name, model_name, .. } = request.into_inner();
        self.server.unload(&repository_name, &model_name).await.map_err(status)?;
        ok(proto::RepositoryModelUnloadResponse {})
    }

    async fn system_shared_memory_status(
        &self,
        request: Request<proto::SystemSharedMemoryStatusRequest>,
    ) -> Answer<proto::SystemSharedMemoryStatusResponse> {
        let regions = self.server.shm().status(&request.into_inner().name).map_err(status)?;
        let regions = regions.into_iter().map(|Region { name, key, offset, byte_size }| {
            (name.clone(), RegionStatus { name, key, offset, byte_size })
        });
        ok(proto::SystemSharedMemoryStatusResponse { regions: regions.collect() })
    }

    async fn system_shared_memory_register(
        &self,
        request: Request<proto::SystemSharedMemoryRegisterRequest>,
    ) -> Answer<proto::SystemSharedMemoryRegisterResponse> {
        let proto::SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = request.into_inner();
        self.server.shm().register(Region { name, key, offset, byte_size }).map_err(status)?;
        ok(proto::SystemSharedMemoryRegisterResponse {})
    }

    async fn system_shared_memory_unregister(
        &self,
        request: Request<proto::SystemSharedMemoryUnregisterRequest>,
    ) -> Answer<proto::SystemSharedMemoryUnregisterResponse> {
        self.server.shm().unregister(&request.into_inner().name).map_err(status)?;
        ok(proto::SystemSharedMemoryUnregisterResponse {})
    }

    async fn cuda_shared_memory_status(
        &self,
        _: Request<proto::CudaSharedMemoryStatusRequest>,
    ) -> Answer<proto::CudaSharedMemoryStatusResponse> {
        ok(proto::CudaSharedMemoryStatusResponse::default())
    }

    async fn cuda_shared_memory_register(
        &self,
        request: Request<proto::CudaSharedMemoryRegisterRequest>,
    ) -> Answer<proto::CudaSharedMemoryRegisterResponse> {
        let message = format!(
            "cannot register region '{}': this server shares no CUDA memory; use system shared memory",
            request.into_inner().name
        );
        Err(status(ServeError::new(Code::Unsupported, message)))
    }

    async fn cuda_shared_memory_unregister(
        &self,
        _: Request<proto::CudaSharedMemoryUnregisterRequest>,
    ) -> Answer<proto::CudaSharedMemoryUnregisterResponse> {
        // As for any region that is not registered.
        ok(proto::CudaSharedMemoryUnregisterResponse {})
    }

    async fn trace_setting(
        &self,
        request: Request<proto::TraceSettingRequest>,
    ) -> Answer<proto::TraceSettingResponse> {
        let proto::TraceSettingRequest { settings, model_name } = request.into_inner();
        if !model_name.is_empty() {
            self.server.model(&model_name, "").map_err(status)?;
        }
        let all = if settings.is_empty() {
            self.server.settings().trace(&model_name)
        } else {
            let changes = settings.into_iter().map(|(key, setting)| (key, setting.value));
            self.server.settings().update_trace(&model_name, changes).map_err(status)?
        };
        let setting = |value| proto::trace_setting_response::SettingValue { value };
        let settings = all.into_iter().map(|(key, value)| (key.to_owned(), setting(value)));
        ok(proto::TraceSettingResponse { settings: settings.collect() })
    }

    async fn log_settings(
        &self,
        request: Request<proto::LogSettingsRequest>,
    ) -> Answer<proto::LogSettingsResponse> {
        let changes: Vec<(String, Value)> = request
            .into_inner()
            .settings
            .into_iter()
            .filter_map(|(key, setting)| Some((key, setting.parameter_choice?)))
            .map(|(key, choice)| match choice {
                LogChoice::BoolParam(v) => (key, v.into()),
                LogChoice::Uint32Param(v) => (key, v.into()),
                LogChoice::StringParam(v) => (key, v.into()),
            })
            .collect();
        let settings = self.server.settings();
        let now =
            settings.update_log(changes.iter().map(|(k, v)| (k.as_str(), v.clone()))).map_err(status)?;
        let setting = |(key, value): (&str, Value)| {
            let choice = match value {
                Value::Bool(v) => LogAnswer::BoolParam(v),
                Value::Number(v) => LogAnswer::Uint32Param(v.as_u64().map_or(u32::MAX, |v| v as u32)),
                Value::String(v) => LogAnswer::StringParam(v),
                other => LogAnswer::StringParam(other.to_string()),
            };
            let value = proto::log_settings_response::SettingValue { parameter_choice: Some(choice) };
            (key.to_owned(), value)
        };
        ok(proto::LogSettingsResponse { settings: now.values().into_iter().map(setting).collect() })
    }
}

/// A configuration and files that come along with a request to load.
fn load_override(
    parameters: BTreeMap<String, proto::ModelRepositoryParameter>,
) -> Result<LoadOverride, ServeError> {
    let mut with = LoadOverride::default();
    for (key, parameter) in parameters {
        let file = key.strip_prefix("file:");
        match (file, parameter.parameter_choice) {
            (None, Some(LoadChoice::StringParam(config))) if key == "config" => with.config = Some(config),
            (Some(path), Some(LoadChoice::BytesParam(content))) => {
                with.files.push((path.to_owned(), content));
            }
            (Some(_), _) => {
                let message = format!("invalid value type for load parameter '{key}', expected bytes_param");
                return Err(ServeError::invalid(message));
            }
            (None, _) if key == "config" => {
                let message = "invalid value type for load parameter 'config', expected string_param";
                return Err(ServeError::invalid(message));
            }
            (None, _) => {
                let message =
                    format!("unrecognized load parameter '{key}'; there are 'config' and 'file:<path>'");
                return Err(ServeError::invalid(message));
            }
        }
    }
    Ok(with)
}

fn duration(d: StatisticDuration) -> Option<proto::StatisticDuration> {
    Some(proto::StatisticDuration { count: d.count, ns: d.ns })
}

fn statistics(s: &ModelStatistics) -> proto::ModelStatistics {
    let batch = |b: &hs_serve::BatchStatistics| proto::InferBatchStatistics {
        batch_size: b.batch_size,
        compute_input: duration(b.compute_input),
        compute_infer: duration(b.compute_infer),
        compute_output: duration(b.compute_output),
    };
    proto::ModelStatistics {
        name: s.name.as_ref().to_owned(),
        version: s.version.to_string(),
        last_inference: s.last_inference,
        inference_count: s.inference_count,
        execution_count: s.execution_count,
        inference_stats: Some(proto::InferStatistics {
            success: duration(s.success),
            fail: duration(s.fail),
            queue: duration(s.queue),
            compute_input: duration(s.compute_input),
            compute_infer: duration(s.compute_infer),
            compute_output: duration(s.compute_output),
            // There is no response cache.
            cache_hit: duration(StatisticDuration::default()),
            cache_miss: duration(StatisticDuration::default()),
        }),
        batch_stats: s.batches.iter().map(batch).collect(),
        memory_usage: Vec::new(),
        response_stats: BTreeMap::new(),
    }
}
