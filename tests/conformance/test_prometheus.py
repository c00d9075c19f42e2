"""A real Prometheus reads the metrics and computes what dashboards and autoscalers ask it for."""

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

import server as servers
import wire
from test_infer import PLAIN

CONFIG = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: triton
    static_configs:
      - targets: ["{target}"]
"""
# Queue time of an execution in ms: what scales and admits.
QUEUE_TIME = "sum(rate(nv_inference_queue_duration_us[30s])) / (sum(rate(nv_inference_exec_count[30s])) * 1000 + 0.001)"


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture
def query(server, tmp_path):
    """Asks a Prometheus that scrapes the server: the values of an expression by their labels."""
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(target=server.metrics))
    address = f"127.0.0.1:{servers.free_port()}"
    command = [program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], cwd=tmp_path, stdout=log, stderr=log)

    def ask(expression):
        url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(url, timeout=5) as reply:
                    found = json.load(reply)["data"]["result"]
            except OSError:
                found = []
            if found:
                return [(series["metric"], float(series["value"][1])) for series in found]
            time.sleep(0.2)
        raise AssertionError(f"no {expression}\n{(tmp_path / 'prometheus.log').read_text()[-2000:]}")

    yield ask
    process.terminate()
    process.wait()


def test_prometheus(server, rpc, query):
    assert query("up == 1")
    for _ in range(20):
        rpc.infer(PLAIN)
    (_, before) = query('sum(nv_inference_count{model="plain"})')[0]
    deadline = time.monotonic() + 30
    while query('sum(nv_inference_count{model="plain"})')[0][1] == before and time.monotonic() < deadline:
        rpc.infer(PLAIN)
        time.sleep(0.2)
    assert query('sum(nv_inference_count{model="plain"})')[0][1] > before
    assert query("sum(rate(nv_inference_exec_count[30s])) > 0")
    (_, queue_time) = query(QUEUE_TIME)[0]
    assert 0 <= queue_time < 1000
    if server.expect("gpu_utilization_of_a_cpu", True):
        assert query("count(nv_gpu_utilization)")[0][1] >= 1


def test_names_and_types_as_prometheus_wants_them(server):
    """Its own linter reads the text; it may frown on names, which are given, but must understand all of it."""
    text = wire.get(server.metrics, "/metrics").body
    result = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, timeout=20)
    complaints = result.stderr.decode()
    assert "error while linting" not in complaints, complaints
    assert result.returncode in (0, 3), complaints
