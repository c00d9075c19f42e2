"""The description at /v2/openapi.json: every operation of it is called, and real answers are as it says."""

import gzip
import json
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm

import models
import server as servers
import wire
from test_infer import PLAIN
from wire import Request, Tensor

REGION = "described"
KEY = "/hypersonic-described"
HALF = Request("typed_fp16", [Tensor("IN", "FP16", [1, 2], np.ones((1, 2), np.float16))])
WORDS = Request("typed_bytes", [Tensor("IN", "BYTES", [1, 2], np.array([[b"a", b"bc"]], np.object_))])


@dataclass
class Call:
    """A call of an operation: names in its path, what is sent, and the status of the answer."""

    status: int = 200
    body: Any = None
    headers: dict = field(default_factory=dict)
    model: str = "plain"
    version: str = "1"
    repository: str = "repository"
    region: str = REGION
    file: str = "main.js"

    def send(self, address, method, path) -> wire.Reply:
        names = {k: getattr(self, k) for k in ("model", "version", "repository", "region", "file")}
        body = self.body if isinstance(self.body, bytes | None) else json.dumps(self.body).encode()
        return wire.http_call(address, method.upper(), path.format(**names), body=body, headers=self.headers)


def infer(request, encoding, status=200, **headers) -> Call:
    body, more = getattr(request, encoding)()
    return Call(status, body, {**more, **headers}, model=request.model)


LABELLED = Request(
    "labelled",
    [Tensor("IN", "FP32", [1, 10], np.arange(10, dtype=np.float32).reshape(1, 10))],
    outputs=[{"name": "OUT", "parameters": {"classification": 2}}],
    parameters={"priority": 1, "timeout": 5, "mine": "x"},
    id="7",
)
SHARED = PLAIN.but(
    inputs=[
        Tensor("IN", "FP32", [1, 16], parameters={"shared_memory_region": REGION, "shared_memory_byte_size": 64}),
    ],
    outputs=[
        {
            "name": "OUT",
            "parameters": {
                "shared_memory_region": REGION,
                "shared_memory_offset": 64,
                "shared_memory_byte_size": 64,
            },
        }
    ],
)
PACKED = [Call(400, b"{}", {"Content-Encoding": "gzip"}), Call(415, b"{}", {"Content-Encoding": "zstd"})]
MALFORMED = [Call(400, b"{"), Call(400, b"[]"), *PACKED]
INFER = [
    infer(PLAIN, "json"),
    infer(PLAIN, "binary"),
    infer(PLAIN.but(parameters={"binary_data_output": True}), "json"),
    infer(PLAIN, "json", **{"Accept-Encoding": "gzip"}),
    infer(WORDS, "json"),
    infer(HALF, "binary", 400),
    infer(HALF.but(parameters={"binary_data_output": True}), "binary"),
    infer(LABELLED, "json"),
    infer(SHARED, "json"),
    Call(body=PLAIN.inputs[0].bytes(), headers={wire.HEADER_LENGTH: "0"}),
    infer(PLAIN.but(model="nowhere"), "json", 404),
    *MALFORMED,
]
UNKNOWN = Call(404, model="nowhere")
REGISTER = {"key": KEY, "offset": 0, "byte_size": 128}
NO_REGION = Call(404, region="nothing")

