"""Inference in every encoding, with everything that a request can ask for."""

import asyncio
import gzip
import json
import queue
import zlib

import ml_dtypes
import numpy as np
import pytest

import models
import wire
from clients import wait
from faults import Fault
from wire import HEADER_LENGTH, Request, Tensor

ROW = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 16)
PLAIN = Request("plain", [Tensor("IN", "FP32", [1, 16], ROW)])
PAIR_ROWS = {"A": np.arange(32, dtype=np.int32).reshape(2, 16), "B": -np.arange(32, dtype=np.int32).reshape(2, 16)}

# Values at the ends of each type's range.
VALUES = {
    "BOOL": np.array([[True, False, True]]),
    "UINT8": np.array([[0, 1, 255]], np.uint8),
    "UINT16": np.array([[0, 1, 65535]], np.uint16),
    "UINT32": np.array([[0, 1, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 1, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 0, 127]], np.int8),
    "INT16": np.array([[-32768, 0, 32767]], np.int16),
    "INT32": np.array([[-(2**31), 0, 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 0, 2**63 - 1]], np.int64),
    "FP16": np.array([[-65504, 0.5, 6.1e-5]], np.float16),
    "FP32": np.array([[-3.4028235e38, 0.1, 1e-45]], np.float32),
    "FP64": np.array([[-1.7976931348623157e308, 0.1, 5e-324]], np.float64),
    "BYTES": np.array([[b"", b"one", "zwölf".encode()]], np.object_),
    "BF16": np.array([[1.5, -2.0, 0.0078125]], ml_dtypes.bfloat16),
}
assert list(VALUES) == list(models.TYPED)


def same(actual, expected) -> None:
    if expected.dtype == np.object_:
        assert actual.tolist() == expected.tolist()
    else:
        assert actual.dtype == expected.dtype
        assert actual.tobytes() == expected.tobytes()
    assert actual.shape == expected.shape


def text_of(element) -> str:
    """JSON brings strings, binary tensors bytes."""
    return element.decode() if isinstance(element, bytes) else element


@pytest.mark.parametrize("datatype", VALUES)
def test_datatypes(client, datatype):
    """In the form that each client takes by default: binary."""
    tensor = client.input("IN", VALUES[datatype], datatype)
    answer = client.infer(models.TYPED[datatype].name, [tensor], outputs=[client.output("OUT")]).as_numpy("OUT")
    if datatype == "BF16":
        # Handed out as FP32, which holds each of its values.
        answer = answer.astype(ml_dtypes.bfloat16)
    same(answer, VALUES[datatype])


WITHOUT_JSON = ("FP16", "BF16")


@pytest.mark.parametrize("datatype", [d for d in VALUES if d not in WITHOUT_JSON])
def test_datatypes_in_json(any_http_client, datatype):
    client = any_http_client
    tensor = client.input("IN", VALUES[datatype], datatype, binary_data=False)
    outputs = [client.output("OUT", binary_data=False)]
    answer = client.infer(models.TYPED[datatype].name, [tensor], outputs=outputs).as_numpy("OUT")
    if datatype == "BYTES":
        answer = np.array([[text_of(v).encode() for v in answer[0]]], np.object_)
    same(answer, VALUES[datatype])


@pytest.mark.parametrize("datatype", [d for d in VALUES if d not in WITHOUT_JSON])
def test_typed_contents_are_answered_raw(rpc, datatype):
    values = VALUES[datatype]
    request = Request(models.TYPED[datatype].name, [Tensor("IN", datatype, [1, 3], values)])
    answer = rpc.infer(request, raw=False)
    assert not answer.outputs[0].HasField("contents")
    assert list(answer.raw_output_contents) == [request.inputs[0].bytes()]
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (datatype, [1, 3])


@pytest.mark.parametrize("datatype", VALUES)
def test_raw_contents_come_back_as_they_are(rpc, datatype):
    request = Request(models.TYPED[datatype].name, [Tensor("IN", datatype, [1, 3], VALUES[datatype])])
    assert list(rpc.infer(request).raw_output_contents) == [request.inputs[0].bytes()]


def test_half_precision_is_not_said_in_json(server):
    body = json.dumps({"inputs": [{"name": "IN", "datatype": "FP16", "shape": [1, 2], "data": [1.0, 2.0]}]})
    reply = wire.post(server.http, "/v2/models/typed_fp16/infer", body.encode())
    Fault(400, None, "FP16").check_http(reply.status, reply.error)


