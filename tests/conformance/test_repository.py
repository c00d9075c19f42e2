"""The repository's index, loading and unloading."""

import base64
import json
import shutil
import threading
import time

import numpy as np
import pytest

import models
import wire
from faults import Fault
from test_infer import PLAIN, ROW, same
from wire import Request, Tensor

STEADY = PLAIN.but(model="steady")
SLOW = Request("slow", [Tensor("IN", "FP32", [1], np.array([7], np.float32))])


def index(client, **kwargs) -> list:
    listed = client.as_json("get_model_repository_index", **kwargs)
    return listed.get("models", []) if isinstance(listed, dict) else listed


def states(client, name) -> dict:
    return {m.get("version", ""): m.get("state", "") for m in index(client) if m["name"] == name}


def wait_until(true, seconds=10):
    """Unloading is asynchronous."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.02)


def test_index_is_a_bare_list(server):
    listed = wire.post(server.http, "/v2/repository/index", {}).json
    assert isinstance(listed, list)
    assert {m["name"] for m in listed} >= {m.name for m in models.MODELS} - {"reloaded"}
    assert wire.post(server.http, "/v2/repository/index").status == 200
    assert wire.post(server.http, "/v2/repository/index", {"ready": True}).status == 200


def test_index(client):
    listed = {(m["name"], m.get("version", "")): m["state"] for m in index(client)}
    for model in models.MODELS:
        if model.name == "chosen":
            versions = ["1", "3"]
        elif model.name in ("newest", "reloaded"):
            continue
        else:
            versions = [str(v) for v in model.versions]
        for version in versions:
            assert listed[(model.name, version)] == "READY", model.name
    assert listed[("newest", "2")] == "READY"


def test_index_is_the_same_in_both_protocols(server, rpc):
    listed = sorted((m["name"], m.get("version", "")) for m in wire.post(server.http, "/v2/repository/index", {}).json)
    assert listed == sorted((m.name, m.version) for m in rpc.call("RepositoryIndex").models)


def test_index_of_what_is_ready(rpc, grpc_client):
    grpc_client.unload_model("reloaded")
    wait_until(lambda: not grpc_client.is_model_ready("reloaded"))
    ready = rpc.call("RepositoryIndex", wire.pb.RepositoryIndexRequest(ready=True)).models
    assert {m.state for m in ready} == {"READY"}
    assert "reloaded" not in {m.name for m in ready}
    everything = rpc.call("RepositoryIndex").models
    assert {m.state for m in everything if m.name == "reloaded"} <= {"UNAVAILABLE", "UNLOADING", ""}
    assert "reloaded" in {m.name for m in everything}
    grpc_client.load_model("reloaded")
    assert "reloaded" in {m.name for m in rpc.call("RepositoryIndex", wire.pb.RepositoryIndexRequest(ready=True)).models}


def test_unload_and_load(server, client):
    client.load_model("reloaded")
    assert client.is_model_ready("reloaded")
    client.unload_model("reloaded")
    wait_until(lambda: not client.is_model_ready("reloaded"))
    gone = Fault(404, "NOT_FOUND", "unknown model: 'reloaded'( has no available versions| is not found)")
    expected = server.expect("unloaded", gone)
    client.refused(expected, "run", "reloaded", {"IN": ROW})
    client.load_model("reloaded")
    same(client.run("reloaded", {"IN": ROW}).as_numpy("OUT"), ROW)


def test_unload_with_dependents(client):
    client.load_model("reloaded")
    client.unload_model("reloaded", unload_dependents=True)
    wait_until(lambda: not client.is_model_ready("reloaded"))
    client.load_model("reloaded")


def test_load_with_another_configuration(kind, client):
    """The configuration in the request takes the place of the repository's until the model is unloaded."""
    config = {
        "backend": models.BACKENDS[kind],
        "max_batch_size": 2,
        "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [16]}],
        "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [16]}],
    }
    client.load_model("reloaded", config=json.dumps(config))
    config = client.as_json("get_model_config", "reloaded")
    assert config.get("config", config)["max_batch_size"] == 2
    same(client.run("reloaded", {"IN": np.tile(ROW, (2, 1))}).as_numpy("OUT"), np.tile(ROW, (2, 1)))
    too_many = Fault(400, "INVALID_ARGUMENT", "batch-size must be <= 2 for 'reloaded'")
    client.refused(too_many, "run", "reloaded", {"IN": np.tile(ROW, (3, 1))})
    client.unload_model("reloaded")
    wait_until(lambda: not client.is_model_ready("reloaded"))
    client.load_model("reloaded")
    same(client.run("reloaded", {"IN": np.tile(ROW, (3, 1))}).as_numpy("OUT"), np.tile(ROW, (3, 1)))


