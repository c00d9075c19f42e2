"""ModelStreamInfer: errors are messages, and the stream lives on."""

import queue

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

import wire
from clients import wait
from faults import Fault
from test_infer import PLAIN, ROW, same

EMPTY_FINAL = "triton_enable_empty_final_response"


def stream(rpc, requests, **kwargs):
    return list(rpc.stub.ModelStreamInfer(iter(requests), timeout=wire.SECONDS, **kwargs))


def test_answers_in_order(rpc):
    answers = stream(rpc, [PLAIN.but(id=str(i)).proto() for i in range(50)])
    assert [a.error_message for a in answers] == [""] * 50
    assert [a.infer_response.id for a in answers] == [str(i) for i in range(50)]
    assert all(list(a.infer_response.raw_output_contents) == [ROW.tobytes()] for a in answers)


def test_an_empty_stream_ends_well(rpc):
    assert stream(rpc, []) == []


BAD = {
    "unknown_model": (PLAIN.but(model="nowhere"), "unknown model: 'nowhere' is not found"),
    "wrong_input": (PLAIN.but(inputs=[wire.Tensor("X", "FP32", [1, 16], ROW)]), "unexpected inference input 'X'"),
    "wrong_shape": (PLAIN.but(inputs=[wire.Tensor("IN", "FP32", [1, 3], ROW[:, :3])]), "unexpected shape for input 'IN'"),
    "reserved": (PLAIN.but(parameters={"triton_of_ours": "x"}), "reserved"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_error_is_a_message(server, rpc, case):
    request, text = BAD[case]
    answers = stream(rpc, [PLAIN.but(id="1").proto(), request.but(id="2").proto(), PLAIN.but(id="3").proto()])
    refused = [a.error_message for a in answers if a.error_message]
    assert len(refused) == 1
    assert text in refused[0]
    # An error may overtake the answer before it: it takes a shorter way.
    assert sorted(a.infer_response.id for a in answers if not a.error_message) == ["1", "3"]


def test_errors_as_grpc_codes(server, rpc):
    """What the stream's metadata can ask for: the error closes it."""
    requests = [PLAIN.proto(), BAD["unknown_model"][0].proto()]
    call = rpc.stub.ModelStreamInfer(iter(requests), timeout=wire.SECONDS, metadata=[("triton_grpc_error", "true")])
    if server.expect("stream_errors_as_codes", "codes") == "messages":
        assert [bool(a.error_message) for a in call] == [False, True]
        return
    with pytest.raises(wire.grpc.RpcError) as e:
        list(call)
    Fault(None, "NOT_FOUND", "'nowhere' is not found").check_grpc(e.value.code().name, e.value.details())


@pytest.mark.parametrize("wanted", [None, False, True])
def test_final_response(server, rpc, wanted):
    """A model that answers once: its answer is the final one, and no empty one follows."""
    parameters = {} if wanted is None else {EMPTY_FINAL: wanted}
    answers = stream(rpc, [PLAIN.but(parameters=parameters).proto()])
    assert len(answers) == 1
    assert answers[0].infer_response.parameters["triton_final_response"].bool_param
    assert len(answers[0].infer_response.raw_output_contents) == 1


def test_unary_answers_have_no_final_marker(rpc):
    assert "triton_final_response" not in rpc.infer(PLAIN.but(parameters={EMPTY_FINAL: False})).parameters


def test_stream_of_the_blocking_client(grpc_client):
    results = queue.Queue()
    grpc_client.start_stream(callback=lambda result, error: results.put((result, error)))
    for i in range(20):
        values = np.full((1, 16), i, np.float32)
        name = "nowhere" if i == 10 else "plain"
        grpc_client.async_stream_infer(name, [grpc_client.input("IN", values)], request_id=str(i))
    got = [results.get(timeout=wire.SECONDS) for _ in range(20)]
    grpc_client.stop_stream()
    errors = [error for _, error in got if error is not None]
    assert len(errors) == 1 and "'nowhere' is not found" in str(errors[0])
    for result, error in got:
        if error is None:
            number = int(result.get_response().id)
            same(result.as_numpy("OUT"), np.full((1, 16), number, np.float32))


def test_stream_of_the_async_client(server):
    import tritonclient.grpc.aio as aio

    async def requests():
        for i in range(20):
            tensor = aio.InferInput("IN", [1, 16], "FP32")
            tensor.set_data_from_numpy(np.full((1, 16), i, np.float32))
            yield {"model_name": "plain", "inputs": [tensor], "request_id": str(i)}

    async def run():
        async with aio.InferenceServerClient(server.grpc) as client:
            return [answer async for answer in client.stream_infer(requests())]

    answers = wait(run())
    assert [result.get_response().id for result, error in answers if error is None] == [str(i) for i in range(20)]


def test_the_answer_comes_before_the_stream_is_closed(rpc):
    """One request, its answer, the next: no batching of a stream."""
    requests = queue.Queue()
    call = rpc.stub.ModelStreamInfer(iter(requests.get, None), timeout=wire.SECONDS)
    for i in range(3):
        requests.put(PLAIN.but(id=str(i)).proto())
        assert next(call).infer_response.id == str(i)
    requests.put(None)
    assert list(call) == []


def test_a_cancelled_stream_leaves_the_server_well(rpc):
    requests = queue.Queue()
    call = rpc.stub.ModelStreamInfer(iter(requests.get, None), timeout=wire.SECONDS)
    requests.put(PLAIN.proto())
    next(call)
    call.cancel()
    requests.put(None)
    with pytest.raises((wire.grpc.RpcError, StopIteration, InferenceServerException)):
        next(call)
    assert rpc.infer(PLAIN).model_name == "plain"