@pytest.mark.parametrize("special", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_pass_in_binary(client, special):
    values = np.full((1, 16), special, np.float32)
    same(client.run("plain", {"IN": values}).as_numpy("OUT"), values)


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
def test_json_data_may_be_nested(server, nested):
    data = ROW.tolist() if nested else ROW.reshape(-1).tolist()
    document = {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 16], "data": data}]}
    reply = wire.post(server.http, PLAIN.path, document)
    assert reply.json["outputs"][0]["data"] == ROW.reshape(-1).tolist()


def test_json_integers_are_numbers(server):
    """Integers without a point are good floats."""
    document = {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 16], "data": [1] * 16}]}
    assert wire.post(server.http, PLAIN.path, document).json["outputs"][0]["data"] == [1.0] * 16


def test_two_inputs_and_a_batch(client):
    answer = client.run("pair", PAIR_ROWS)
    same(answer.as_numpy("C"), PAIR_ROWS["A"])
    same(answer.as_numpy("D"), PAIR_ROWS["B"])


def test_inputs_in_another_order(client):
    answer = client.run("pair", {name: PAIR_ROWS[name] for name in "BA"})
    same(answer.as_numpy("C"), PAIR_ROWS["A"])
    same(answer.as_numpy("D"), PAIR_ROWS["B"])


@pytest.mark.parametrize("names", [["C"], ["D"], ["D", "C"]], ids="".join)
def test_requested_outputs(client, names):
    answer = client.run("pair", PAIR_ROWS, outputs=[client.output(n) for n in names])
    described = client.protocol == "grpc" and answer.get_response().outputs
    found = [o.name for o in described] if described else [o["name"] for o in answer.get_response()["outputs"]]
    assert sorted(found) == sorted(names)
    for name in names:
        same(answer.as_numpy(name), PAIR_ROWS["AB"["CD".index(name)]])


def test_answer_names_model_and_version(server, rpc):
    reply = wire.send_http(server.http, PLAIN, "json").json
    assert (reply["model_name"], reply["model_version"]) == ("plain", "1")
    answer = rpc.infer(PLAIN)
    assert (answer.model_name, answer.model_version) == ("plain", "1")


def test_id_is_echoed_only_when_sent(server, rpc):
    assert "id" not in wire.send_http(server.http, PLAIN, "json").json
    assert wire.send_http(server.http, PLAIN.but(id="event-7"), "json").json["id"] == "event-7"
    assert rpc.infer(PLAIN).id == ""
    assert rpc.infer(PLAIN.but(id="event-7")).id == "event-7"


def test_ids_through_clients(client):
    answer = client.run("plain", {"IN": ROW}, request_id="run 3")
    response = answer.get_response()
    assert (response.id if client.protocol == "grpc" else response["id"]) == "run 3"


def split(reply) -> tuple[dict, bytes]:
    length = int(reply.headers[HEADER_LENGTH.lower()])
    return json.loads(reply.body[:length]), reply.body[length:]


def test_binary_outputs(server):
    """The header and octet-stream come only with an output in binary."""
    reply = wire.send_http(server.http, PLAIN, "binary")
    assert HEADER_LENGTH.lower() not in reply.headers
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.json["outputs"][0]["data"] == ROW.reshape(-1).tolist()

    reply = wire.send_http(server.http, PLAIN.but(parameters={"binary_data_output": True}), "json")
    assert reply.headers["content-type"] == "application/octet-stream"
    document, tail = split(reply)
    assert document["outputs"][0]["parameters"]["binary_data_size"] == 64
    assert "data" not in document["outputs"][0]
    assert tail == ROW.tobytes()


def mixed_outputs(**parameters) -> Request:
    tensors = [Tensor(n, "INT32", [2, 16], PAIR_ROWS[n]) for n in "AB"]
    return Request("pair", tensors, [{"name": "C", "parameters": parameters}, {"name": "D"}])


def test_binary_output_by_output(server):
    document, tail = split(wire.send_http(server.http, mixed_outputs(binary_data=True), "binary"))
    by_name = {o["name"]: o for o in document["outputs"]}
    assert tail == PAIR_ROWS["A"].tobytes()
    assert by_name["D"]["data"] == PAIR_ROWS["B"].reshape(-1).tolist()


