"""Statistics and metrics: true counts, under the names that dashboards and perf_analyzer read."""

import re
import time

import numpy as np
import pytest

import wire
from test_infer import PLAIN
from wire import Request, Tensor

DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
COUNTED = PLAIN.but(model="counted")
ROWS = Request("counted", [Tensor("IN", "FP32", [3, 16], np.zeros((3, 16), np.float32))])


def statistics(client, name="counted", version="") -> dict:
    (one,) = client.as_json("get_inference_statistics", name, version)["model_stats"]
    return one


def count(entry, field) -> int:
    return int(entry["inference_stats"].get(field, {}).get("count", 0))


def test_fields(server):
    """All of them are there and are unsigned numbers, also before anything happened."""
    (entry,) = wire.get(server.http, "/v2/models/rich/stats").json["model_stats"]
    assert (entry["name"], entry["version"]) == ("rich", "1")
    for field in ("last_inference", "inference_count", "execution_count"):
        assert isinstance(entry[field], int) and entry[field] >= 0
    for field in DURATIONS:
        assert set(entry["inference_stats"][field]) == {"count", "ns"}
        assert all(isinstance(n, int) and n >= 0 for n in entry["inference_stats"][field].values())
    assert isinstance(entry["batch_stats"], list)


def settled(read):
    """Reads until nothing changes: an answer may be faster than its own entries in the books."""
    value = None
    while (last := value) != (value := read()):
        time.sleep(0.1)
    return value


def counted(client) -> dict:
    return settled(lambda: statistics(client))


def test_success_counts_requests_and_rows(client):
    before = counted(client)
    client.run("counted", {"IN": np.zeros((1, 16), np.float32)})
    client.run("counted", {"IN": np.zeros((3, 16), np.float32)})
    after = counted(client)
    assert int(after["inference_count"]) - int(before.get("inference_count", 0)) == 4
    assert int(after["execution_count"]) - int(before.get("execution_count", 0)) == 2
    for field in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert count(after, field) - count(before, field) == 2, field
    assert int(after["inference_stats"]["success"]["ns"]) > int(before["inference_stats"]["success"].get("ns", 0))
    assert count(after, "cache_hit") == 0
    assert int(after["last_inference"]) > 1_600_000_000_000


def test_batch_statistics(server, rpc, grpc_client):
    """By the number of rows that went through the model at once."""

    def of_three() -> dict:
        sizes = {int(b["batch_size"]): b for b in counted(grpc_client).get("batch_stats", [])}
        return sizes.get(3, {})

    def executions(entry) -> int:
        return int(entry.get("compute_infer", {}).get("count", 0))

    before = executions(of_three())
    for _ in range(2):
        rpc.infer(ROWS)
    entry = of_three()
    assert executions(entry) == before + 2
    for field in ("compute_input", "compute_infer", "compute_output"):
        assert int(entry[field]["ns"]) > 0


def test_requests_that_are_refused_at_the_door_are_no_failures_of_the_model(server, grpc_client):
    """A wrong request never becomes one of the model's."""
    before = count(statistics(grpc_client), "fail")
    body, headers = COUNTED.but(outputs=["Y"]).json()
    assert wire.http_call(server.http, "POST", COUNTED.path, body=body, headers=headers).status == 400
    assert count(statistics(grpc_client), "fail") == before


def test_statistics_of_a_version(client):
    assert statistics(client, "chosen", "3")["version"] == "3"
    both = client.as_json("get_inference_statistics", "chosen")["model_stats"]
    assert sorted(m["version"] for m in both) == ["1", "3"]


def test_statistics_of_all_models(server, client):
    named = {m["name"] for m in client.as_json("get_inference_statistics")["model_stats"]}
    assert named >= {"plain", "pair", "counted"}
    assert {m["name"] for m in wire.get(server.http, "/v2/models/stats").json["model_stats"]} == named


def metrics(server) -> dict:
    """Values by name and labels: {name: {labels: value}}."""
    found: dict = {}
    for line in wire.get(server.metrics, "/metrics").body.decode().splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line).groups()
            pairs = tuple(sorted(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")))
            found.setdefault(name, {})[pairs] = float(value)
    return found


def inference_metrics(server) -> dict:
    """Without the host's, which change by themselves."""
    return {name: series for name, series in metrics(server).items() if name.startswith("nv_inference")}


def of(found, name, model="counted", **labels) -> float:
    """The sum over all series of a model with some labels."""
    wanted = {("model", model), *labels.items()}
    series = [value for pairs, value in found[name].items() if wanted <= set(pairs)]
    assert series, f"no {name} of {model}"
    return sum(series)


COUNTERS = [
    "nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count",
    "nv_inference_request_duration_us", "nv_inference_queue_duration_us", "nv_inference_compute_input_duration_us",
    "nv_inference_compute_infer_duration_us", "nv_inference_compute_output_duration_us",
]  # fmt: skip


@pytest.mark.parametrize("name", COUNTERS)
def test_every_counter_is_there_from_the_start(server, name):
    """At zero, for each model and version, before the first request."""
    found = metrics(server)
    series = [dict(pairs) for pairs in found[name] if ("model", "priority") in pairs]
    assert series
    assert all(s["version"] == "1" for s in series)


def test_types_and_help(server):
    text = wire.get(server.metrics, "/metrics").body.decode()
    for name in COUNTERS:
        assert f"# TYPE {name} counter" in text, name
        assert f"# HELP {name} " in text, name
    assert "# TYPE nv_inference_pending_request_count gauge" in text


def test_counters_grow(server, rpc):
    before = settled(lambda: inference_metrics(server))
    rpc.infer(COUNTED)
    rpc.infer(ROWS)
    after = settled(lambda: inference_metrics(server))
    grown = {name: of(after, name) - of(before, name) for name in COUNTERS}
    assert grown["nv_inference_request_success"] == 2
    assert grown["nv_inference_request_failure"] == 0
    assert grown["nv_inference_count"] == 4
    assert grown["nv_inference_exec_count"] == 2
    assert grown["nv_inference_request_duration_us"] > 0
    assert of(after, "nv_inference_pending_request_count") == 0


def test_failures_have_a_reason(server):
    reasons = {dict(pairs).get("reason") for pairs in metrics(server)["nv_inference_request_failure"]}
    assert reasons == {"REJECTED", "CANCELED", "BACKEND", "OTHER"}


def test_host_and_accelerator_gauges(server):
    """Dashboards count servers with nv_gpu_utilization: it is there also where only a CPU is."""
    found = metrics(server)
    assert found["nv_cpu_memory_total_bytes"]
    assert found["nv_cpu_memory_used_bytes"]
    assert ("nv_gpu_utilization" in found) == server.expect("gpu_utilization_of_a_cpu", True)


def test_metrics_are_whole_text(server):
    """Every series has a type, and no name is typed twice."""
    text = wire.get(server.metrics, "/metrics").body.decode()
    assert text.endswith("\n")
    typed = re.findall(r"^# TYPE (\S+)", text, re.M)
    assert len(typed) == len(set(typed))
    suffixes = re.compile(r"_(bucket|sum|count|total)$")
    for name in metrics(server):
        assert name in typed or suffixes.sub("", name) in typed, name
