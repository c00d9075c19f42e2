"""perf_analyzer as it is, against the server: every way of sending, and the server's own columns."""

import csv
import os
import subprocess

import pytest

import wire

pytestmark = pytest.mark.perf_analyzer

SERVER_COLUMNS = ["Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output"]
# Short windows; any spread between them is fine, and a busy machine may need some more.
QUICK = ["--measurement-interval", "300", "--max-trials", "20", "--stability-percentage", "999"]


@pytest.fixture(scope="session")
def perf_analyzer():
    path = os.environ.get("HYPERSONIC_PERF_ANALYZER")
    if path is None:
        pytest.skip("perf_analyzer is not installed (scripts/setup --test)")
    return path


@pytest.fixture
def analyse(perf_analyzer, server, tmp_path):
    """Runs perf_analyzer; its table's rows and what it printed."""

    def run(protocol, *arguments, model="plain"):
        table = tmp_path / "table.csv"
        command = [perf_analyzer, "-m", model, "-i", protocol, "-u", getattr(server, protocol), "-f", table]
        result = subprocess.run(
            [*map(str, command), *QUICK, *arguments], capture_output=True, text=True, timeout=80, cwd=tmp_path
        )
        printed = result.stdout + result.stderr
        assert result.returncode == 0, printed
        assert table.exists(), printed
        with table.open() as lines:
            return list(csv.DictReader(lines)), printed

    return run


def check(rows, printed, levels=1):
    assert len(rows) == levels, printed
    for row in rows:
        assert float(row["Inferences/Second"]) > 0, printed
        for column in SERVER_COLUMNS:
            assert int(row[column]) >= 0, printed
    assert "Successful request count" in printed
    assert "rror" not in printed, printed


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("way", ["--sync", "--async"])
def test_closed_loop(analyse, protocol, way):
    check(*analyse(protocol, way))


def test_server_columns(analyse):
    """In microseconds of a request: the model takes 300 ms of its own."""
    rows, printed = analyse("grpc", "--measurement-interval", "1000", model="slow")
    check(rows, printed)
    assert int(rows[0]["Server Compute Infer"]) >= 300_000, printed


def test_streaming(analyse):
    check(*analyse("grpc", "--streaming", "--async"))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_batches(analyse, rpc, protocol):
    """Rows, not requests, are what it counts as inferences."""
    rows, printed = analyse(protocol, "-b", "8")
    check(rows, printed)
    (entry,) = rpc.call("ModelStatistics", wire.pb.ModelStatisticsRequest(name="plain")).model_stats
    assert any(b.batch_size == 8 for b in entry.batch_stats)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_batch_larger_than_the_model_allows(perf_analyzer, server, protocol, tmp_path):
    command = [perf_analyzer, "-m", "plain", "-i", protocol, "-u", getattr(server, protocol), "-b", "9", *QUICK]
    result = subprocess.run(command, capture_output=True, text=True, timeout=80, cwd=tmp_path)
    assert result.returncode != 0
    assert "batch-size must be <= 8" in result.stdout + result.stderr


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_system_shared_memory(analyse, server, protocol):
    check(*analyse(protocol, "-b", "4", "--shared-memory", "system", "--output-shared-memory-size", "256"))
    assert wire.get(server.http, "/v2/systemsharedmemory/status").json == []


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_several_clients(analyse, protocol):
    check(*analyse(protocol, "--async", "--concurrency-range", "1:4:3"), levels=2)


def test_variable_dimensions(analyse):
    check(*analyse("grpc", "--shape", "IN:100", model="any"))


def test_strings(analyse):
    check(*analyse("http", "--shape", "IN:2", "--string-length", "5", model="typed_bytes"))


def test_request_rate(analyse):
    check(*analyse("grpc", "--request-rate-range", "200:200"))


def test_compressed(analyse):
    check(*analyse("grpc", "--grpc-compression-algorithm", "gzip"))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_metrics(analyse, server, protocol):
    check(*analyse(protocol, "--collect-metrics", "--metrics-url", f"{server.metrics}/metrics"))