def test_binary_output_of_the_request_and_of_an_output(server):
    """What an output says of itself is stronger than what the request says of all."""
    request = mixed_outputs(binary_data=False).but(parameters={"binary_data_output": True})
    reply = wire.send_http(server.http, request, "binary")
    if server.expect("binary_data_output_with_outputs", "followed") == "ignored":
        assert HEADER_LENGTH.lower() not in reply.headers
        return
    document, tail = split(reply)
    by_name = {o["name"]: o for o in document["outputs"]}
    assert tail == PAIR_ROWS["B"].tobytes()
    assert by_name["C"]["data"] == PAIR_ROWS["A"].reshape(-1).tolist()


def test_header_names_in_any_case(server):
    body, headers = PLAIN.binary()
    for spelling in (str.lower, str.upper):
        spelt = {spelling(k): v for k, v in headers.items()}
        assert wire.http_call(server.http, "POST", PLAIN.path, body=body, headers=spelt).status == 200


def test_raw_binary_request(server):
    """A length of 0: the whole body is the one input, and the answer is binary."""
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=ROW.tobytes(), headers={HEADER_LENGTH: "0"})
    assert reply.status == 200, reply.body
    document, tail = split(reply)
    assert document["outputs"][0]["shape"] == [1, 16]
    assert tail == ROW.tobytes()


def test_raw_binary_request_of_a_variable_input(server):
    """One dimension that is not known follows from the size."""
    data = np.arange(5, dtype=np.float32)
    reply = wire.http_call(server.http, "POST", "/v2/models/any/infer", body=data.tobytes(), headers={HEADER_LENGTH: "0"})
    document, tail = split(reply)
    assert document["outputs"][0]["shape"] == [5]
    assert tail == data.tobytes()


def test_raw_binary_request_of_the_wrong_size(server):
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=ROW.tobytes()[:-1], headers={HEADER_LENGTH: "0"})
    Fault(400, None).check_http(reply.status, reply.error)


def test_parameters_of_any_type_are_taken(rpc, server):
    parameters = {"run": 7, "flag": True, "site": "T2_CH", "gain": 0.5}
    assert rpc.infer(PLAIN.but(parameters=parameters)).model_name == "plain"
    assert wire.send_http(server.http, PLAIN.but(parameters=parameters), "json").status == 200


def test_parameters_through_clients(client):
    client.run("plain", {"IN": ROW}, parameters={"run": 7, "flag": True, "site": "T2_CH"})


def test_priority_and_timeout_are_taken(client):
    """Also by a model without a queue policy; 0 means none."""
    for priority, timeout in ((0, None), (1, 10_000_000)):
        same(client.run("plain", {"IN": ROW}, priority=priority, timeout=timeout).as_numpy("OUT"), ROW)


def test_sequence_parameters_of_a_model_without_sequences(client):
    same(client.run("plain", {"IN": ROW}, sequence_id=5, sequence_start=True).as_numpy("OUT"), ROW)


SCORES = np.array([[0.1, 0.9, 0.3, 0.2, 0.8, 0, 0, 0, 0, 0], [7, 6, 5, 4, 3, 2, 1, 0, -1, -2]], np.float32)


def classes(answer) -> list:
    return [[text_of(element) for element in row] for row in answer.as_numpy("OUT")]


def value_index(rows) -> list:
    """Values without their number of digits, which is not part of the protocol."""
    return [[(round(float(t.split(":")[0]), 6), *t.split(":")[1:]) for t in row] for row in rows]


def test_classification_with_labels(client):
    answer = client.run("labelled", {"IN": SCORES}, outputs=[client.output("OUT", class_count=3)])
    assert value_index(classes(answer)) == [
        [(0.9, "1", "one"), (0.8, "4", "four"), (0.3, "2", "two")],
        [(7, "0", "zero"), (6, "1", "one"), (5, "2", "two")],
    ]


def test_classification_without_labels(client):
    row = np.zeros((1, 16), np.float32)
    row[0, 11] = 2.5
    answer = client.run("plain", {"IN": row}, outputs=[client.output("OUT", class_count=1)])
    assert value_index(classes(answer)) == [[(2.5, "11")]]


def test_classification_of_more_than_there_are(client):
    answer = client.run("labelled", {"IN": SCORES[:1]}, outputs=[client.output("OUT", class_count=100)])
    assert answer.as_numpy("OUT").shape == (1, 10)


