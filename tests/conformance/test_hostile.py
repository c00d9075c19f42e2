"""Clients that attack, stall or die, and backends that do: the server lives, and its memory is bounded.

More of the same without a real server around it is in the tests of `hs-server` (connections, idle, gRPC's faults) and of
`hs-serve` (backends).
"""

import contextlib
import gzip
import json
import resource
import socket
import struct
import threading
import time
import zlib

import h2.config
import h2.connection
import numpy as np
import pytest

import models
import server as servers
import wire
from models import Model
from test_infer import PLAIN, ROW

pytestmark = pytest.mark.other_servers

MIB = 1 << 20
CLAIM = (1 << 31) - 1
# What the answers of a server that is well may take on a machine that is busy.
PATIENCE = 10


@pytest.fixture
def running(start, ours):
    return start()


def peak(running) -> int:
    """Most bytes that the server has ever held."""
    with open(f"/proc/{running.process.pid}/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def bounded(running, most: int):
    """What happens inside makes the server larger by `most` bytes at most, and leaves it well."""
    assert_well(running)
    before = peak(running)
    yield
    assert_well(running)
    grown = peak(running) - before
    assert grown <= most, f"{grown / MIB:.1f} MiB more, expected {most / MIB:.0f} at most"


def assert_well(running) -> None:
    """It answers, soon, over HTTP and gRPC."""
    assert running.process.poll() is None, running.tail()
    began = time.monotonic()
    reply = wire.send_http(running.http, PLAIN, "binary")
    assert reply.status == 200, reply.body
    rpc = wire.Grpc(running.grpc)
    assert rpc.infer(PLAIN).raw_output_contents[0] == ROW.tobytes()
    rpc.close()
    assert time.monotonic() - began < PATIENCE


def post_head(path: str, length: int, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def test_bodies_that_break_off(running):
    """Half a body, and the client is gone, or says no more and reads."""
    body, headers = PLAIN.binary()
    head = post_head(PLAIN.path, len(body), *(f"{k}: {v}" for k, v in headers.items()))
    for cut in (0, 1, len(body) // 2, len(body) - 1):
        for ends in (True, False):
            connection = wire.http_bytes(running.http, head + body[:cut])
            if ends:
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    answer = connection.recv(1 << 16)
                    assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer
            connection.close()
    # A chunk that is cut, and one that is none.
    chunked = f"POST {PLAIN.path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for rest in (b"5\r\nab", b"zz\r\n", b"ffffffffffffffffff\r\n"):
        connection = wire.http_bytes(running.http, chunked + rest)
        connection.shutdown(socket.SHUT_WR)
        connection.close()
    assert_well(running)


def grpc_call(address: str) -> tuple[socket.socket, h2.connection.H2Connection]:
    """A call of ModelInfer without its message."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=wire.SECONDS)
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    state.initiate_connection()
    path = "/inference.GRPCInferenceService/ModelInfer"
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "test"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    state.send_headers(1, list(fields.items()))
    connection.sendall(state.data_to_send())
    return connection, state


def test_a_claim_of_two_gibibytes_costs_nothing(running):
    """A hundred clients say that they send two GiB each, and send little."""
    some = b"\xff" * 4096
    with bounded(running, 128 * MIB), contextlib.ExitStack() as open_ones:
        for _ in range(50):
            head = post_head(PLAIN.path, CLAIM, "Inference-Header-Content-Length: 100")
            open_ones.enter_context(wire.http_bytes(running.http, head + some))
            connection, state = grpc_call(running.grpc)
            open_ones.enter_context(connection)
            state.send_data(1, b"\0" + struct.pack(">I", CLAIM) + some)
            connection.sendall(state.data_to_send())
        # What JSON or a message says of tensors is a claim, too.
        huge = wire.Tensor("IN", "FP32", [1 << 40, 16], data=ROW)
        rpc = wire.Grpc(running.grpc)
        for _ in range(20):
            for encoding in ("json", "binary"):
                assert wire.send_http(running.http, PLAIN.but(inputs=[huge]), encoding).status == 400
            assert rpc.fault("ModelInfer", PLAIN.but(inputs=[huge]).proto())[0] == "INVALID_ARGUMENT"
        rpc.close()
        time.sleep(0.5)


def bomb(size: int, wbits: int) -> bytes:
    """Zeros, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    chunk = bytes(4 * MIB)
    return b"".join(packer.compress(chunk) for _ in range(size // len(chunk))) + packer.flush()


def test_bombs(start, ours):
    """What unpacks to more than a request may have is not unpacked; ten of them at once."""
    limit = 16 * MIB
    guarded = start(flags=[*servers.EXPLICIT, "--max-request-bytes", str(limit)])
    packed = {"gzip": bomb(256 * MIB, 31), "deflate": bomb(256 * MIB, 15)}
    assert all(len(p) < MIB for p in packed.values())
    codes = []

    def http(coding):
        headers = {"Content-Encoding": coding, "Inference-Header-Content-Length": "100"}
        codes.append(wire.http_call(guarded.http, "POST", PLAIN.path, body=packed[coding], headers=headers).status)

    def grpc(coding):
        rpc = wire.Grpc(guarded.grpc)
        code = {"gzip": wire.grpc.Compression.Gzip, "deflate": wire.grpc.Compression.Deflate}[coding]
        big = PLAIN.but(inputs=[wire.Tensor("IN", "FP32", [1, 16], raw=bytes(64 * MIB))])
        try:
            rpc.stub.ModelInfer(big.proto(), timeout=60, compression=code)
        except wire.grpc.RpcError as e:
            codes.append(e.code().name)
        rpc.close()

    with bounded(guarded, 10 * 3 * limit):
        threads = [threading.Thread(target=http, args=(c,)) for c in packed for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert codes == [413] * 10
    codes.clear()
    with bounded(guarded, 3 * limit):
        for coding in packed:
            grpc(coding)
        assert codes == ["RESOURCE_EXHAUSTED"] * 2
    # Small ones that are honest are welcome.
    body, headers = PLAIN.json()
    reply = wire.http_call(
        guarded.http, "POST", PLAIN.path, body=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"}
    )
    assert reply.status == 200


def test_bombs_under_the_usual_limits(ours, start):
    """What few bytes become is bounded more tightly than what comes as it is."""
    running = start()
    packed = bomb(1024 * MIB, 31)
    headers = {"Content-Encoding": "gzip", "Inference-Header-Content-Length": "100"}
    big = PLAIN.but(inputs=[wire.Tensor("IN", "FP32", [1, 16], raw=bytes(65 * MIB))]).proto()
    rpc = wire.Grpc(running.grpc)
    with bounded(running, 300 * MIB):
        assert wire.http_call(running.http, "POST", PLAIN.path, body=packed, headers=headers).status == 413
        with pytest.raises(wire.grpc.RpcError) as error:
            rpc.stub.ModelInfer(big, timeout=60, compression=wire.grpc.Compression.Gzip)
        assert error.value.code().name == "RESOURCE_EXHAUSTED"
    # As it is, its size is no reason to refuse it.
    assert rpc.fault("ModelInfer", big)[0] == "INVALID_ARGUMENT"
    rpc.close()


def test_ten_thousand_idle_connections(ours, start):
    """They cost little, and who has something to ask is answered meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        number = min(10_000, hard - 500)
        assert number >= 1000, "raise the limit of open files"
        running = start()
        with bounded(running, number * 24 * 1024), contextlib.ExitStack() as idle:
            for i in range(number):
                idle.enter_context(wire.http_bytes(running.http if i % 2 else running.grpc, b""))
            assert_well(running)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_loris(running):
    """Heads that come a byte at a time: others are answered, and after 30 s that is the end of it."""
    began = time.monotonic()
    slow = [wire.http_bytes(running.http, b"GET /v2/health/live HTTP/1.1\r\nX: ") for _ in range(300)]
    silent = [wire.http_bytes(running.http, b"") for _ in range(20)]
    closed = set()
    while len(closed) < len(slow) + len(silent):
        assert time.monotonic() - began < 75, f"{len(closed)} connections were given up"
        assert_well(running)
        for connection in slow + silent:
            if connection in closed:
                continue
            try:
                if connection in slow:
                    connection.send(b"x")
                connection.setblocking(False)
                # An answer that says why comes before the end.
                while connection.recv(4096):
                    pass
                closed.add(connection)
            except BlockingIOError:
                connection.setblocking(True)
            except OSError:
                closed.add(connection)
        time.sleep(1)
    assert time.monotonic() - began > 20
    for connection in slow + silent:
        connection.close()


FAILING = {
    # Whether it fails at once, and how.
    "dies": {"fail": "panic", "fail_every": 2},
    "fails": {"fail": "backend", "fail_every": 2},
    "hangs": {"fail": "hang", "fail_every": 2, "execution_timeout_us": 200_000},
}


@pytest.mark.parametrize("way", FAILING)
def test_a_backend_that(ours, kind, start, tmp_path, way):
    """Every second call fails: its request is told so, the others are answered."""
    repository = tmp_path / "models"
    Model("sick", parameters=FAILING[way]).write(repository, kind)
    models.PLAIN.write(repository, kind)
    running = start(repository=repository)
    rpc = wire.Grpc(running.grpc)
    sick = PLAIN.but(model="sick")
    for _ in range(4):
        assert rpc.infer(sick).raw_output_contents[0] == ROW.tobytes()
        assert rpc.fault("ModelInfer", sick.proto())[0] == "INTERNAL"
        assert_well(running)
    for _ in range(4):
        assert {wire.send_http(running.http, sick, "json").status for _ in range(2)} == {200, 500}
    (entry,) = rpc.call("ModelStatistics", wire.pb.ModelStatisticsRequest(name="sick")).model_stats
    assert (entry.inference_stats.success.count, entry.inference_stats.fail.count) == (8, 8)
    rpc.close()
    assert running.stop() < 2


def test_a_call_that_never_returns_does_not_keep_the_server(ours, kind, start, tmp_path):
    """Nothing limits the call; its client may leave, and the server may end."""
    repository = tmp_path / "models"
    Model("stuck", parameters={"fail": "hang"}).write(repository, kind)
    models.PLAIN.write(repository, kind)
    running = start(repository=repository, flags=[*servers.EXPLICIT, "--exit-timeout-secs", "2"])
    rpc = wire.Grpc(running.grpc)
    stuck = PLAIN.but(model="stuck")
    assert rpc.fault("ModelInfer", stuck.proto(), seconds=0.5)[0] == "DEADLINE_EXCEEDED"
    calls = [rpc.stub.ModelInfer.future(stuck.proto(), timeout=60) for _ in range(20)]
    time.sleep(0.3)
    assert_well(running)
    assert running.stop() < 8
    assert running.process.returncode == 0
    assert all(call.exception() is not None for call in calls)
    rpc.close()


def test_sigterm_under_load(running):
    """Whatever is answered is answered whole; what is not was refused or never taken."""
    wrong, answered, stopped = [], [0] * 8, threading.Event()
    body, headers = PLAIN.binary()
    values = ROW.reshape(-1).tolist()

    def http(i):
        host, port = running.http.rsplit(":", 1)
        connection = wire.http.client.HTTPConnection(host, int(port), timeout=wire.SECONDS)
        while not stopped.is_set():
            try:
                connection.request("POST", PLAIN.path, body=body, headers=headers)
                reply = connection.getresponse()
                data = reply.read()
            except ConnectionError:
                # It was closed before a request was taken.
                break
            except Exception as e:
                wrong.append(repr(e))
                break
            if reply.status != 200 or json.loads(data)["outputs"][0]["data"] != values:
                wrong.append((reply.status, data))
            answered[i] += 1

    def grpc(i):
        rpc = wire.Grpc(running.grpc)
        while not stopped.is_set():
            try:
                answer = rpc.infer(PLAIN)
            except wire.grpc.RpcError as e:
                if e.code().name not in ("UNAVAILABLE", "CANCELLED"):
                    wrong.append(str(e))
                break
            if answer.raw_output_contents[0] != ROW.tobytes():
                wrong.append("other bytes")
            answered[i] += 1
        rpc.close()

    threads = [threading.Thread(target=(http, grpc)[i % 2], args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while min(answered) < 20:
        assert time.monotonic() < deadline, answered
        time.sleep(0.01)
    seconds = running.stop()
    stopped.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert running.process.returncode == 0
    assert "0 connections cut" in running.log.read_text(), running.tail()
    assert seconds < 5
