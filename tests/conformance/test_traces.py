"""Traces: what a collector of OpenTelemetry gets, and that nobody waits for it."""

import secrets
import time

import numpy as np
import pytest

import clients
import models
import server as servers
import wire
from collector import Collector, attributes
from test_infer import PLAIN, ROW

pytestmark = pytest.mark.other_servers

SERVER, INTERNAL = 2, 1
ERROR = {"code": 2}


@pytest.fixture
def collector(ours):
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def running(start, collector):
    return start(flags=[*servers.EXPLICIT, "--otlp-endpoint", collector.url])


def parent(sampled=True) -> tuple[str, str, dict]:
    """A caller's trace, its span, and the header that says so."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, {"traceparent": f"00-{trace}-{span}-{'01' if sampled else '00'}"}


@pytest.mark.parametrize("transport", clients.TRANSPORTS)
def test_spans_of_an_inference(running, collector, transport):
    client = clients.Client(transport, getattr(running, transport.split(".")[0]))
    trace, caller, headers = parent()
    before = time.time_ns()
    client.run("plain", {"IN": np.repeat(ROW, 3, axis=0)}, headers=headers)
    after = time.time_ns()
    client.close()
    call, queue, compute = collector.wait(trace, 3)
    assert (call["kind"], queue["kind"], compute["kind"]) == (SERVER, INTERNAL, INTERNAL)
    assert (call["parentSpanId"], queue["parentSpanId"], compute["parentSpanId"]) == (caller, call["spanId"], call["spanId"])
    assert len({caller, call["spanId"], queue["spanId"], compute["spanId"]}) == 4
    assert not any("status" in s for s in (call, queue, compute))
    about = attributes(call)
    assert about["client.address"] == "127.0.0.1"
    if client.protocol == "http":
        assert call["name"] == "POST /v2/models/{model}/infer"
        assert about["url.path"] == "/v2/models/plain/infer"
        assert (about["http.request.method"], about["http.response.status_code"]) == ("POST", 200)
        assert about["http.route"] == "/v2/models/{model}/infer"
    else:
        assert call["name"] == "inference.GRPCInferenceService/ModelInfer"
        assert (about["rpc.system"], about["rpc.grpc.status_code"]) == ("grpc", 0)
        assert (about["rpc.service"], about["rpc.method"]) == ("inference.GRPCInferenceService", "ModelInfer")
    assert (queue["name"], compute["name"]) == ("queue", "compute")
    model = {"hypersonic.model.name": "plain", "hypersonic.model.version": "1"}
    assert attributes(queue) == model
    assert attributes(compute) == {
        **model, "hypersonic.backend": "identity", "hypersonic.exact": False, "hypersonic.batch.rows": 3,
    }  # fmt: skip
    times = [int(t) for s in (call, queue, compute) for t in (s["startTimeUnixNano"], s["endTimeUnixNano"])]
    began, ended, arrived, taken, started, done = times
    # The clocks of two processes of one machine.
    assert before - 10**6 <= began <= arrived <= taken == started <= done <= ended <= after + 10**9
    assert collector.resources[0]["service.name"] == "hypersonic"


def test_a_stream_is_one_call(running, collector):
    rpc = wire.Grpc(running.grpc)
    trace, _, headers = parent()
    answers = list(rpc.stub.ModelStreamInfer(iter([PLAIN.proto()] * 3), metadata=list(headers.items())))
    assert len(answers) == 3
    call, *parts = collector.wait(trace, 7)
    assert call["name"] == "inference.GRPCInferenceService/ModelStreamInfer"
    assert [p["name"] for p in parts] == ["queue", "compute"] * 3
    assert all(int(p["endTimeUnixNano"]) <= int(call["endTimeUnixNano"]) for p in parts)
    rpc.close()


def test_a_batch_is_told_with_all_its_rows(start, collector, kind, tmp_path):
    models.BATCHED.write(tmp_path / "models", kind)
    running = start(repository=tmp_path / "models", flags=[*servers.EXPLICIT, "--otlp-endpoint", collector.url])
    rpc = wire.Grpc(running.grpc)
    request = wire.Request("batched", [wire.Tensor("IN", "FP32", [1, 1], np.zeros((1, 1), np.float32))])
    traces = [parent() for _ in range(8)]
    calls = [rpc.stub.ModelInfer.future(request.proto(), metadata=list(h.items())) for _, _, h in traces]
    for call in calls:
        call.result()
    rows = [attributes(collector.wait(trace, 3)[2])["hypersonic.batch.rows"] for trace, _, _ in traces]
    assert max(rows) > 1
    # As many tell of a batch as are in it.
    assert all(rows.count(n) % n == 0 for n in rows)
    rpc.close()


def test_failures(running, collector):
    trace, _, headers = parent()
    assert wire.post(running.http, "/v2/models/nowhere/infer", {"inputs": []}, headers=headers).status in (400, 404)
    (call,) = collector.wait(trace, 1)
    assert "status" not in call and attributes(call)["http.response.status_code"] in (400, 404)
    rpc = wire.Grpc(running.grpc)
    trace, _, headers = parent()
    assert rpc.fault("ModelInfer", PLAIN.but(model="nowhere").proto(), metadata=list(headers.items()))[0] == "NOT_FOUND"
    (call,) = collector.wait(trace, 1)
    assert "status" not in call and attributes(call)["rpc.grpc.status_code"] == 5
    # A client that does not wait.
    trace, _, headers = parent()
    slow = wire.Request("slow", [wire.Tensor("IN", "FP32", [1], np.zeros(1, np.float32))])
    future = rpc.stub.ModelInfer.future(slow.proto(), metadata=list(headers.items()))
    time.sleep(0.15)
    future.cancel()
    call = collector.wait(trace, 1)[0]
    assert call["status"] == ERROR and attributes(call)["error.type"] == "cancelled"
    rpc.close()


def test_what_is_recorded(running, collector):
    """Without a caller's word, one in `trace_rate`; a caller's word comes first; OFF is off."""

    def settings(path="/v2/trace/setting", **changes):
        assert wire.post(running.http, path, changes).status == 200

    def ask(headers=None, times=1):
        for _ in range(times):
            assert wire.post(running.http, PLAIN.path, PLAIN.json()[0], headers=headers).status == 200

    def marker() -> int:
        """Spans of inferences so far; whatever came before a span that is sent has been sent with it."""
        trace, _, headers = parent()
        ask(headers)
        collector.wait(trace, 3)
        return sum(s["name"] == "POST /v2/models/{model}/infer" for s in collector.spans)

    shown = wire.get(running.http, "/v2/trace/setting").json
    assert (shown["trace_level"], shown["trace_rate"], shown["trace_mode"]) == (["TIMESTAMPS"], "1", "opentelemetry")
    before = marker()
    ask(times=4)
    ask(parent(sampled=False)[2], times=3)
    assert marker() == before + 5
    settings(trace_rate="3")
    before = marker()
    ask(times=10)
    assert marker() == before + 4
    settings(trace_rate="1", trace_count="2")
    before = len(collector.spans)
    ask(times=5)
    settings(trace_count="-1")
    marker()
    assert sum(s["name"] == "queue" for s in collector.spans[before:]) == 3
    # Nobody's word counts where it is off; other models are not concerned.
    settings("/v2/models/plain/trace/setting", trace_level=["OFF"])
    off, _, headers = parent()
    ask(headers)
    on, _, headers = parent()
    assert wire.get(running.http, "/v2/models/slow", headers=headers).status == 200
    collector.wait(on, 1)
    assert collector.of(off) == []
    # Probes are not worth a span.
    assert not any("health" in s["name"] for s in collector.spans)


@pytest.mark.parametrize("fault", ["nobody", "hangs", "refuses"])
def test_a_collector_that_does_not_take_them(start, ours, fault):
    """Requests do not notice; the log says so once; the end is not held up."""
    collector = Collector(hold=fault == "hangs")
    if fault == "nobody":
        collector.close()
    collector.status = 503
    running = start(flags=["--otlp-endpoint", collector.url])
    slowest = 0.0
    for _ in range(6):
        for _ in range(50):
            began = time.monotonic()
            assert wire.send_http(running.http, PLAIN, "json").status == 200
            slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.5)
    # The exporter waits ten seconds for an answer.
    assert slowest < 5, slowest
    assert running.stop() < 2
    assert running.process.returncode == 0
    if fault != "hangs":
        assert running.log.read_text().count("traces cannot be exported") == 1
    if fault != "nobody":
        collector.close()


def test_a_collector_that_comes_back(running, collector):
    collector.status = 500
    lost, _, headers = parent()
    assert wire.post(running.http, PLAIN.path, PLAIN.json()[0], headers=headers).status == 200
    deadline = time.monotonic() + 30
    while "traces cannot be exported" not in running.log.read_text():
        assert time.monotonic() < deadline, running.tail()
        time.sleep(0.05)
    collector.status = 200
    found, _, headers = parent()
    assert wire.post(running.http, PLAIN.path, PLAIN.json()[0], headers=headers).status == 200
    collector.wait(found, 3)
    assert collector.of(lost) == []


def test_the_last_traces_are_sent(running, collector):
    trace, _, headers = parent()
    assert wire.post(running.http, PLAIN.path, PLAIN.json()[0], headers=headers).status == 200
    assert running.stop() < 2
    assert len(collector.of(trace)) == 3
