"""tritonclient's four clients behind one face, so that a test is written once."""

import asyncio
import importlib
import inspect

import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

TRANSPORTS = ("http", "http.aio", "grpc", "grpc.aio")
_loop = asyncio.new_event_loop()


def wait(awaitable):
    return _loop.run_until_complete(awaitable)


class Client:
    """A client of `tritonclient.<transport>`; every method of it can be called, async ones are awaited."""

    def __init__(self, transport: str, address: str, **options):
        self.transport = transport
        self.protocol = transport.split(".")[0]
        self.module = importlib.import_module(f"tritonclient.{transport}")

        async def make():
            return self.module.InferenceServerClient(address, **options)

        self.client = wait(make()) if transport.endswith(".aio") else self.module.InferenceServerClient(address, **options)

    def __getattr__(self, method):
        function = getattr(self.client, method)

        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            return wait(result) if inspect.isawaitable(result) else result

        return call

    def as_json(self, method, *args, **kwargs):
        """The answer of a call that describes something, as a dict or a list in both protocols."""
        if self.protocol == "grpc":
            kwargs["as_json"] = True
        return getattr(self, method)(*args, **kwargs)

    def input(self, name, array, datatype=None, **kwargs):
        array = np.asarray(array)
        tensor = self.module.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, **kwargs)
        return tensor

    def output(self, name, **kwargs):
        return self.module.InferRequestedOutput(name, **kwargs)

    def run(self, model, arrays: dict, **kwargs):
        """Infers with inputs by name."""
        return self.infer(model, [self.input(name, array) for name, array in arrays.items()], **kwargs)

    def fault(self, method, *args, **kwargs) -> InferenceServerException:
        """The exception of a call that must fail."""
        try:
            answer = getattr(self, method)(*args, **kwargs)
        except InferenceServerException as e:
            return e
        raise AssertionError(f"{method} did not fail: {answer}")

    def refused(self, expected, method, *args, **kwargs) -> None:
        """Checks that a call fails as `expected` (a Fault)."""
        e = self.fault(method, *args, **kwargs)
        expected.check_client(e.status(), e.message())


def numbers(values) -> list[int]:
    """Integers that JSON of protobuf gives as strings."""
    return [int(v) for v in values]
