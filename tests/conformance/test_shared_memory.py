"""System shared memory as clients on the same machine use it, and how the CUDA one is declined."""

import uuid

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm

import wire
from faults import Fault
from test_infer import PAIR_ROWS, ROW, VALUES, same
from wire import Request, Tensor

SIZE = 128


@pytest.fixture
def region(server):
    """Makes regions; each is registered by the test and taken away after it."""
    made = []

    def make(size=SIZE):
        name = f"r{uuid.uuid4().hex[:12]}"
        handle = shm.create_shared_memory_region(name, f"/{name}", size)
        made.append((name, handle))
        return name, handle

    yield make
    for name, handle in made:
        wire.post(server.http, f"/v2/systemsharedmemory/region/{name}/unregister")
        shm.destroy_shared_memory_region(handle)


def listed(client, name="") -> dict:
    """Regions by name."""
    answer = client.as_json("get_system_shared_memory_status", name)
    if isinstance(answer, dict):
        return answer.get("regions", {})
    return {r["name"]: r for r in answer}


def test_register_status_unregister(client, region):
    name, _ = region()
    assert name not in listed(client)
    client.register_system_shared_memory(name, f"/{name}", SIZE)
    entry = listed(client, name)[name]
    assert (entry["name"], entry["key"], int(entry["byte_size"])) == (name, f"/{name}", SIZE)
    assert int(entry.get("offset", 0)) == 0
    assert name in listed(client)
    client.unregister_system_shared_memory(name)
    assert name not in listed(client)


def test_unregister_all(client, region):
    names = [region()[0] for _ in range(2)]
    for name in names:
        client.register_system_shared_memory(name, f"/{name}", SIZE)
    client.unregister_system_shared_memory()
    assert listed(client) == {}


def test_unregister_of_an_unknown_region_is_no_error(client):
    client.unregister_system_shared_memory("never_registered")


def test_status_of_an_unknown_region(server, client):
    fault = Fault((400, 404), ("NOT_FOUND", "INVALID_ARGUMENT"), "never_registered")
    client.refused(server.expect("region_status", fault), "get_system_shared_memory_status", "never_registered")


def test_input_and_output(client, region):
    (source, source_handle), (target, target_handle) = region(), region()
    a, b = PAIR_ROWS["A"], PAIR_ROWS["B"]
    for name in (source, target):
        client.register_system_shared_memory(name, f"/{name}", SIZE)
    shm.set_shared_memory_region(source_handle, [a])
    shared = client.module.InferInput("A", [2, 16], "INT32")
    shared.set_shared_memory(source, SIZE)
    output = client.output("C")
    output.set_shared_memory(target, SIZE)
    answer = client.infer("pair", [shared, client.input("B", b)], outputs=[output, client.output("D")])
    same(shm.get_contents_as_numpy(target_handle, np.int32, [2, 16]), a)
    same(answer.as_numpy("D"), b)


def test_offsets(client, region):
    """Two inputs and two outputs in one region."""
    name, handle = region(512)
    client.register_system_shared_memory(name, f"/{name}", 512)
    a, b = PAIR_ROWS["A"], PAIR_ROWS["B"]
    shm.set_shared_memory_region(handle, [a, b])
    inputs, outputs = [], []
    for i, (source, target) in enumerate(zip("AB", "CD")):
        tensor = client.module.InferInput(source, [2, 16], "INT32")
        tensor.set_shared_memory(name, SIZE, offset=i * SIZE)
        inputs.append(tensor)
        output = client.output(target)
        output.set_shared_memory(name, SIZE, offset=(2 + i) * SIZE)
        outputs.append(output)
    client.infer("pair", inputs, outputs=outputs)
    same(shm.get_contents_as_numpy(handle, np.int32, [2, 16], offset=2 * SIZE), a)
    same(shm.get_contents_as_numpy(handle, np.int32, [2, 16], offset=3 * SIZE), b)


def test_a_region_that_starts_inside_its_key(server, client, region):
    if server.expect("region_offset", "used") == "used twice":
        pytest.skip("the server reads past the end of the region")
    page = 4096
    name, handle = region(2 * page)
    client.register_system_shared_memory(name, f"/{name}", page, offset=page)
    shm.set_shared_memory_region(handle, [ROW], offset=page)
    tensor = client.module.InferInput("IN", [1, 16], "FP32")
    tensor.set_shared_memory(name, 64)
    same(client.infer("plain", [tensor]).as_numpy("OUT"), ROW)


def test_bytes_tensors(client, region):
    name, handle = region()
    client.register_system_shared_memory(name, f"/{name}", SIZE)
    tensor = Tensor("IN", "BYTES", [1, 3], VALUES["BYTES"])
    size = len(tensor.bytes())
    shm.set_shared_memory_region(handle, [np.frombuffer(tensor.bytes(), np.uint8)])
    shared = client.module.InferInput("IN", [1, 3], "BYTES")
    shared.set_shared_memory(name, size)
    same(client.infer("typed_bytes", [shared]).as_numpy("OUT"), VALUES["BYTES"])


def shared_request(name, size=64, offset=0) -> Request:
    parameters = {"shared_memory_region": name, "shared_memory_byte_size": size, "shared_memory_offset": offset}
    return Request("plain", [Tensor("IN", "FP32", [1, 16], parameters=parameters)])