def test_classification_of_integers(client):
    rows = {"A": np.arange(16, dtype=np.int32).reshape(1, 16), "B": np.zeros((1, 16), np.int32)}
    answer = client.run("pair", rows, outputs=[client.output("C", class_count=2)])
    assert value_index([[text_of(t) for t in answer.as_numpy("C")[0]]]) == [[(15, "15"), (14, "14")]]


def test_classification_is_bytes(server, rpc):
    outputs = [{"name": "OUT", "parameters": {"classification": 2}}]
    request = Request("labelled", [Tensor("IN", "FP32", [1, 10], SCORES[:1])], outputs)
    answer = rpc.infer(request)
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [1, 2])
    described = wire.send_http(server.http, request, "json").json["outputs"][0]
    assert (described["datatype"], described["shape"]) == ("BYTES", [1, 2])
    assert value_index([described["data"]]) == [[(0.9, "1", "one"), (0.8, "4", "four")]]


def test_classification_of_strings_is_refused(server, rpc):
    outputs = [{"name": "OUT", "parameters": {"classification": 1}}]
    request = Request("typed_bytes", [Tensor("IN", "BYTES", [1, 3], VALUES["BYTES"])], outputs)
    expected = server.expect("classification_of_strings", Fault(400, "INVALID_ARGUMENT", "OUT|BYTES|class"))
    if expected == "ends":
        pytest.skip("the request ends the server")
    reply = wire.send_http(server.http, request, "json")
    expected.check_http(reply.status, reply.error)
    expected.check_grpc(*rpc.fault("ModelInfer", request.proto()))


COMPRESS = {"gzip": gzip.compress, "deflate": zlib.compress}
EXPAND = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("method", COMPRESS)
@pytest.mark.parametrize("encoding", ["json", "binary"])
def test_compressed_requests(server, method, encoding):
    """The length of the JSON text counts before compression."""
    body, headers = getattr(PLAIN, encoding)()
    headers["Content-Encoding"] = method
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=COMPRESS[method](body), headers=headers)
    assert reply.status == 200, reply.body
    assert reply.json["outputs"][0]["data"] == ROW.reshape(-1).tolist()


@pytest.mark.parametrize("method", EXPAND)
def test_compressed_answers(server, method):
    request = Request("large", [Tensor("IN", "FP32", [8, 47], np.zeros((8, 47), np.float32))])
    body, headers = request.but(parameters={"binary_data_output": True}).binary()
    headers["Accept-Encoding"] = method
    reply = wire.http_call(server.http, "POST", request.path, body=body, headers=headers)
    assert reply.headers["content-encoding"] == method
    assert len(reply.body) < 8 * 47 * 4
    plain = EXPAND[method](reply.body)
    length = int(reply.headers[HEADER_LENGTH.lower()])
    assert json.loads(plain[:length])["outputs"][0]["name"] == "OUT"
    assert plain[length:] == bytes(8 * 47 * 4)


def test_answers_are_not_compressed_unasked(server):
    for accepted in ({}, {"Accept-Encoding": "identity"}):
        body, headers = PLAIN.json()
        reply = wire.http_call(server.http, "POST", PLAIN.path, body=body, headers={**headers, **accepted})
        assert "content-encoding" not in reply.headers
        assert reply.json


@pytest.mark.parametrize("up", ["gzip", "deflate", None])
@pytest.mark.parametrize("down", ["gzip", "deflate", None])
def test_compression_by_http_clients(any_http_client, up, down):
    rows = np.zeros((4, 16), np.float32)
    algorithms = {"request_compression_algorithm": up, "response_compression_algorithm": down}
    answer = any_http_client.run("plain", {"IN": rows}, **algorithms)
    same(answer.as_numpy("OUT"), rows)


@pytest.mark.parametrize("method", ["gzip", "deflate"])
def test_compression_by_grpc_clients(any_grpc_client, method):
    rows = np.zeros((8, 16), np.float32)
    same(any_grpc_client.run("plain", {"IN": rows}, compression_algorithm=method).as_numpy("OUT"), rows)


def test_unknown_compression(server):
    body, headers = PLAIN.json()
    headers["Content-Encoding"] = "br"
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=body, headers=headers)
    fault = server.expect("compression/unknown", Fault((400, 415, 501), None, "br|compression"))
    fault.check_http(reply.status, reply.error)


@pytest.mark.parametrize("method", COMPRESS)
def test_body_that_is_not_compressed_as_said(server, method):
    body, headers = PLAIN.json()
    headers["Content-Encoding"] = method
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=body, headers=headers)
    fault = server.expect("compression/not_as_said", Fault((400, 415), None))
    fault.check_http(reply.status, reply.error)


