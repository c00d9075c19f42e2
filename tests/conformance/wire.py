"""Requests as bytes: what a client library would refuse to send can be sent with these."""

import http.client
import json
import socket
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

SECONDS = 20
HEADER_LENGTH = "Inference-Header-Content-Length"
CONTENTS = {
    "BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip


@dataclass
class Reply:
    """An HTTP answer; names of headers are lower case."""

    status: int
    headers: dict
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of an error body, which must be an object with `error` alone."""
        try:
            body = self.json
        except ValueError:
            raise AssertionError(f"HTTP {self.status} with a body that is not JSON: {self.body[:200]!r}") from None
        assert isinstance(body, dict) and list(body) == ["error"], body
        assert isinstance(body["error"], str), body
        return body["error"]


def http_call(address, method, path, body=None, headers=None, chunked=False) -> Reply:
    """One request on a connection of its own. `body`: bytes, or with `chunked` an iterable of bytes."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS)
    try:
        connection.request(method, path, body=body, headers=headers or {}, encode_chunked=chunked)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def http_bytes(address, data: bytes) -> socket.socket:
    """Sends bytes as they are and hands back the open socket."""
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=SECONDS)
    connection.sendall(data)
    return connection


def get(address, path, **kwargs) -> Reply:
    return http_call(address, "GET", path, **kwargs)


def post(address, path, body=b"", headers=None) -> Reply:
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return http_call(address, "POST", path, body=body, headers={"Content-Type": "application/json", **(headers or {})})


@dataclass
class Tensor:
    """An input as it goes over the wire. `raw` replaces the bytes of `data`, `size` what is said of them."""

    name: str
    datatype: str
    shape: list
    data: Any = None
    raw: bytes | None = None
    size: int | None = None
    parameters: dict = field(default_factory=dict)

    def bytes(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.data is None:
            return b""
        array = np.asarray(self.data)
        if self.datatype == "BYTES":
            return serialize_byte_tensor(array.astype(np.object_)).item() if array.size else b""
        return array.tobytes()

    def values(self) -> list:
        values = np.asarray(self.data).reshape(-1).tolist()
        return [v.decode() if isinstance(v, bytes) else v for v in values]


@dataclass
class Request:
    """An inference request that can be said in each of the protocol's encodings."""

    model: str
    inputs: list
    outputs: list = field(default_factory=list)
    parameters: dict = field(default_factory=dict)
    id: Any = None
    version: Any = None
    more: bytes = b""

    def but(self, **changes) -> "Request":
        return replace(self, **changes)

    @property
    def path(self) -> str:
        version = f"/versions/{self.version}" if self.version is not None else ""
        return f"/v2/models/{self.model}{version}/infer"

    def _document(self, inputs) -> dict:
        document = {"inputs": inputs}
        if self.outputs:
            document["outputs"] = [o if isinstance(o, dict) else {"name": o} for o in self.outputs]
        if self.parameters:
            document["parameters"] = self.parameters
        if self.id is not None:
            document["id"] = self.id
        return document

    def json(self) -> tuple[bytes, dict]:
        """Body and headers with the data in the JSON text."""
        inputs = []
        for tensor in self.inputs:
            said = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
            if tensor.parameters:
                said["parameters"] = tensor.parameters
            if tensor.data is not None:
                said["data"] = tensor.values()
            inputs.append(said)
        return json.dumps(self._document(inputs)).encode(), {"Content-Type": "application/json"}

    def binary(self) -> tuple[bytes, dict]:
        """Body and headers with the data behind the JSON text."""
        inputs, tail = [], b""
        for tensor in self.inputs:
            raw = tensor.bytes()
            size = len(raw) if tensor.size is None else tensor.size
            parameters = {"binary_data_size": size, **tensor.parameters}
            inputs.append(
                {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "parameters": parameters}
            )
            tail += raw
        header = json.dumps(self._document(inputs)).encode()
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
        return header + tail + self.more, headers

    def proto(self, raw: bool = True) -> pb.ModelInferRequest:
        """The gRPC message, with raw or with typed contents."""
        message = pb.ModelInferRequest(model_name=self.model, model_version=str(self.version or ""), id=self.id or "")
        for tensor in self.inputs:
            said = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            set_parameters(said, tensor.parameters)
            if tensor.data is None and tensor.raw is None:
                continue
            if raw:
                message.raw_input_contents.append(tensor.bytes())
            else:
                values = tensor.values()
                if tensor.datatype == "BYTES":
                    values = [v.encode() if isinstance(v, str) else v for v in values]
                getattr(said.contents, CONTENTS.get(tensor.datatype, "int_contents")).extend(values)
        for output in self.outputs:
            said = message.outputs.add(name=output["name"] if isinstance(output, dict) else output)
            if isinstance(output, dict):
                set_parameters(said, output.get("parameters", {}))
        set_parameters(message, self.parameters)
        return message


def set_parameters(message, parameters: dict) -> None:
    for key, value in parameters.items():
        if isinstance(value, bool):
            message.parameters[key].bool_param = value
        elif isinstance(value, int):
            message.parameters[key].int64_param = value
        elif isinstance(value, float):
            message.parameters[key].double_param = value
        else:
            message.parameters[key].string_param = value


def send_http(address, request: Request, encoding: str) -> Reply:
    """`encoding`: json or binary."""
    body, headers = getattr(request, encoding)()
    return http_call(address, "POST", request.path, body=body, headers=headers)


class Grpc:
    """A channel with large messages, the stub, and calls of any name with bytes."""

    def __init__(self, address: str):
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def call(self, method: str, request=None, seconds=SECONDS, metadata=()):
        """Calls `method` with a message, an empty one by default, and returns its answer."""
        if request is None:
            request = getattr(pb, f"{method}Request")()
        return getattr(self.stub, method)(request, timeout=seconds, metadata=metadata)

    def fault(self, method: str, request=None, **kwargs) -> tuple[str, str]:
        """Code and message of a call that must fail."""
        try:
            answer = self.call(method, request, **kwargs)
        except grpc.RpcError as e:
            return e.code().name, e.details()
        raise AssertionError(f"{method} did not fail: {str(answer)[:500]}")

    def raw(self, path: str, request: bytes = b"", seconds=SECONDS) -> bytes:
        """A unary call of a path, bytes in and out; raises grpc.RpcError."""
        return self.channel.unary_unary(path)(request, timeout=seconds)

    def infer(self, request: Request, raw: bool = True, **kwargs) -> pb.ModelInferResponse:
        return self.call("ModelInfer", request.proto(raw), **kwargs)

    def close(self) -> None:
        self.channel.close()
