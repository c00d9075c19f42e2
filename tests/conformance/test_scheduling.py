"""Batches, queues, priorities, timeouts and clients that go away."""

import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import numpy as np
import pytest

import wire
from faults import Fault
from test_infer import PLAIN, ROW
from wire import Request, Tensor


def one(model, value=0.0, batch=True) -> Request:
    shape = [1, 1] if batch else [1]
    return Request(model, [Tensor("IN", "FP32", shape, np.full(shape, value, np.float32))])


def value_of(answer) -> float:
    return float(np.frombuffer(answer.raw_output_contents[0], np.float32)[0])


def execution_count(rpc, model) -> int:
    (entry,) = rpc.call("ModelStatistics", wire.pb.ModelStatisticsRequest(name=model)).model_stats
    return entry.execution_count


def launch(rpc, requests, **kwargs):
    return [rpc.stub.ModelInfer.future(r.proto(), timeout=wire.SECONDS, **kwargs) for r in requests]


def test_requests_of_several_clients_share_an_execution(rpc):
    before = execution_count(rpc, "batched")
    calls = launch(rpc, [one("batched", i) for i in range(8)])
    assert [value_of(c.result()) for c in calls] == list(range(8))
    time.sleep(0.3)
    assert 1 <= execution_count(rpc, "batched") - before <= 3


def test_a_lonely_request_does_not_wait_for_ever(rpc):
    started = time.monotonic()
    assert value_of(rpc.infer(one("batched", 5))) == 5
    assert 0.15 < time.monotonic() - started < 2


def test_a_full_queue_refuses_at_once(rpc):
    """One runs, one waits; a batcher may hold one more. The others hear it before these are answered."""
    order = []
    calls = launch(rpc, [one("queue", i) for i in range(8)])
    for call in calls:
        call.add_done_callback(lambda c: order.append(c.code().name))
    for i, call in enumerate(calls):
        try:
            assert value_of(call.result()) == i
        except wire.grpc.RpcError as e:
            Fault(None, "UNAVAILABLE", "[Ee]xceeds maximum queue size").check_grpc(e.code().name, e.details())
    while len(order) < 8:
        time.sleep(0.01)
    assert 1 <= order.count("OK") <= 4
    last_refused = max(i for i, code in enumerate(order) if code == "UNAVAILABLE")
    assert order[:last_refused].count("OK") <= 1


