"""Health, readiness and what a server tells of itself and of its models."""

import pytest

import models
import wire
from clients import numbers

EXTENSIONS = {
    "classification", "sequence", "model_repository", "model_repository(unload_dependents)", "schedule_policy",
    "model_configuration", "system_shared_memory", "cuda_shared_memory", "binary_tensor_data", "parameters",
    "statistics", "trace", "logging",
}  # fmt: skip
# What a server without sequence batching may leave out.
OPTIONAL_EXTENSIONS = {"sequence"}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/plain/ready"])
def test_health_is_a_status(server, path):
    reply = wire.get(server.http, path)
    assert reply.status == 200


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/plain/ready"])
def test_probes_by_head(server, path):
    reply = wire.http_call(server.http, "HEAD", path)
    assert reply.status == server.expect("head", 200)
    assert reply.body == b""


def test_clients_see_a_live_server(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("plain")
    assert client.is_model_ready("plain", "1")
    assert not client.is_model_ready("plain", "2")
    assert not client.is_model_ready("nowhere")


def health(rpc, service: str) -> bytes:
    request = bytes([0x0A, len(service)]) + service.encode() if service else b""
    return rpc.raw("/grpc.health.v1.Health/Check", request)


def test_grpc_health_check(server, rpc):
    serving = b"\x08\x01"
    assert health(rpc, "") == serving
    expected = server.expect("health_of_the_service", serving)
    assert health(rpc, "inference.GRPCInferenceService") == expected


def test_grpc_health_check_of_an_unknown_service(server, rpc):
    expected = server.expect("health_of_an_unknown_service", "NOT_FOUND")
    try:
        answer = health(rpc, "nothing.Service")
    except wire.grpc.RpcError as e:
        assert e.code().name == expected
    else:
        assert answer == expected


def test_grpc_health_watch(server, rpc):
    call = rpc.channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=5)
    try:
        first = next(iter(call))
    except wire.grpc.RpcError as e:
        first = e.code().name
    call.cancel()
    assert first == server.expect("health_watch", b"\x08\x01")


def test_server_metadata(server, client):
    about = client.as_json("get_server_metadata")
    assert about["name"]
    assert about["version"]
    assert set(about["extensions"]) >= EXTENSIONS - OPTIONAL_EXTENSIONS
    if server.kind == "triton":
        assert set(about["extensions"]) == EXTENSIONS


def test_server_metadata_is_the_same_in_both_protocols(server, rpc):
    about = wire.get(server.http, "/v2").json
    answer = rpc.call("ServerMetadata")
    assert about == {"name": answer.name, "version": answer.version, "extensions": list(answer.extensions)}


def test_model_metadata(client):
    """With a batch, shapes lead with -1."""
    about = client.as_json("get_model_metadata", "pair")
    assert about["name"] == "pair"
    assert about["versions"] == ["1"]
    assert about["platform"]
    for field, names in (("inputs", "AB"), ("outputs", "CD")):
        assert [t["name"] for t in about[field]] == list(names)
        assert {t["datatype"] for t in about[field]} == {"INT32"}
        assert [numbers(t["shape"]) for t in about[field]] == [[-1, 16]] * 2


def test_model_metadata_without_batch(client):
    about = client.as_json("get_model_metadata", "any")
    assert numbers(about["inputs"][0]["shape"]) == [-1]
    assert numbers(about["outputs"][0]["shape"]) == [-1]


@pytest.mark.parametrize("datatype", models.DATATYPES)
def test_datatypes_of_metadata_and_config(grpc_client, http_client, datatype):
    """Metadata says BYTES where the configuration says TYPE_STRING."""
    name = models.TYPED[datatype].name
    for client in (grpc_client, http_client):
        about = client.as_json("get_model_metadata", name)
        assert about["inputs"][0]["datatype"] == datatype
        config = client.as_json("get_model_config", name)
        config = config.get("config", config)
        assert config["input"][0]["data_type"] == models.DATATYPES[datatype]


def test_datatypes_as_numbers(rpc):
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="typed_bf16")).config
    assert config.input[0].data_type == 14
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="typed_bytes")).config
    assert config.input[0].data_type == 13


def test_model_config(client):
    config = client.as_json("get_model_config", "pair")
    config = config.get("config", config)
    assert config["name"] == "pair"
    assert config["max_batch_size"] == 8
    for field, names in (("input", "AB"), ("output", "CD")):
        assert [t["name"] for t in config[field]] == list(names)
        assert {t["data_type"] for t in config[field]} == {"TYPE_INT32"}
        assert [numbers(t["dims"]) for t in config[field]] == [[16]] * 2


def test_model_config_keeps_what_was_written(rpc, server):
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="rich")).config
    assert config.parameters["threshold"].string_value == "0.5"
    assert config.parameters["note"].string_value == "kept as it is"
    assert config.instance_group[0].count == 2
    assert config.instance_group[0].kind == 2  # KIND_CPU
    assert config.metric_tags["detector"] == "hcal"
    document = wire.get(server.http, "/v2/models/rich/config").json
    assert document["parameters"]["threshold"] == {"string_value": "0.5"}
    assert document["instance_group"][0]["kind"] == "KIND_CPU"
    assert document["instance_group"][0]["count"] == 2


def test_model_config_is_completed(rpc):
    """Clients read the version policy and the instances also of a configuration that names neither."""
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="plain")).config
    assert config.version_policy.latest.num_versions == 1
    assert len(config.instance_group) == 1
    assert config.instance_group[0].count >= 1


def test_model_config_of_a_batcher(rpc):
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="queue")).config
    policy = config.dynamic_batching.default_queue_policy
    assert policy.max_queue_size == 1
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="patient")).config
    policy = config.dynamic_batching.default_queue_policy
    assert (policy.default_timeout_microseconds, policy.allow_timeout_override) == (10_000_000, True)
    config = rpc.call("ModelConfig", wire.pb.ModelConfigRequest(name="batched")).config
    assert config.dynamic_batching.max_queue_delay_microseconds == 200_000


@pytest.mark.parametrize("version", [None, "1"])
def test_paths_with_a_version(server, version):
    part = "/versions/1" if version else ""
    for tail in ("", "/config", "/stats", "/ready"):
        assert wire.get(server.http, f"/v2/models/plain{part}{tail}").status == 200, tail


def test_versions_by_policy(server, client):
    about = client.as_json("get_model_metadata", "chosen")
    assert sorted(about["versions"]) == ["1", "3"]
    assert client.is_model_ready("chosen", "1")
    assert client.is_model_ready("chosen", "3")
    assert not client.is_model_ready("chosen", "2")
    about = client.as_json("get_model_metadata", "newest")
    assert about["versions"] == ["2"]


def test_a_request_without_version_goes_to_the_newest(rpc):
    from test_infer import PLAIN

    assert rpc.infer(PLAIN.but(model="chosen")).model_version == "3"
    assert rpc.infer(PLAIN.but(model="chosen", version=1)).model_version == "1"
    assert rpc.infer(PLAIN.but(model="newest")).model_version == "2"


def test_content_types(server):
    for path in ("/v2", "/v2/models/plain", "/v2/models/plain/config", "/v2/models/plain/stats", "/v2/logging"):
        assert wire.get(server.http, path).headers["content-type"].startswith("application/json"), path
    assert wire.get(server.metrics, "/metrics").headers["content-type"].startswith("text/plain")
