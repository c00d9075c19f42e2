"""What is refused, with which code and which message, in every encoding of a request."""

import json

import numpy as np
import pytest

import wire
from models import ANY, PAIR
from faults import Fault
from wire import Request, Tensor

ENCODINGS = ("json", "binary", "raw", "typed")
ROW = np.arange(16, dtype=np.int32).reshape(1, 16)


def tensor(name, data=ROW, datatype="INT32", shape=None, **kwargs) -> Tensor:
    return Tensor(name, datatype, list(data.shape) if shape is None else shape, data, **kwargs)


A, B = tensor("A"), tensor("B")
GOOD = Request("pair", [A, B])


def bad(http, grpc, text, grpc_text=None):
    return Fault(http, grpc, text, grpc_text)


def invalid(text, grpc_text=None):
    return Fault(400, "INVALID_ARGUMENT", text, grpc_text)


def lost(text):
    return Fault(404, "NOT_FOUND", text)


# Case, request, what is expected of it, the encodings that can say it.
REFUSED = [
    ("unknown_model", GOOD.but(model="nowhere"), lost("Request for unknown model: 'nowhere' is not found"), ENCODINGS),
    ("unknown_version", GOOD.but(version=9), lost("unknown model: 'pair' version 9 is not found"), ENCODINGS),
    (
        "version_not_a_number",
        GOOD.but(version="abc"),
        bad(404, "INVALID_ARGUMENT", r"\S", "failed to get model version from specified version string 'abc'"),
        ENCODINGS,
    ),
    (
        "missing_input",
        GOOD.but(inputs=[A]),
        invalid(r"expected 2 inputs but got 1 inputs for model 'pair'.*'A'.*missing.*'B'"),
        ENCODINGS,
    ),
    ("no_inputs", GOOD.but(inputs=[]), invalid(r"expected 2 inputs but got 0 inputs for model 'pair'"), ENCODINGS),
    (
        "extra_input",
        GOOD.but(inputs=[A, B, tensor("X")]),
        invalid(r"expected 2 inputs but got 3 inputs for model 'pair'.*'X'"),
        ENCODINGS,
    ),
    ("duplicate_input", GOOD.but(inputs=[A, A]), invalid("input 'A' already exists in request"), ENCODINGS),
    (
        "wrong_name",
        GOOD.but(inputs=[A, tensor("X")]),
        invalid("unexpected inference input 'X' for model 'pair'"),
        ENCODINGS,
    ),
    (
        "wrong_datatype",
        GOOD.but(inputs=[tensor("A", ROW.astype(np.float32), "FP32"), B]),
        invalid("inference input 'A' data-type is 'FP32', but model 'pair' expects 'INT32'"),
        ENCODINGS,
    ),
    ("unknown_datatype", GOOD.but(inputs=[tensor("A", datatype="INT33"), B]), invalid("A|INT33"), ENCODINGS),
    (
        "wrong_shape",
        GOOD.but(inputs=[tensor("A", np.zeros((1, 17), np.int32)), B]),
        invalid(r"unexpected shape for input 'A' for model 'pair'. Expected \[-1,16\], got \[1,17\]"),
        ENCODINGS,
    ),
    (
        "wrong_rank",
        GOOD.but(inputs=[tensor("A", shape=[16]), tensor("B", shape=[16])]),
        invalid(r"unexpected shape for input 'A' for model 'pair'. Expected \[-1,16\], got \[16\]|batch-size must be <= 8"),
        ENCODINGS,
    ),
    (
        "batch_too_large",
        GOOD.but(inputs=[tensor(n, np.zeros((9, 16), np.int32)) for n in "AB"]),
        invalid("inference request batch-size must be <= 8 for 'pair'"),
        ENCODINGS,
    ),
    (
        "batches_disagree",
        GOOD.but(inputs=[A, tensor("B", np.zeros((2, 16), np.int32))]),
        invalid(r"B|batch"),
        ENCODINGS,
    ),
    (
        "batch_of_none",
        GOOD.but(inputs=[tensor(n, np.zeros((0, 16), np.int32)) for n in "AB"]),
        invalid(r"\S"),
        ENCODINGS,
    ),
    ("unknown_output", GOOD.but(outputs=["Y"]), invalid("unexpected inference output 'Y' for model 'pair'"), ENCODINGS),
    (
        "too_few_values",
        GOOD.but(inputs=[tensor("A", ROW[:, :15], shape=[1, 16]), B]),
        invalid(r"A|16|64"),
        ENCODINGS,
    ),
    (
        "too_many_values",
        GOOD.but(inputs=[tensor("A", np.zeros((1, 17), np.int32), shape=[1, 16]), B]),
        invalid(r"\S"),
        ENCODINGS,
    ),
    (
        "ragged_bytes",
        GOOD.but(inputs=[tensor("A", raw=ROW.tobytes()[:61]), B]),
        invalid(r"\S", r"input byte size mismatch for input 'A'.* Expected 64, got 61"),
        ("binary", "raw"),
    ),
    (
        "truncated_binary",
        GOOD.but(inputs=[A, tensor("B", raw=ROW.tobytes()[:61], size=64)]),
        invalid("unexpected size for input 'B', expecting 3 additional bytes"),
        ("binary",),
    ),
    ("trailing_binary", GOOD.but(more=b"xyz"), invalid("unexpected additional input data for model 'pair'"), ("binary",)),
    (
        "input_without_data",
        GOOD.but(inputs=[A, Tensor("B", "INT32", [1, 16])]),
        invalid(r"\S"),
        ("json", "raw", "typed"),
    ),
    (
        "reserved_parameter",
        GOOD.but(parameters={"triton_of_ours": "x"}),
        invalid(r"parameter keys starting with 'triton_' are reserved"),
        ENCODINGS,
    ),
    ("negative_shape", GOOD.but(inputs=[tensor("A", shape=[-1, 16]), B]), invalid(r"\S"), ENCODINGS),
    (
        "shape_overflows",
        GOOD.but(inputs=[tensor("A", shape=[2**62, 16]), tensor("B", shape=[2**62, 16])]),
        invalid(r"\S"),
        ENCODINGS,
    ),
    (
        "negative_classification",
        GOOD.but(outputs=[{"name": "C", "parameters": {"classification": -1}}]),
        invalid(r"\S"),
        ENCODINGS,
    ),
]