def test_a_full_queue_over_http(server):
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(wire.send_http(server.http, one("queue"), "json"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {r.status for r in replies} == {200, 503}
    for reply in replies:
        if reply.status == 503:
            Fault(503, None, "[Ee]xceeds maximum queue size").check_http(reply.status, reply.error)


def test_timeout_in_the_queue(rpc):
    """One runs, the others wait longer than the model's policy allows."""
    calls = launch(rpc, [one("hasty", i) for i in range(6)])
    answered = 0
    for i, call in enumerate(calls):
        try:
            assert value_of(call.result()) == i
            answered += 1
        except wire.grpc.RpcError as e:
            Fault(None, "UNAVAILABLE", "[Rr]equest timeout expired").check_grpc(e.code().name, e.details())
    assert 1 <= answered <= 3


def test_timeout_that_a_request_asks_for(rpc):
    """One runs, some may be on their way to the model, the last one waits in the queue."""
    calls = launch(rpc, [one("patient", i) for i in range(5)])
    time.sleep(0.05)
    fault = Fault(None, "UNAVAILABLE", "[Rr]equest timeout expired")
    fault.check_grpc(*rpc.fault("ModelInfer", one("patient", 9).but(parameters={"timeout": 1000}).proto()))
    assert [value_of(c.result()) for c in calls] == list(range(5))


def test_a_timeout_that_is_long_enough(rpc):
    calls = launch(rpc, [one("patient", i).but(parameters={"timeout": 20_000_000}) for i in range(4)])
    assert [value_of(c.result()) for c in calls] == [0, 1, 2, 3]


def test_a_higher_priority_goes_first(rpc):
    done = []
    calls = launch(rpc, [one("priority", i).but(parameters={"priority": 2}) for i in range(6)])
    time.sleep(0.05)
    calls += launch(rpc, [one("priority", 9).but(parameters={"priority": 1})])
    for call in calls:
        call.add_done_callback(lambda c: done.append(value_of(c.result())))
    for call in calls:
        call.result()
    time.sleep(0.05)
    assert sorted(done) == [0, 1, 2, 3, 4, 5, 9]
    assert done.index(9) <= 3


def test_a_priority_beyond_the_levels_is_the_default(rpc):
    assert value_of(rpc.infer(one("priority", 5).but(parameters={"priority": 7}))) == 5


def test_requests_of_one_channel_run_beside_each_other(rpc):
    """A slow model does not hold up a quick one."""
    calls = launch(rpc, [one("slow", 1, batch=False)])
    started = time.monotonic()
    rpc.infer(PLAIN)
    assert time.monotonic() - started < 0.25
    calls[0].result()


@pytest.mark.parametrize("way", ["cancel", "deadline"])
def test_who_went_away_frees_the_place(server, rpc, way):
    """20 requests of 0.3 s each are withdrawn; the next one does not wait for them."""
    seconds = 0.05 if way == "deadline" else wire.SECONDS
    calls = [rpc.stub.ModelInfer.future(one("slow", 1, batch=False).proto(), timeout=seconds) for _ in range(20)]
    time.sleep(0.1)
    for call in calls:
        call.cancel()
    started = time.monotonic()
    assert value_of(rpc.infer(one("slow", 3, batch=False))) == 3
    waited = time.monotonic() - started
    assert waited < server.expect("withdrawn_requests", 1.5), waited


def test_a_closed_http_connection_frees_the_place(server, rpc):
    body, _ = one("slow", 1, batch=False).json()
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connections = [wire.http_bytes(server.http, head + body) for _ in range(20)]
    time.sleep(0.1)
    for connection in connections:
        connection.close()
    started = time.monotonic()
    assert value_of(rpc.infer(one("slow", 3, batch=False))) == 3
    waited = time.monotonic() - started
    assert waited < server.expect("withdrawn_requests", 1.5), waited


def test_a_deadline_that_passes(rpc):
    code, _ = rpc.fault("ModelInfer", one("slow", batch=False).proto(), seconds=0.05)
    assert code == "DEADLINE_EXCEEDED"
    assert rpc.infer(PLAIN).model_name == "plain"


def unary_with_header(address, path, message: bytes, headers, seconds=5) -> dict:
    """A gRPC call whose headers a gRPC library would not send; the headers and trailers of the answer."""
    host, port = address.rsplit(":", 1)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    answer: dict = {}
    with wire.socket.create_connection((host, int(port)), timeout=seconds) as s:
        fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", address)]
        fields += [("te", "trailers"), ("content-type", "application/grpc"), *headers]
        connection.send_headers(1, fields)
        connection.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        s.sendall(connection.data_to_send())
        while True:
            data = s.recv(65536)
            if not data:
                return answer | {"closed": "yes"}
            try:
                events = connection.receive_data(data)
            except h2.exceptions.StreamClosedError as e:
                return answer | {"reset": e.error_code}
            for event in events:
                if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                    answer |= dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    answer["data"] = answer.get("data", b"") + event.data
                elif isinstance(event, h2.events.StreamReset):
                    return answer | {"reset": event.error_code}
                elif isinstance(event, h2.events.StreamEnded):
                    return answer
            s.sendall(connection.data_to_send())


# A client whose timeout was never set sends whatever the memory held.
DEADLINES = {
    "longest": ("99999999H", "answered"),
    "days": ("99999999S", "answered"),
    "milliseconds": ("99999999m", "answered"),
    "nanosecond": ("1n", "late"),
    "zero": ("0n", "late"),
    "too_many_digits": ("18446744073709551615u", "either"),
    "negative": ("-5S", "either"),
    "not_a_number": ("abc", "either"),
    "no_unit": ("1000", "either"),
    "empty": ("", "either"),
}


@pytest.mark.parametrize("case", DEADLINES)
def test_deadlines_of_clients_that_never_set_one(server, rpc, case):
    header, outcome = DEADLINES[case]
    path = "/inference.GRPCInferenceService/ModelInfer"
    answer = unary_with_header(server.grpc, path, PLAIN.proto().SerializeToString(), [("grpc-timeout", header)])
    status = answer.get("grpc-status")
    if outcome == "answered":
        assert status == "0", answer
        assert wire.pb.ModelInferResponse.FromString(answer["data"][5:]).raw_output_contents[0] == ROW.tobytes()
    elif outcome == "late":
        # DEADLINE_EXCEEDED or CANCELLED; a server that was faster has answered.
        assert status in ("0", "1", "4") or "reset" in answer, answer
    else:
        assert status is not None or "reset" in answer, answer
    assert rpc.infer(PLAIN).model_name == "plain"


@pytest.mark.parametrize("model", ["plain", "patient"])
@pytest.mark.parametrize("timeout", [0, 2**31, 2**63 - 1, 2**64 - 1])
def test_timeout_parameters_of_any_size(server, model, timeout):
    """None of them is an overflow, and none means 'now'."""
    request = PLAIN if model == "plain" else one("patient", 4)
    reply = wire.send_http(server.http, request.but(parameters={"timeout": timeout}), "json")
    expected = server.expect(f"timeout_parameter/{model}/{timeout}", 200)
    assert reply.status == expected, reply.body


@pytest.mark.parametrize("value", [-1, "soon", 1.5, True])
def test_timeout_parameters_that_are_none(server, value):
    reply = wire.send_http(server.http, PLAIN.but(parameters={"timeout": value}), "json")
    server.expect("timeout_parameter_type", Fault(400, None, "timeout")).check_http(reply.status, reply.error)