def test_answer_has_an_entry_per_output(server, rpc, region):
    """C++ clients look into `raw_output_contents` by the output's number, also for outputs in shared memory."""
    name, handle = region()
    rpc.call("SystemSharedMemoryRegister", wire.pb.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", byte_size=SIZE))
    parameters = {"shared_memory_region": name, "shared_memory_byte_size": SIZE}
    tensors = [Tensor(n, "INT32", [2, 16], PAIR_ROWS[n]) for n in "AB"]
    answer = rpc.infer(Request("pair", tensors, [{"name": "C", "parameters": parameters}, {"name": "D"}]))
    by_name = dict(zip((o.name for o in answer.outputs), answer.raw_output_contents, strict=True))
    assert by_name == {"C": b"", "D": PAIR_ROWS["B"].tobytes()}
    described = {o.name: o for o in answer.outputs}["C"]
    assert list(described.shape) == [2, 16]
    same(shm.get_contents_as_numpy(handle, np.int32, [2, 16]), PAIR_ROWS["A"])


def test_a_shared_output_has_no_parameters(server, region):
    """C++ clients expect `binary_data_size` in an output's parameters over HTTP, where there are any."""
    name, handle = region()
    wire.post(server.http, f"/v2/systemsharedmemory/region/{name}/register", f'{{"key":"/{name}","offset":0,"byte_size":{SIZE}}}'.encode())
    parameters = {"shared_memory_region": name, "shared_memory_byte_size": 64}
    request = Request("plain", [Tensor("IN", "FP32", [1, 16], ROW)], [{"name": "OUT", "parameters": parameters}])
    reply = wire.send_http(server.http, request, "binary")
    assert reply.json["outputs"] == [{"name": "OUT", "datatype": "FP32", "shape": [1, 16]}]
    same(shm.get_contents_as_numpy(handle, np.float32, [1, 16]), ROW)


def test_raw_contents_skip_shared_inputs(rpc, region):
    name, handle = region()
    rpc.call("SystemSharedMemoryRegister", wire.pb.SystemSharedMemoryRegisterRequest(name=name, key=f"/{name}", byte_size=SIZE))
    shm.set_shared_memory_region(handle, [PAIR_ROWS["A"]])
    parameters = {"shared_memory_region": name, "shared_memory_byte_size": SIZE}
    shared = Tensor("A", "INT32", [2, 16], parameters=parameters)
    request = Request("pair", [shared, Tensor("B", "INT32", [2, 16], PAIR_ROWS["B"])])
    assert list(rpc.infer(request).raw_output_contents) == [PAIR_ROWS["A"].tobytes(), PAIR_ROWS["B"].tobytes()]


def both(server, rpc, fault, request):
    reply = wire.send_http(server.http, request, "json")
    fault.check_http(reply.status, reply.error)
    fault.check_grpc(*rpc.fault("ModelInfer", request.proto()))


def test_unknown_region(server, rpc):
    fault = Fault(404, "NOT_FOUND", "Unable to find shared memory region: 'never_registered'")
    both(server, rpc, server.expect("region/unknown", fault), shared_request("never_registered"))


@pytest.mark.parametrize(
    "case,size,offset",
    [("past_the_end", 64, 100), ("offset_past_the_end", 64, 4096), ("offset_wraps", 64, 2**63 - 1)],
)
def test_outside_of_a_region(server, rpc, client, region, case, size, offset):
    name, _ = region()
    client.register_system_shared_memory(name, f"/{name}", SIZE)
    fault = Fault(400, "INVALID_ARGUMENT", f"[Ii]nvalid .*shared memory region: '{name}'|'{name}'")
    both(server, rpc, server.expect(f"region/{case}", fault), shared_request(name, size, offset))


def test_size_that_is_not_the_tensors(server, rpc, client, region):
    name, _ = region()
    client.register_system_shared_memory(name, f"/{name}", SIZE)
    fault = Fault(400, "INVALID_ARGUMENT", "IN")
    both(server, rpc, server.expect("region/wrong_size", fault), shared_request(name, 60))


def test_output_that_does_not_fit(server, rpc, client, region):
    name, _ = region()
    client.register_system_shared_memory(name, f"/{name}", SIZE)
    parameters = {"shared_memory_region": name, "shared_memory_byte_size": 32}
    request = Request("plain", [Tensor("IN", "FP32", [1, 16], ROW)], [{"name": "OUT", "parameters": parameters}])
    fault = Fault(400, "INVALID_ARGUMENT", r"OUT|size")
    both(server, rpc, server.expect("region/output_too_small", fault), request)


def test_registered_twice(server, client, region):
    name, _ = region()
    client.register_system_shared_memory(name, f"/{name}", SIZE)
    fault = Fault(400, "ALREADY_EXISTS", f"shared memory region '{name}' already in manager")
    client.refused(fault, "register_system_shared_memory", name, f"/{name}", SIZE)


@pytest.mark.parametrize(
    "case,key,size",
    [
        ("unknown_key", "/never_made", 64),
        ("a_path", "/../etc/passwd", 64),
        ("larger_than_the_key", None, 1 << 20),
        ("of_nothing", None, 0),
    ],
)
def test_refused_registrations(server, client, region, case, key, size):
    name, _ = region()
    fault = Fault(400, ("INVALID_ARGUMENT", "NOT_FOUND"), r"\S")
    expected = server.expect(f"register/{case}", fault)
    arguments = (name, key or f"/{name}", size)
    if expected == "accepted":
        client.register_system_shared_memory(*arguments)
    else:
        client.refused(expected, "register_system_shared_memory", *arguments)


def test_cuda_shared_memory_is_declined_cleanly(server, client):
    answer = client.as_json("get_cuda_shared_memory_status")
    assert (answer.get("regions", {}) if isinstance(answer, dict) else answer) in ({}, [])
    client.unregister_cuda_shared_memory()
    client.unregister_cuda_shared_memory("never_registered")
    fault = Fault((400, 501), ("INVALID_ARGUMENT", "UNIMPLEMENTED"), r"\S")
    expected = server.expect("cuda_register", fault)
    client.refused(expected, "register_cuda_shared_memory", "gpu", b"AAAA", 0, 64)