def grid(cases):
    return [pytest.param(*case[:3], e, id=f"{case[0]}-{e}") for case in cases for e in case[3]]


@pytest.mark.parametrize("case,request_,fault,encoding", grid(REFUSED))
def test_refused(server, rpc, case, request_, fault, encoding):
    fault = server.expect(f"{case}/{encoding}", fault)
    if encoding in ("json", "binary"):
        reply = wire.send_http(server.http, request_, encoding)
        fault.check_http(reply.status, reply.error)
    else:
        fault.check_grpc(*rpc.fault("ModelInfer", request_.proto(encoding == "raw")))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_same_request_without_fault_is_answered(server, rpc, encoding):
    if encoding in ("json", "binary"):
        assert wire.send_http(server.http, GOOD, encoding).status == 200
    else:
        answer = rpc.infer(GOOD, encoding == "raw")
        assert [o.name for o in answer.outputs] == ["C", "D"]
        assert list(answer.raw_output_contents) == [ROW.tobytes()] * 2


def edit(**changes):
    """The JSON text of a good request with fields changed; None takes a field away."""
    document = json.loads(GOOD.json()[0])
    for key, value in changes.items():
        if value is None:
            del document[key]
        else:
            document[key] = value
    return document


def first_input(**changes):
    document = edit()
    document["inputs"][0].update(changes)
    return document


MALFORMED = {
    "not_json": b"{",
    "empty_body": b"",
    "not_utf8": b'{"id":"\xff\xfe"}',
    "empty_object": {},
    "array": [],
    "string": "inputs",
    "null": None,
    "trailing_text": json.dumps(edit()).encode() + b"}",
    "inputs_not_a_list": edit(inputs={"name": "A"}),
    "inputs_of_numbers": edit(inputs=[1, 2]),
    "input_without_name": edit(inputs=[{"datatype": "INT32", "shape": [1, 16], "data": [0] * 16}]),
    "input_without_shape": edit(inputs=[{"name": "A", "datatype": "INT32", "data": [0] * 16}]),
    "input_without_datatype": edit(inputs=[{"name": "A", "shape": [1, 16], "data": [0] * 16}]),
    "outputs_not_a_list": edit(outputs="C"),
    "parameters_not_an_object": edit(parameters=[1]),
    "id_not_a_string": edit(id=7),
    "datatype_not_a_string": first_input(datatype=7),
    "shape_not_a_list": first_input(shape=16),
    "shape_of_strings": first_input(shape=["1", "16"]),
    "shape_of_fractions": first_input(shape=[1.5, 16]),
    "strings_for_numbers": first_input(data=["1"] * 16),
    "booleans_for_numbers": first_input(data=[True] * 16),
    "fractions_for_integers": first_input(data=[0.5] * 16),
    "null_for_a_number": first_input(data=[None] * 16),
    "object_for_data": first_input(data={"0": 1}),
    "deep_nesting": b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(server, case):
    fault = server.expect(f"malformed/{case}", Fault(400, None))
    reply = wire.post(server.http, GOOD.path, MALFORMED[case])
    if fault == "accepted":
        assert reply.status == 200
    else:
        fault.check_http(reply.status, reply.error)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 9_999_999_999, 2**63, 10**30])
