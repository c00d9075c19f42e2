"""A client as CMS's software has it: C++ over gRPC, one conversation per job, and the rules that it takes for granted.

What it does was read off its sources: the order of calls, the fields that it looks at and those that it never sets.
"""

import contextlib
import threading

import grpc
import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm

import tls
import wire
from wire import Request, Tensor, pb

A = np.arange(48, dtype=np.int32).reshape(3, 16)
B = -A
SIZES = {"INT32": 4, "FP32": 4}
STATISTICS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class Job:
    """One job: finds its model, reads what it is, and sends events."""

    def __init__(self, channel, model="pair", compression=None):
        self.stub = wire.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self.options = {"timeout": wire.SECONDS, "compression": compression}
        self.model = model

    def start(self):
        """At the job's start, for each server: who serves the model. Only the names are read."""
        listed = self.stub.RepositoryIndex(pb.RepositoryIndexRequest(), **self.options)
        assert self.model in {m.name for m in listed.models}
        about = self.stub.ServerMetadata(pb.ServerMetadataRequest(), **self.options)
        assert about.version
        # When the module is built.
        config = self.stub.ModelConfig(pb.ModelConfigRequest(name=self.model), **self.options).config
        metadata = self.stub.ModelMetadata(pb.ModelMetadataRequest(name=self.model), **self.options)
        self.max_batch_size = config.max_batch_size
        self.check_shapes(config, metadata)
        self.outputs = [o.name for o in metadata.outputs]

    @staticmethod
    def check_shapes(config, metadata):
        """Shapes of the metadata lead with the batch, those of the configuration do not have it."""
        for dims, tensor in zip([*config.input, *config.output], [*metadata.inputs, *metadata.outputs], strict=True):
            assert dims.name == tensor.name
            batch = [-1] if config.max_batch_size > 0 else []
            assert [*tensor.shape] == batch + [*dims.dims]

    def request(self, a=A, b=B, outputs=None) -> pb.ModelInferRequest:
        tensors = [Tensor("A", "INT32", list(a.shape), a), Tensor("B", "INT32", list(b.shape), b)]
        message = Request(self.model, tensors, outputs or self.outputs).proto()
        # No id, no version, no priority, no timeout; new clients always send this one.
        message.parameters["triton_enable_empty_final_response"].bool_param = False
        return message

    def infer(self, message) -> dict:
        """Sends it and reads the answer as the client's constructor does."""
        answer = self.stub.ModelInfer(message, **self.options)
        assert len(answer.raw_output_contents) == len(answer.outputs)
        tensors = {}
        for described, raw in zip(answer.outputs, answer.raw_output_contents):
            if "shared_memory_region" not in described.parameters and raw:
                assert len(raw) == int(np.prod(described.shape)) * SIZES[described.datatype]
            tensors[described.name] = (list(described.shape), raw)
        return tensors

    def statistics(self):
        """The first entry is used without a look at how many there are."""
        entries = self.stub.ModelStatistics(pb.ModelStatisticsRequest(name=self.model), **self.options).model_stats
        assert len(entries) >= 1
        assert all(entries[0].inference_stats.HasField(field) for field in STATISTICS)
        return entries[0]


def expected(a=A, b=B):
    return {"C": (list(a.shape), a.tobytes()), "D": (list(b.shape), b.tobytes())}


@pytest.fixture
def channel(server):
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_receive_message_length", -1)]) as made:
        yield made


@pytest.fixture(params=[None, grpc.Compression.Deflate, grpc.Compression.Gzip], ids=["plain", "deflate", "gzip"])
def job(request, channel):
    made = Job(channel, compression=request.param)
    made.start()
    return made


def test_a_job(job):
    """Verbose clients take statistics around each call."""
    before = job.statistics()
    for _ in range(3):
        assert job.infer(job.request()) == expected()
    after = job.statistics()
    assert after.inference_stats.success.count - before.inference_stats.success.count >= 2
    assert after.inference_count >= before.inference_count


def test_shapes_of_answers_have_the_batch(job):
    """The client takes the first dimension away."""
    for rows in (1, 8):
        a = np.full((rows, 16), 7, np.int32)
        assert job.infer(job.request(a, -a)) == expected(a, -a)


def test_named_outputs_alone(job):
    assert job.infer(job.request(outputs=["D"])) == {"D": expected()["D"]}


def test_a_request_may_be_sent_again(job):
    """A failed call is tried again, on this server or on another: the same message, the same answer."""
    message = job.request()
    assert job.infer(message) == job.infer(message) == expected()


