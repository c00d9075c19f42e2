"""Servers with other flags: model control, readiness, restricted calls, TLS, and how they end."""

import os
import ssl
import threading
import time
import urllib.request

import numpy as np
import pytest

import clients
import models
import server as servers
import tls
import wire
from faults import Fault
from test_infer import PLAIN, ROW, same
from test_repository import SLOW, wait_until

pytestmark = pytest.mark.other_servers


@pytest.fixture
def repository(tmp_path, kind):
    folder = tmp_path / "models"
    for model in (models.PLAIN, models.SLOW):
        model.write(folder, kind)
    return folder


def infer_status(running, model="plain") -> int:
    return wire.send_http(running.http, PLAIN.but(model=model), "json").status


def index(running) -> dict:
    return {m["name"]: m for m in wire.post(running.http, "/v2/repository/index", {}).json}


def test_shared_memory_is_refused_unless_allowed(start):
    """A client that may name memory of the machine reads what it was not given."""
    running = start(allow_shared_memory=False)
    name = {"key": "/nothing", "offset": 0, "byte_size": 64}
    reply = wire.post(running.http, "/v2/systemsharedmemory/region/r/register", name)
    refused = Fault(501, "UNIMPLEMENTED", "--allow-client-shm")
    expected = running.expect("shared_memory_by_default", refused)
    expected.check_http(reply.status, reply.error)
    rpc = wire.Grpc(running.grpc)
    message = wire.pb.SystemSharedMemoryRegisterRequest(name="r", key="/nothing", byte_size=64)
    expected.check_grpc(*rpc.fault("SystemSharedMemoryRegister", message))
    # Looking is free.
    assert wire.get(running.http, "/v2/systemsharedmemory/status").json == []
    rpc.close()


def test_without_model_control(start, repository):
    """Everything is loaded at start, and clients change nothing."""
    running = start(flags=[], repository=repository)
    assert infer_status(running) == 200
    fault = Fault(503, "UNAVAILABLE", "explicit model load / unload is not allowed")
    rpc = wire.Grpc(running.grpc)
    for verb, method in (("load", "RepositoryModelLoad"), ("unload", "RepositoryModelUnload")):
        reply = wire.post(running.http, f"/v2/repository/models/plain/{verb}")
        fault.check_http(reply.status, reply.error)
        fault.check_grpc(*rpc.fault(method, getattr(wire.pb, f"{method}Request")(model_name="plain")))
    rpc.close()
    assert infer_status(running) == 200


def test_what_is_loaded_at_start(start, repository):
    running = start(flags=["--model-control-mode", "explicit", "--load-model", "plain"], repository=repository)
    assert infer_status(running) == 200
    assert infer_status(running, "slow") == 404
    assert wire.get(running.http, "/v2/health/ready").status == 200
    assert {name for name, m in index(running).items() if m.get("state") == "READY"} == {"plain"}


@pytest.mark.parametrize("strict,status", [("true", 400), ("false", 200)])
def test_one_broken_model_among_good_ones(start, repository, kind, strict, status):
    """The good ones are served; whether the server is ready is a matter of a flag."""
    models.BROKEN.write(repository, kind)
    running = start(flags=["--exit-on-error", "false", "--strict-readiness", strict], repository=repository)
    assert infer_status(running) == 200
    assert wire.get(running.http, "/v2/health/live").status == 200
    assert wire.get(running.http, "/v2/health/ready").status == status
    entry = index(running)["broken"]
    assert entry["state"] == "UNAVAILABLE"
    assert "no_such_backend" in entry["reason"]
    assert infer_status(running, "broken") == 404


@pytest.mark.parametrize("transport", clients.TRANSPORTS)
def test_a_model_that_fails_to_load(start, repository, kind, transport):
    """Later than at the start, and by a client's request."""
    running = start(repository=repository)
    models.BROKEN.write(repository, kind)
    client = clients.Client(transport, getattr(running, transport.split(".")[0]))
    failed = Fault((400, 500), ("INVALID_ARGUMENT", "INTERNAL"), "'broken'.*no_such_backend")
    client.refused(failed, "load_model", "broken")
    entry = index(running)["broken"]
    assert entry["state"] == "UNAVAILABLE"
    assert "no_such_backend" in entry["reason"]
    assert not client.is_model_ready("broken")
    unavailable = Fault(404, "NOT_FOUND", "'broken' has no available versions")
    client.refused(unavailable, "run", "broken", {"IN": ROW})
    same(client.run("plain", {"IN": ROW}).as_numpy("OUT"), ROW)
    client.close()


def test_several_repositories(start, repository, tmp_path, kind):
    other = tmp_path / "more"
    models.LATE.write(other, kind)
    running = start(flags=["--model-repository", str(other)], repository=repository)
    assert infer_status(running) == 200
    assert infer_status(running, "late") == 200


def test_polling_follows_the_repository(start, repository, kind):
    running = start(flags=["--model-control-mode", "poll", "--repository-poll-secs", "1"], repository=repository)
    assert infer_status(running, "late") == 404
    models.LATE.write(repository, kind)
    wait_until(lambda: infer_status(running, "late") == 200)
    # Moved away at once: a folder that is deleted file by file is a broken model for a while.
    (repository / "late").rename(repository.parent / "gone")
    wait_until(lambda: infer_status(running, "late") == 404)
    config = repository / "plain" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: 3"))
    os.utime(config, (time.time() + 2, time.time() + 2))
    wait_until(lambda: wire.get(running.http, "/v2/models/plain/config").json["max_batch_size"] == 3)
    assert infer_status(running) == 200