def test_integers_out_of_range(server, value):
    reply = wire.post(server.http, GOOD.path, first_input(data=[value] + [0] * 15))
    ours = Fault(400, None, r"INT32|range")
    expected = server.expect(f"integer_range/{value}", ours)
    if isinstance(expected, Fault):
        expected.check_http(reply.status, reply.error)
    else:
        assert reply.status == 200
        assert reply.json["outputs"][0]["data"][0] == expected


@pytest.mark.parametrize("header,length", [("too_large", 10_000), ("negative", "-1"), ("not_a_number", "abc")])
def test_header_length(server, header, length):
    body, headers = GOOD.binary()
    headers[wire.HEADER_LENGTH] = str(length)
    reply = wire.http_call(server.http, "POST", GOOD.path, body=body, headers=headers)
    fault = server.expect(f"header_length/{header}", Fault(400, None, r"[Hh]eader"))
    fault.check_http(reply.status, reply.error)


def test_header_length_inside_the_text(server):
    body, headers = GOOD.binary()
    headers[wire.HEADER_LENGTH] = str(int(headers[wire.HEADER_LENGTH]) - 5)
    reply = wire.http_call(server.http, "POST", GOOD.path, body=body, headers=headers)
    server.expect("header_length/inside", Fault(400, None)).check_http(reply.status, reply.error)


def test_data_and_shared_memory(server):
    document = first_input(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 64})
    reply = wire.post(server.http, GOOD.path, document)
    fault = server.expect("data_and_region", Fault(400, None, "only one of.*'data'.*'shared_memory_region'"))
    fault.check_http(reply.status, reply.error)


def test_raw_and_typed_contents(server, rpc):
    message = GOOD.proto()
    message.inputs[0].contents.int_contents.extend([0] * 16)
    fault = Fault(None, "INVALID_ARGUMENT", "contents field must not be specified when using raw_input_contents for 'A'")
    server.expect("raw_and_typed", fault).check_grpc(*rpc.fault("ModelInfer", message))


def test_too_few_raw_contents(server, rpc):
    message = GOOD.proto()
    del message.raw_input_contents[1:]
    server.expect("too_few_raw", Fault(None, "INVALID_ARGUMENT")).check_grpc(*rpc.fault("ModelInfer", message))


def test_typed_contents_of_another_type(server, rpc):
    message = GOOD.proto(raw=False)
    message.inputs[0].contents.ClearField("int_contents")
    message.inputs[0].contents.fp32_contents.extend([0.0] * 16)
    server.expect("typed_of_another_type", Fault(None, "INVALID_ARGUMENT")).check_grpc(*rpc.fault("ModelInfer", message))


def test_half_precision_has_no_typed_contents(server, rpc):
    request = Request("typed_fp16", [Tensor("IN", "FP16", [1, 2], np.array([[1, 2]]))])
    fault = Fault(None, "INVALID_ARGUMENT")
    server.expect("typed_fp16", fault).check_grpc(*rpc.fault("ModelInfer", request.proto(raw=False)))


NOT_THERE = [
    ("metadata", "/v2/models/nowhere", "ModelMetadata", lost("Request for unknown model: 'nowhere' is not found")),
    ("config", "/v2/models/nowhere/config", "ModelConfig", lost("Request for unknown model: 'nowhere' is not found")),
    (
        "statistics",
        "/v2/models/nowhere/stats",
        "ModelStatistics",
        invalid("requested model 'nowhere' is not available"),
    ),
]


@pytest.mark.parametrize("case,path,method,fault", NOT_THERE, ids=[c[0] for c in NOT_THERE])
def test_unknown_model(server, rpc, case, path, method, fault):
    fault = server.expect(f"unknown_model/{case}", fault)
    reply = wire.get(server.http, path)
    fault.check_http(reply.status, reply.error)
    message = getattr(wire.pb, f"{method}Request")(name="nowhere")
    fault.check_grpc(*rpc.fault(method, message))


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_unknown_version(server, rpc, method):
    tail = {"ModelMetadata": "", "ModelConfig": "/config", "ModelStatistics": "/stats"}[method]
    message = getattr(wire.pb, f"{method}Request")(name="pair", version="9")
    ours = lost("'pair' version 9 is not found")
    if method == "ModelStatistics":
        ours = invalid("requested model version is not available for model 'pair'|'pair'")
    fault = server.expect(f"unknown_version/{method}", ours)
    fault.check_grpc(*rpc.fault(method, message))
    reply = wire.get(server.http, f"/v2/models/pair/versions/9{tail}")
    fault.check_http(reply.status, reply.error)