def test_truncated_compression(server):
    body, headers = PLAIN.json()
    headers["Content-Encoding"] = "gzip"
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=gzip.compress(body)[:-12], headers=headers)
    fault = server.expect("compression/truncated", Fault((400, 415), None))
    fault.check_http(reply.status, reply.error)


def test_garbage_for_a_variable_input(server):
    """The one that gets an answer where the refusal of a bad encoding is missing."""
    headers = {HEADER_LENGTH: "0", "Content-Encoding": "gzip"}
    reply = wire.http_call(server.http, "POST", "/v2/models/any/infer", body=bytes(range(64)), headers=headers)
    expected = server.expect("compression/garbage", Fault((400, 415), None))
    if isinstance(expected, Fault):
        expected.check_http(reply.status, reply.error)
    else:
        assert reply.status == expected


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_chunked_requests(server, size):
    body, headers = PLAIN.binary()
    headers["Transfer-Encoding"] = "chunked"
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    reply = wire.http_call(server.http, "POST", PLAIN.path, body=chunks, headers=headers, chunked=True)
    assert reply.status == 200, reply.body


def test_continue_is_answered(server):
    """A client that waits for 100 before it sends the body."""
    body, headers = PLAIN.json()
    head = (
        f"POST {PLAIN.path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n"
        f"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with wire.http_bytes(server.http, head.encode()) as connection:
        connection.settimeout(5)
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")


def test_pipelined_requests(server):
    """Answers come in the order of the requests."""
    wanted = []
    for i in range(20):
        body, _ = PLAIN.but(id=f"r{i}").json()
        wanted.append(f"POST {PLAIN.path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    with wire.http_bytes(server.http, b"".join(wanted)) as connection:
        connection.settimeout(10)
        answer = b""
        while answer.count(b'"model_name"') < len(wanted):
            got = connection.recv(65536)
            assert got, "the connection was closed"
            answer += got
    places = [answer.index(f'"r{i}"'.encode()) for i in range(20)]
    assert places == sorted(places)


def test_content_type_does_not_matter(server):
    """The header length says what a body is."""
    body, _ = PLAIN.json()
    for content_type in ("text/plain", "application/octet-stream", "application/x-www-form-urlencoded"):
        reply = wire.http_call(server.http, "POST", PLAIN.path, body=body, headers={"Content-Type": content_type})
        assert reply.status == 200, content_type


@pytest.mark.parametrize("rows", [16000, 16384])
def test_large_batches(client, rows):
    """A calorimeter's batch is 3 MB: above what HTTP and gRPC libraries take by default."""
    data = np.random.default_rng(7).standard_normal((rows, 47), np.float32)
    same(client.run("large", {"IN": data}).as_numpy("OUT"), data)


def test_twenty_megabytes(client):
    data = np.arange(5_000_000, dtype=np.float32)
    same(client.run("any", {"IN": data}).as_numpy("OUT"), data)


def at_once(client, model, arrays) -> list:
    """Answers to requests sent without waiting, in no order; ids are places in `arrays`."""
    requests = [([client.input("IN", a)], str(i)) for i, a in enumerate(arrays)]
    if client.transport.endswith(".aio"):

        async def send():
            infer = client.client.infer
            return await asyncio.gather(*(infer(model, inputs, request_id=i) for inputs, i in requests))

        return wait(send())
    if client.transport == "http":
        calls = [client.async_infer(model, inputs, request_id=i) for inputs, i in requests]
        return [call.get_result() for call in calls]
    answers: queue.Queue = queue.Queue()
    for inputs, i in requests:
        client.async_infer(model, inputs, request_id=i, callback=lambda result, error: answers.put((result, error)))
    pairs = [answers.get(timeout=wire.SECONDS) for _ in requests]
    assert all(error is None for _, error in pairs), pairs
    return [answer for answer, _ in pairs]


def test_many_requests_at_once(client):
    """None lost, none mixed up."""
    arrays = [np.full((1 + i % 8, 16), i, np.float32) for i in range(100)]
    answers = at_once(client, "plain", arrays)
    assert len(answers) == len(arrays)
    for answer in answers:
        response = answer.get_response()
        number = int(response.id if client.protocol == "grpc" else response["id"])
        same(answer.as_numpy("OUT"), arrays[number])
