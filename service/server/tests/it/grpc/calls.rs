//! Every other call.

use hs_proto::*;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;

#[tokio::test]
async fn health() {
    let mut s = served().await;
    assert!(s.client.server_live(ServerLiveRequest {}).await.unwrap().into_inner().live);
    assert!(s.client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    for (name, version, ready) in
        [("pair", "", true), ("pair", "1", true), ("pair", "2", false), ("x", "", false)]
    {
        let request = ModelReadyRequest { name: name.to_owned(), version: version.to_owned() };
        assert_eq!(
            s.client.model_ready(request).await.unwrap().into_inner().ready,
            ready,
            "{name} {version}"
        );
    }
    let channel =
        Channel::from_shared(format!("http://{}", s.port.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    let own = "inference.GRPCInferenceService";
    for service in ["", own] {
        let status = health.check(of(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving);
    }
    assert_eq!(health.check(of("x")).await.unwrap_err().code(), Code::NotFound);
    let mut unknown = health.watch(of("x")).await.unwrap().into_inner();
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    let mut watch = health.watch(of(own)).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    s.server.begin_drain();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(health.check(of("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    assert!(!s.client.server_ready(ServerReadyRequest {}).await.unwrap().into_inner().ready);
    // Those who watch do not keep the port open.
    let began = std::time::Instant::now();
    assert_eq!(s.port.stop().await, 0);
    assert!(began.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn descriptions() {
    let mut s = served().await;
    let server = s.client.server_metadata(ServerMetadataRequest {}).await.unwrap().into_inner();
    assert_eq!(server.name, "test");
    assert!(!server.version.is_empty() && server.extensions.iter().any(|e| e == "statistics"));
    let request = ModelMetadataRequest { name: "pair".to_owned(), version: String::new() };
    let model = s.client.model_metadata(request).await.unwrap().into_inner();
    assert_eq!(
        (&*model.name, &*model.platform, &model.versions[..]),
        ("pair", "identity", &["1".to_owned()][..])
    );
    let tensors = |t: &[model_metadata_response::TensorMetadata]| {
        t.iter().map(|t| (t.name.clone(), t.datatype.clone(), t.shape.clone())).collect::<Vec<_>>()
    };
    let expected = |prefix: &str| {
        vec![
            (format!("{prefix}A"), "FP32".to_owned(), vec![-1, 2]),
            (format!("{prefix}B"), "INT32".to_owned(), vec![-1, 1]),
        ]
    };
    assert_eq!((tensors(&model.inputs), tensors(&model.outputs)), (expected(""), expected("OUT_")));
    let request = ModelConfigRequest { name: "pair".to_owned(), version: "1".to_owned() };
    let config = s.client.model_config(request).await.unwrap().into_inner().config.unwrap();
    assert_eq!((config.max_batch_size, config.input[0].dims.clone()), (8, vec![2]));
    assert_eq!(config.parameters["owner"].string_value, "tests");
    let unknown = ModelMetadataRequest { name: "x".to_owned(), version: String::new() };
    assert_eq!(s.client.model_metadata(unknown).await.unwrap_err().code(), Code::NotFound);
    let unknown = ModelConfigRequest { name: "x".to_owned(), version: String::new() };
    let error = s.client.model_config(unknown).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::NotFound, "Request for unknown model: 'x' is not found")
    );
}

#[tokio::test]
async fn statistics_grow() {
    let mut s = served().await;
    let request = ModelStatisticsRequest { name: "pair".to_owned(), version: String::new() };
    for n in 0..3 {
        let all = s.client.model_statistics(request.clone()).await.unwrap().into_inner().model_stats;
        assert_eq!((all.len(), &*all[0].name, &*all[0].version), (1, "pair", "1"));
        assert_eq!((all[0].inference_count, all[0].execution_count), (2 * n, n));
        let stats = all[0].inference_stats.as_ref().unwrap();
        assert_eq!(stats.success.unwrap().count, n);
        assert_eq!(stats.queue.unwrap().count, n);
        assert!(stats.cache_hit.is_some() && stats.cache_miss.is_some() && stats.fail.is_some());
        infer(&mut s.client, pair()).await.unwrap();
    }
    let all = s.client.model_statistics(ModelStatisticsRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.model_stats.len(), 5);
    let unknown = ModelStatisticsRequest { name: "x".to_owned(), version: String::new() };
    let error = s.client.model_statistics(unknown).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::InvalidArgument, "requested model 'x' is not available")
    );
}

#[tokio::test]
async fn the_repository() {
    let server = server(|o| {
        o.control = hs_serve::ModelControl::Explicit;
        o.load_models = vec!["*".to_owned()];
    });
    let mut s = serve_with(server.await, grpc::Options::default()).await;
    let lists = s.client.clone();
    let index = async |ready| {
        let request = RepositoryIndexRequest { repository_name: String::new(), ready };
        let models = lists.clone().repository_index(request).await.unwrap().into_inner().models;
        models.into_iter().map(|m| (m.name, m.state)).collect::<Vec<_>>()
    };
    assert_eq!(index(true).await.len(), 5);
    let name =
        |name: &str| RepositoryModelUnloadRequest { model_name: name.to_owned(), ..Default::default() };
    s.client.repository_model_unload(name("pair")).await.unwrap();
    assert_eq!(index(true).await.len(), 4);
    assert_eq!(infer(&mut s.client, pair()).await.unwrap_err().code(), Code::NotFound);
    let load =
        |parameters: &[(&str, model_repository_parameter::ParameterChoice)]| RepositoryModelLoadRequest {
            model_name: "pair".to_owned(),
            parameters: parameters
                .iter()
                .map(|(k, v)| {
                    ((*k).to_owned(), ModelRepositoryParameter { parameter_choice: Some(v.clone()) })
                })
                .collect(),
            ..Default::default()
        };
    use model_repository_parameter::ParameterChoice::{BoolParam, StringParam};
    s.client.repository_model_load(load(&[])).await.unwrap();
    infer(&mut s.client, pair()).await.unwrap();
    let config = StringParam("{\"max_batch_size\": 1}".to_owned());
    s.client.repository_model_load(load(&[("config", config.clone())])).await.unwrap();
    let error = infer(&mut s.client, pair()).await.unwrap_err();
    assert!(error.message().contains("must be <= 1"), "{error}");
    for (wrong, words) in [
        (load(&[("config", BoolParam(true))]), "expected string_param"),
        (load(&[("file:1/model.onnx", config.clone())]), "expected bytes_param"),
        (load(&[("colour", config)]), "unrecognized load parameter 'colour'"),
    ] {
        let error = s.client.repository_model_load(wrong).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn shared_memory_is_off_and_cuda_is_not_there() {
    let mut s = served().await;
    let register = SystemSharedMemoryRegisterRequest {
        name: "r".to_owned(),
        key: "/r".to_owned(),
        offset: 0,
        byte_size: 1,
    };
    let error = s.client.system_shared_memory_register(register).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert!(error.message().contains("--allow-client-shm"), "{error}");
    let all = s.client.system_shared_memory_status(SystemSharedMemoryStatusRequest::default()).await.unwrap();
    assert!(all.into_inner().regions.is_empty());
    let name = "r".to_owned();
    s.client
        .system_shared_memory_unregister(SystemSharedMemoryUnregisterRequest { name: name.clone() })
        .await
        .unwrap();
    let all = s.client.cuda_shared_memory_status(CudaSharedMemoryStatusRequest::default()).await.unwrap();
    assert!(all.into_inner().regions.is_empty());
    let register = CudaSharedMemoryRegisterRequest { name: name.clone(), ..Default::default() };
    let error = s.client.cuda_shared_memory_register(register).await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    s.client.cuda_shared_memory_unregister(CudaSharedMemoryUnregisterRequest { name }).await.unwrap();
}

#[tokio::test]
async fn trace_and_log_settings() {
    let mut s = served().await;
    let value = |v: &str| trace_setting_request::SettingValue { value: vec![v.to_owned()] };
    let set = |key: &str, v: &str, model: &str| TraceSettingRequest {
        settings: [(key.to_owned(), value(v))].into(),
        model_name: model.to_owned(),
    };
    let now = s.client.trace_setting(set("trace_rate", "7", "pair")).await.unwrap().into_inner().settings;
    assert_eq!(now["trace_rate"].value, ["7"]);
    let all = s.client.trace_setting(TraceSettingRequest::default()).await.unwrap().into_inner().settings;
    assert_eq!(all["trace_rate"].value, ["1000"]);
    for wrong in [set("trace_rate", "often", ""), set("colour", "red", "")] {
        assert_eq!(s.client.trace_setting(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(s.client.trace_setting(set("trace_rate", "7", "x")).await.unwrap_err().code(), Code::NotFound);

    use log_settings_request::setting_value::ParameterChoice as Set;
    use log_settings_response::setting_value::ParameterChoice as Now;
    let set = |key: &str, choice: Set| LogSettingsRequest {
        settings: [(key.to_owned(), log_settings_request::SettingValue { parameter_choice: Some(choice) })]
            .into(),
    };
    let now = s
        .client
        .log_settings(set("log_verbose_level", Set::Uint32Param(2)))
        .await
        .unwrap()
        .into_inner()
        .settings;
    assert_eq!(now["log_verbose_level"].parameter_choice, Some(Now::Uint32Param(2)));
    assert_eq!(now["log_info"].parameter_choice, Some(Now::BoolParam(true)));
    assert_eq!(now["log_format"].parameter_choice, Some(Now::StringParam("default".to_owned())));
    let wrong = set("log_info", Set::StringParam("loud".to_owned()));
    assert_eq!(s.client.log_settings(wrong).await.unwrap_err().code(), Code::InvalidArgument);
}