def test_ready_of_what_is_not_there(server, rpc):
    for path in ("nowhere", "pair/versions/9"):
        reply = wire.get(server.http, f"/v2/models/{path}/ready")
        assert reply.status == 400, path
    assert not rpc.call("ModelReady", wire.pb.ModelReadyRequest(name="nowhere")).ready
    assert not rpc.call("ModelReady", wire.pb.ModelReadyRequest(name="pair", version="9")).ready


PATHS = [
    ("GET", "/v2/models/pair/infer", 405),
    ("POST", "/v2/health/live", 405),
    ("DELETE", "/v2/models/pair", 405),
    ("GET", "/v2/repository/index", 405),
    ("GET", "/nothing", 404),
    ("GET", "/v2/nothing", 404),
    ("GET", "/v2/models/pair/", 404),
    ("GET", "/v2/", 404),
    ("GET", "/v2/models/pair/versions/abc", 404),
    ("GET", "/v2/models/pair/versions/-1/ready", 404),
    ("GET", "/v3/health/live", 404),
]


@pytest.mark.parametrize("method,path,status", PATHS)
def test_method_and_path(server, method, path, status):
    reply = wire.http_call(server.http, method, path)
    assert reply.status == server.expect(f"path/{method} {path}", status)
    if server.expect("path_error_body", "json") == "json":
        assert reply.headers["content-type"].startswith("application/json")
        assert reply.error


def test_unknown_grpc_method(server, rpc):
    for path in ("/inference.GRPCInferenceService/Nothing", "/nothing.Service/Method"):
        try:
            rpc.raw(path)
        except wire.grpc.RpcError as e:
            assert e.code().name == "UNIMPLEMENTED"
        else:
            raise AssertionError(f"{path} was answered")


def test_grpc_message_that_is_not_protobuf(server, rpc):
    try:
        rpc.raw("/inference.GRPCInferenceService/ModelInfer", b"\xff\xff\xff")
    except wire.grpc.RpcError as e:
        allowed = server.expect("grpc_garbage", ("INTERNAL", "INVALID_ARGUMENT"))
        assert e.code().name in allowed
    else:
        raise AssertionError("garbage was answered")


def test_clients_raise_with_status_and_message(server, client):
    """What a person sees: the exception of each client."""
    row = np.zeros((1, 16), np.int32)
    client.refused(
        invalid("expected 2 inputs but got 1 inputs for model 'pair'"), "run", PAIR.name, {"A": row}
    )
    client.refused(
        invalid("data-type is 'FP32', but model 'pair' expects 'INT32'"),
        "run", PAIR.name, {"A": row.astype(np.float32), "B": row},
    )  # fmt: skip
    client.refused(invalid("unexpected shape for input 'A'"), "run", PAIR.name, {"A": np.zeros((1, 3), np.int32), "B": row})
    client.refused(
        invalid("unexpected inference output 'Y' for model 'pair'"),
        "run", PAIR.name, {"A": row, "B": row}, outputs=[client.output("Y")],
    )  # fmt: skip
    client.refused(lost("version 9 is not found"), "run", PAIR.name, {"A": row, "B": row}, model_version="9")
    client.refused(server.expect("client.unknown_model", lost("'nowhere' is not found")), "run", "nowhere", {"A": row})


def test_an_error_does_not_close_the_connection(server):
    connection = wire.http.client.HTTPConnection(server.http, timeout=wire.SECONDS)
    without_b = GOOD.but(inputs=[A]).json()[0]
    for body, status in ((without_b, 400), (GOOD.json()[0], 200), (b"", 400), (GOOD.json()[0], 200)):
        connection.request("POST", GOOD.path, body=body)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_any_model_takes_any_length(server):
    """The counterpart of the refused shapes: a free dimension."""
    for length in (0, 1, 5):
        data = np.arange(length, dtype=np.float32)
        reply = wire.send_http(server.http, Request(ANY.name, [tensor("IN", data, "FP32")]), "json")
        assert reply.status == 200, reply.body
        assert reply.json["outputs"][0]["data"] == data.tolist()