def test_six_clients_share_a_channel(channel):
    jobs = [Job(channel) for _ in range(6)]
    wrong = []

    def run(job, number):
        job.start()
        for i in range(20):
            a = np.full((2, 16), 100 * number + i, np.int32)
            if job.infer(job.request(a, -a)) != expected(a, -a):
                wrong.append((number, i))

    threads = [threading.Thread(target=run, args=(job, n)) for n, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_ragged_batches_are_separate_calls(channel):
    """A model without batch dimension; entries of different lengths, sent at once."""
    stub = wire.service_pb2_grpc.GRPCInferenceServiceStub(channel)
    arrays = [np.arange(n, dtype=np.float32) for n in (1, 30, 7, 1000)]
    calls = [
        stub.ModelInfer.future(Request("any", [Tensor("IN", "FP32", [a.size], a)]).proto(), timeout=wire.SECONDS)
        for a in arrays
    ]
    assert [c.result().raw_output_contents[0] for c in calls] == [a.tobytes() for a in arrays]


def test_shared_memory_on_the_same_machine(channel, server):
    """One region per input and output; the contents of the message are for the other tensors alone."""
    job = Job(channel)
    job.start()
    regions = {}
    with contextlib.ExitStack() as stack:
        for name in ("A", "C"):
            key = f"/job_{name}_{server.grpc.rsplit(':')[-1]}"
            regions[name] = shm.create_shared_memory_region(name, key, A.nbytes)
            stack.callback(shm.destroy_shared_memory_region, regions[name])
            job.stub.SystemSharedMemoryRegister(
                pb.SystemSharedMemoryRegisterRequest(name=name, key=key, byte_size=A.nbytes), timeout=wire.SECONDS
            )
            stack.callback(job.stub.SystemSharedMemoryUnregister, pb.SystemSharedMemoryUnregisterRequest(name=name))
        shm.set_shared_memory_region(regions["A"], [A])
        message = job.request()
        del message.raw_input_contents[0]
        for tensor, region in ((message.inputs[0], "A"), (message.outputs[0], "C")):
            wire.set_parameters(tensor, {"shared_memory_region": region, "shared_memory_byte_size": A.nbytes})
        answer = job.infer(message)
        assert answer == {"C": ([3, 16], b""), "D": expected()["D"]}
        assert shm.get_contents_as_numpy(regions["C"], np.int32, [3, 16]).tobytes() == A.tobytes()


def test_no_more_than_one_job_is_hurt(channel, server):
    """An event that is wrong is one call's failure."""
    job = Job(channel)
    job.start()
    with pytest.raises(grpc.RpcError) as e:
        job.infer(job.request(outputs=["E"]))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert job.infer(job.request()) == expected()


def test_index_names_what_can_be_served(server, channel):
    """Each model that is said to be ready can be asked for its configuration and its tensors."""
    stub = wire.service_pb2_grpc.GRPCInferenceServiceStub(channel)
    ready = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models
    assert ready
    for model in ready:
        assert stub.ModelReady(pb.ModelReadyRequest(name=model.name, version=model.version)).ready
        assert stub.ModelConfig(pb.ModelConfigRequest(name=model.name)).config.name == model.name
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name=model.name)).inputs


@pytest.mark.other_servers
@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mutual_tls"])
def test_tls(start, kind, tmp_path, mutual):
    keys = tls.make(tmp_path)
    running = start(flags=["--model-control-mode", "explicit", "--load-model", "*", *tls.grpc_flags(keys, mutual)])
    private = (keys.client_key.read_bytes(), keys.client_cert.read_bytes()) if mutual else (None, None)
    credentials = grpc.ssl_channel_credentials(keys.ca_cert.read_bytes(), *private)
    address = running.grpc.replace("127.0.0.1", "localhost")
    with grpc.secure_channel(address, credentials) as channel:
        stub = wire.service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = Request("plain", [Tensor("IN", "FP32", [1, 16], np.ones((1, 16), np.float32))])
        for compression in (None, grpc.Compression.Deflate):
            answer = stub.ModelInfer(request.proto(), timeout=wire.SECONDS, compression=compression)
            assert answer.raw_output_contents[0] == request.inputs[0].bytes()
    if mutual:
        stranger = grpc.ssl_channel_credentials(keys.ca_cert.read_bytes())
        with grpc.secure_channel(address, stranger) as channel:
            stub = wire.service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as e:
                stub.ServerLive(pb.ServerLiveRequest(), timeout=5)
            assert e.value.code() == grpc.StatusCode.UNAVAILABLE