def test_load_with_files(kind, server, http_client, grpc_client):
    """A model that comes whole in the request; loading it again from the repository takes it away."""
    config = {
        "backend": models.BACKENDS[kind],
        "max_batch_size": 8,
        "input": [{"name": "IN", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "OUT", "data_type": "TYPE_FP32", "dims": [4]}],
    }
    row = np.ones((1, 4), np.float32)
    for client in (http_client, grpc_client):
        files = {"file:5/model.py": models.MODEL_PY.encode()}
        client.load_model("reloaded", config=json.dumps(config), files=files)
        assert client.is_model_ready("reloaded", "5")
        assert not client.is_model_ready("reloaded", "1")
        same(client.run("reloaded", {"IN": row}, model_version="5").as_numpy("OUT"), row)
        client.load_model("reloaded")
        assert client.is_model_ready("reloaded", "1")
        wait_until(lambda: not client.is_model_ready("reloaded", "5"))


@pytest.mark.parametrize("name", ["file:../escaped.py", "file:1/../../escaped.py", "file:/escaped.py"])
def test_files_stay_inside_the_model(kind, server, name):
    config = {"backend": models.BACKENDS[kind], "max_batch_size": 0}
    parameters = {"config": json.dumps(config), name: base64.b64encode(b"x").decode()}
    reply = wire.post(server.http, "/v2/repository/models/reloaded/load", {"parameters": parameters})
    server.expect(f"file_escapes/{name}", Fault(400, None)).check_http(reply.status, reply.error)
    assert wire.send_http(server.http, PLAIN.but(model="reloaded"), "json").status == 200


REFUSED_LOADS = {
    "unknown_model": ("nowhere", {}, Fault((400, 404, 500), ("INTERNAL", "NOT_FOUND", "INVALID_ARGUMENT"), "failed to load 'nowhere'")),
    "config_is_not_json": ("reloaded", {"config": "{"}, Fault(400, "INVALID_ARGUMENT")),
    "config_of_unknown_field": ("reloaded", {"config": '{"no_such_field": 1}'}, Fault(400, "INVALID_ARGUMENT", "no_such_field|'reloaded'")),
    "files_without_config": ("reloaded", {"file:1/model.py": base64.b64encode(b"x").decode()}, Fault(400, "INVALID_ARGUMENT", "config|override")),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_LOADS)
def test_refused_loads(server, rpc, case):
    """A load that fails leaves what is loaded."""
    name, parameters, fault = REFUSED_LOADS[case]
    fault = server.expect(f"load/{case}", fault)
    reply = wire.post(server.http, f"/v2/repository/models/{name}/load", {"parameters": parameters})
    fault.check_http(reply.status, reply.error)
    message = wire.pb.RepositoryModelLoadRequest(model_name=name)
    for key, value in parameters.items():
        if key.startswith("file:"):
            message.parameters[key].bytes_param = base64.b64decode(value)
        else:
            message.parameters[key].string_param = value
    fault.check_grpc(*rpc.fault("RepositoryModelLoad", message))
    assert wire.send_http(server.http, PLAIN.but(model="reloaded"), "json").status == 200


def test_unload_of_an_unknown_model_is_no_error(server, client):
    client.unload_model("nowhere")


@pytest.fixture
def added(server):
    """Adds models to the repository on disk; taken away after the test."""
    names = []

    def add(model):
        model.write(server.repository, server.kind)
        names.append(model.name)

    yield add
    for name in names:
        wire.post(server.http, f"/v2/repository/models/{name}/unload")
        shutil.rmtree(server.repository / name, ignore_errors=True)


def test_a_model_that_is_added_later(server, client, added):
    """Found by the load that names it."""
    added(models.LATE)
    assert not client.is_model_ready("late")
    client.load_model("late")
    same(client.run("late", {"IN": ROW}).as_numpy("OUT"), ROW)


def test_a_model_whose_folder_is_removed(server, client, added):
    """It is served until it is unloaded."""
    added(models.LATE)
    client.load_model("late")
    shutil.rmtree(server.repository / "late")
    same(client.run("late", {"IN": ROW}).as_numpy("OUT"), ROW)
    client.unload_model("late")
    wait_until(lambda: not client.is_model_ready("late"))


def test_unloading_waits_for_requests(server, rpc, grpc_client):
    """What was taken is answered."""
    started = time.monotonic()
    calls = [rpc.stub.ModelInfer.future(SLOW.proto(), timeout=wire.SECONDS) for _ in range(3)]
    time.sleep(0.15)
    grpc_client.unload_model("slow")
    for call in calls:
        assert list(call.result().raw_output_contents) == [SLOW.inputs[0].bytes()]
    assert time.monotonic() - started > 0.25
    wait_until(lambda: not grpc_client.is_model_ready("slow"))
    grpc_client.load_model("slow")
    assert rpc.infer(SLOW).model_name == "slow"


def test_reloading_drops_no_request(server, http_client):
    """A model that is loaded again while it is used: no request fails."""
    failed, answered, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            reply = wire.send_http(server.http, STEADY, "binary")
            (answered if reply.status == 200 else failed).append(reply)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        # A changed file makes Triton load the model instead of keeping the one it has.
        models.STEADY.write(server.repository, server.kind)
        http_client.load_model("steady")
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]
    assert len(answered) > 10