# By the description's operationId.
CALLS = {
    "serverLive": [Call()],
    "serverReady": [Call()],
    "serverMetadata": [Call()],
    "allStatistics": [Call()],
    "modelMetadata": [Call(), UNKNOWN],
    "versionMetadata": [Call(), Call(404, version="9")],
    "modelReady": [Call(), Call(400, model="nowhere")],
    "versionReady": [Call(), Call(400, version="9")],
    "modelConfig": [Call(model=m.name) for m in models.MODELS] + [UNKNOWN],
    "versionConfig": [Call(), UNKNOWN],
    "modelStatistics": [Call(), Call(400, model="nowhere")],
    "versionStatistics": [Call(), Call(400, version="9")],
    "registerSystemRegion": [
        Call(body=REGISTER),
        Call(400, REGISTER),
        Call(400, REGISTER | {"key": "/nothing"}, region="other"),
        *MALFORMED,
    ],
    "systemRegions": [Call()],
    "systemRegion": [Call(), NO_REGION],
    "modelInfer": INFER,
    "versionInfer": INFER,
    "unregisterSystemRegion": [Call(), Call(region="nothing"), *PACKED],
    "unregisterSystemRegions": [Call(), *PACKED],
    "cudaRegions": [Call()],
    "cudaRegion": [NO_REGION],
    "registerCudaRegion": [Call(501, REGISTER), *PACKED],
    "unregisterCudaRegion": [Call(), *PACKED],
    "unregisterCudaRegions": [Call(), *PACKED],
    "modelTraceSettings": [Call(), Call(400, model="nowhere")],
    "updateModelTraceSettings": [
        Call(body={"trace_rate": "9"}),
        Call(body={"trace_rate": None}),
        Call(400, {"no_such": "1"}),
        *MALFORMED,
    ],
    "traceSettings": [Call()],
    "updateTraceSettings": [
        Call(body={"trace_level": ["TIMESTAMPS"], "trace_count": "5"}),
        Call(body={"trace_level": None, "trace_count": None}),
        Call(400, {"trace_level": ["LOUD"]}),
        *MALFORMED,
    ],
    "logSettings": [Call()],
    "updateLogSettings": [Call(body={"log_info": True}), Call(400, {"log_info": 1}), *MALFORMED],
    "index": [Call(body={}), Call(), Call(body={"ready": True}), *MALFORMED],
    "indexRepository": [Call(body={}), Call(404, {}, repository="nothing"), *MALFORMED],
    "unloadModel": [
        Call(model="steady"),
        Call(model="steady", body={"parameters": {"unload_dependents": True}}),
        *MALFORMED,
    ],
    "loadModel": [
        Call(model="steady"),
        Call(500, model="nowhere"),
        Call(400, {"parameters": {"config": "{"}}, model="steady"),
        *MALFORMED,
    ],
    "unloadRepositoryModel": [
        Call(model="steady"),
        Call(404, model="steady", repository="nothing"),
        *MALFORMED,
    ],
    "loadRepositoryModel": [
        Call(model="steady", body={"parameters": {}}),
        Call(404, model="steady", repository="nothing"),
        *MALFORMED,
    ],
    "backends": [Call()],
    "openapi": [Call(), Call(304, headers={"If-None-Match": "*"})],
    "page": [Call(), Call(304, headers={"If-None-Match": "*"})],
    "pageFile": [
        Call(),
        Call(file="page.css"),
        Call(404, file="nothing.js"),
        Call(304, headers={"If-None-Match": "*"}),
    ],
}