def test_restricted_calls(start):
    groups = "model-repository,shared-memory:admin-key=opensesame"
    running = start(flags=[*servers.EXPLICIT, "--http-restricted-api", groups, "--grpc-restricted-protocol", groups])
    assert infer_status(running) == 200
    path, key = "/v2/repository/index", {"admin-key": "opensesame"}
    assert wire.post(running.http, path).status == running.expect("restricted_http", 403)
    assert wire.post(running.http, path, headers={"admin-key": "wrong"}).status == running.expect("restricted_http", 403)
    assert wire.post(running.http, path, headers=key).status == 200
    rpc = wire.Grpc(running.grpc)
    code, _ = rpc.fault("RepositoryIndex")
    assert code == running.expect("restricted_grpc", "PERMISSION_DENIED")
    assert rpc.call("RepositoryIndex", metadata=[("triton-grpc-protocol-admin-key", "opensesame")]).models
    assert rpc.call("ServerLive").live
    rpc.close()


def in_flight(running, number=4):
    rpc = wire.Grpc(running.grpc)
    calls = [rpc.stub.ModelInfer.future(SLOW.proto(), timeout=wire.SECONDS) for _ in range(number)]
    time.sleep(0.15)
    return rpc, calls


def test_sigterm_finishes_what_was_taken(start):
    running = start()
    replies = []
    thread = threading.Thread(target=lambda: replies.append(wire.send_http(running.http, SLOW, "json").status))
    thread.start()
    rpc, calls = in_flight(running)
    seconds = running.stop()
    thread.join()
    assert replies == [200]
    outcomes = []
    for call in calls:
        try:
            outcomes.append(call.result().model_name)
        except wire.grpc.RpcError as e:
            outcomes.append(e.code().name)
    assert outcomes == ["slow"] * 4
    assert running.process.returncode == 0
    assert seconds < 0.3 * 5 + running.expect("seconds_to_exit", 1)
    rpc.close()


def test_an_idle_server_ends_at_once(start):
    running = start(flags=[*servers.EXPLICIT, "--exit-timeout-secs", "5"])
    idle = [wire.http_bytes(running.http, b"") for _ in range(5)]
    seconds = running.stop()
    assert seconds < running.expect("seconds_to_exit", 1)
    for connection in idle:
        connection.close()


def hypersonic_alone(kind):
    if kind != "hypersonic":
        pytest.skip("flags of Hypersonic")


@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual_tls"])
def test_tls_for_all_ports(start, kind, tmp_path, mutual):
    hypersonic_alone(kind)
    keys = tls.make(tmp_path)
    flags = ["--tls-cert", str(keys.server_cert), "--tls-key", str(keys.server_key)]
    if mutual:
        flags += ["--tls-client-ca", str(keys.ca_cert)]
    running = start(flags=flags)
    options = tls.client_options(keys, mutual)
    for transport in clients.TRANSPORTS:
        address = getattr(running, transport.split(".")[0]).replace("127.0.0.1", "localhost")
        client = clients.Client(transport, address, **options[transport])
        same(client.run("plain", {"IN": ROW}).as_numpy("OUT"), ROW)
        client.close()
    context = tls.context(keys, mutual)
    address = running.metrics.replace("127.0.0.1", "localhost")
    with urllib.request.urlopen(f"https://{address}/metrics", context=context, timeout=wire.SECONDS) as reply:
        assert b"nv_inference_count" in reply.read()
    # Without TLS nobody gets in, and without a certificate neither where one is asked for.
    with pytest.raises((OSError, wire.http.client.HTTPException)):
        wire.get(running.http, "/v2/health/live")
    if mutual:
        with pytest.raises((ssl.SSLError, OSError)):
            urllib.request.urlopen(f"https://{address}/metrics", context=tls.context(keys, False), timeout=5)


def test_bearer_tokens(start, kind, tmp_path):
    hypersonic_alone(kind)
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token\nsecond-token\n")
    running = start(flags=["--auth-tokens", str(tokens)])
    path, body = PLAIN.path, PLAIN.json()[0]
    for header, status in ((None, 401), ("Bearer wrong", 401), ("Bearer second-token", 200)):
        headers = {"Authorization": header} if header else {}
        assert wire.post(running.http, path, body, headers=headers).status == status, header
    rpc = wire.Grpc(running.grpc)
    assert rpc.fault("ModelInfer", PLAIN.proto())[0] == "UNAUTHENTICATED"
    allowed = [("authorization", "Bearer first-token")]
    assert rpc.call("ModelInfer", PLAIN.proto(), metadata=allowed).model_name == "plain"
    # Probes of an orchestrator have no token.
    assert wire.get(running.http, "/v2/health/ready").status == 200
    rpc.close()


def test_too_many_requests_are_told_at_once(start, kind):
    hypersonic_alone(kind)
    running = start(flags=["--max-requests", "2"])
    rpc = wire.Grpc(running.grpc)
    calls = [rpc.stub.ModelInfer.future(SLOW.proto(), timeout=wire.SECONDS) for _ in range(6)]
    codes = []
    for call in calls:
        try:
            call.result()
            codes.append("OK")
        except wire.grpc.RpcError as e:
            codes.append(e.code().name)
    assert sorted(codes) == ["OK"] * 2 + ["UNAVAILABLE"] * 4
    rpc.close()


def test_a_request_larger_than_allowed(start, kind):
    hypersonic_alone(kind)
    running = start(flags=["--max-request-bytes", "10000"])
    assert infer_status(running) == 200
    body = b" " * 20_000
    reply = wire.post(running.http, PLAIN.path, body)
    Fault(413, None).check_http(reply.status, reply.error)
    rpc = wire.Grpc(running.grpc)
    big = PLAIN.but(inputs=[wire.Tensor("IN", "FP32", [1, 16], np.zeros((1, 16), np.float32), raw=bytes(20_000))])
    assert rpc.fault("ModelInfer", big.proto())[0] in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE")
    rpc.close()