def closed(schema):
    """The schema without room for what it does not describe: clients may ignore that, the description may not."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        schema.setdefault("additionalProperties", False)
    return schema


class Description:
    """The document, and checks of what it describes."""

    def __init__(self, document):
        self.document = document
        self.components = document["components"] | {"schemas": closed(document["components"]["schemas"])}
        self.operations = {
            operation["operationId"]: (path, method, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method != "parameters"
        }

    def resolve(self, part):
        while "$ref" in part:
            reference = part["$ref"].removeprefix("#/").split("/")
            part = self.document
            for name in reference:
                part = part[name]
        return part

    def matches(self, value, schema) -> None:
        jsonschema.Draft202012Validator({"components": self.components, **closed(schema)}).validate(value)

    def check_request(self, operation, call) -> None:
        """What the server takes is as described, too."""
        if isinstance(call.body, bytes | None):
            return
        self.matches(call.body, operation["requestBody"]["content"]["application/json"]["schema"])

    def check(self, operation, reply) -> None:
        said = self.resolve(operation["responses"][str(reply.status)])
        for name, header in said.get("headers", {}).items():
            if name.lower() in reply.headers:
                schema = header["schema"]
                text = reply.headers[name.lower()]
                self.matches(int(text) if schema.get("type") == "integer" else text, schema)
        if "content" not in said:
            assert reply.body == b""
            return
        kind = reply.headers["content-type"]
        content = said["content"][kind]
        body = reply.body
        if reply.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if kind == "application/json":
            self.matches(json.loads(body), content.get("schema", {}))
        elif kind == "application/octet-stream":
            length = int(reply.headers[wire.HEADER_LENGTH.lower()])
            answer = json.loads(body[:length])
            self.matches(answer, {"$ref": "#/components/schemas/InferAnswer"})
            sizes = [o.get("parameters", {}).get("binary_data_size", 0) for o in answer["outputs"]]
            assert sum(sizes) == len(body) - length


@pytest.fixture(scope="module", autouse=True)
def ours(kind):
    if kind != "hypersonic":
        pytest.skip("the description is Hypersonic's")


@pytest.fixture(scope="module")
def description(server):
    return Description(wire.get(server.http, "/v2/openapi.json").json)


@pytest.fixture(scope="module")
def memory():
    handle = shm.create_shared_memory_region(REGION, KEY, 128)
    yield
    shm.destroy_shared_memory_region(handle)


def test_every_operation_is_called(description):
    assert set(CALLS) == set(description.operations)


def test_schemas_are_schemas(description):
    for name, schema in description.document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert isinstance(schema, dict), name


def test_the_check_can_fail(description):
    good = {"name": "x", "version": "1", "extensions": []}
    server = {"$ref": "#/components/schemas/Server"}
    description.matches(good, server)
    for bad in ({"name": "x", "version": "1"}, good | {"more": 1}, good | {"name": 1}, []):
        with pytest.raises(jsonschema.ValidationError):
            description.matches(bad, server)


def registered(address, memory):
    """Calls of inference and of status find the region."""
    path = f"/v2/systemsharedmemory/region/{REGION}"
    wire.post(address, f"{path}/unregister")
    assert wire.post(address, f"{path}/register", REGISTER).status == 200


@pytest.mark.parametrize("name", CALLS)
def test_answers(server, description, memory, name):
    path, method, operation = description.operations[name]
    if name in ("systemRegion", "systemRegions", "modelInfer", "versionInfer"):
        registered(server.http, memory)
    statuses = set()
    for call in CALLS[name]:
        reply = call.send(server.http, method, path)
        assert reply.status == call.status, f"{call}: {reply.body[:300]!r}"
        description.check(operation, reply)
        if call.status == 200:
            description.check_request(operation, call)
        statuses.add(reply.status)
    wire.post(server.http, f"/v2/systemsharedmemory/region/{REGION}/unregister")
    wire.post(server.http, "/v2/repository/models/steady/load")
    # Every answer of its own that an operation can give is called for; the others depend on the server.
    elsewhere = {401, 403, 408, 413, 429, 500, 501, 503} | ({400} if name == "serverReady" else set())
    assert {int(s) for s in operation["responses"]} - elsewhere <= statuses


def other_methods(methods):
    return [m for m in ("get", "post", "put", "delete", "patch", "options") if m not in methods]


def test_other_methods_are_not_described_and_not_allowed(server, description):
    for path, item in description.document["paths"].items():
        for method in other_methods(item):
            reply = Call().send(server.http, method, path)
            assert reply.status == 405, (method, path)
            allowed = {m.strip().lower() for m in reply.headers["allow"].split(",")} - {"head"}
            assert allowed == set(item) - {"parameters"}, path
            description.matches(reply.json, {"$ref": "#/components/schemas/Error"})


@pytest.mark.other_servers
def test_answers_of_guarded_servers(start, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("token\n")
    groups = ["health", "metadata", "inference", "shared-memory", "model-config", "model-repository", "statistics"]
    restricted = ",".join([*groups, "trace", "logging"])
    token = {"Authorization": "Bearer token"}
    servers_of = {
        401: (start(flags=[*servers.EXPLICIT, "--auth-tokens", str(tokens)]), {}),
        403: (start(flags=[*servers.EXPLICIT, "--http-restricted-api", f"{restricted}:k=v"]), {}),
        429: (start(flags=[*servers.EXPLICIT, "--requests-per-second", "1"]), {}),
        200: (start(flags=[*servers.EXPLICIT, "--auth-tokens", str(tokens)]), token),
    }
    document = Description(wire.get(servers_of[200][0].http, "/v2/openapi.json").json)
    for name, (path, method, operation) in document.operations.items():
        for status, (running, headers) in servers_of.items():
            if status == 200:
                expected = CALLS[name][0].status if method == "get" and "{region}" not in path else None
            else:
                expected = status if str(status) in operation["responses"] else None
            if expected is None:
                continue
            for _ in range(10):
                reply = Call(headers=headers).send(running.http, method, path)
                # One call a second is let in.
                if status != 429 or reply.status == 429:
                    break
            assert reply.status == expected, (name, status, reply.body)
            document.check(operation, reply)


@pytest.mark.other_servers
def test_answers_of_servers_that_refuse(start, tmp_path):
    small = start(flags=[*servers.EXPLICIT, "--max-request-bytes", "1000"], allow_shared_memory=False)
    fixed = start(flags=[])
    document = Description(wire.get(small.http, "/v2/openapi.json").json)
    for name, (path, method, operation) in document.operations.items():
        if "413" in operation["responses"]:
            reply = Call(body=b" " * 2000).send(small.http, method, path)
            assert reply.status == 413, name
            document.check(operation, reply)
        if name.startswith(("load", "unload")):
            reply = Call(repository="repository").send(fixed.http, method, path)
            assert reply.status == 503, (name, reply.body)
            document.check(operation, reply)
    path, method, operation = document.operations["registerSystemRegion"]
    reply = Call(body=REGISTER).send(small.http, method, path)
    assert reply.status == 501
    document.check(operation, reply)
    models.BROKEN.write(tmp_path / "broken", "hypersonic")
    path, method, operation = document.operations["serverReady"]
    reply = Call().send(start(flags=["--exit-on-error", "false"], repository=tmp_path / "broken").http, method, path)
    assert reply.status == 400
    document.check(operation, reply)
