"""A calorimeter's 16,000 rows of 47 through `hypersonic serve` over system shared memory, beside ONNX Runtime called directly."""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import onnx

import networks
import package
import peers

ROWS, WIDTHS, SEED = 16_000, (47, 36, 11, 3, 1), 47
# How long the server may take to come up, seconds.
PATIENCE = 60


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextlib.contextmanager
def server(program, repository, log):
    """A server of the repository: its port for gRPC."""
    http, grpc, metrics = free_ports(3)
    command = [program, "serve", f"--model-repository={repository}", "--allow-client-shm=true"]
    for service, port in (("http", http), ("grpc", grpc), ("metrics", metrics)):
        command += [f"--{service}-port={port}", f"--{service}-address=127.0.0.1"]
    with open(log, "w") as out:
        child = subprocess.Popen([*map(str, command)], stdout=out, stderr=out)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(urllib.error.URLError, OSError):
                if urllib.request.urlopen(f"http://127.0.0.1:{http}/v2/health/ready", timeout=5).status == 200:
                    break
            if child.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield grpc
    finally:
        child.terminate()
        child.wait()


class Served(peers.Contestant):
    """One client; rows and results stay in shared memory, only their names travel."""

    exact = True

    def __init__(self, port, rows, output, elements):
        import tritonclient.grpc as client
        import tritonclient.utils.shared_memory as memory

        super().__init__("hypersonic serve, gRPC", os.cpu_count(), rows)
        self.memory, self.client = memory, client.InferenceServerClient(f"127.0.0.1:{port}")
        self.sizes = {"x": rows.nbytes, "y": len(rows) * elements * 4}
        self.regions = {}
        for name, size in self.sizes.items():
            key = f"/hypersonic_bench_{os.getpid()}_{name}"
            self.regions[name] = memory.create_shared_memory_region(name, key, size)
            self.client.register_system_shared_memory(name, key, size)
        memory.set_shared_memory_region(self.regions["x"], [rows])
        self.input = client.InferInput("x", rows.shape, "FP32")
        self.input.set_shared_memory("x", self.sizes["x"])
        self.output = client.InferRequestedOutput(output)
        self.output.set_shared_memory("y", self.sizes["y"])

    def call(self, x):
        self.client.infer("net47", [self.input], outputs=[self.output])
        return self.memory.get_contents_as_numpy(self.regions["y"], np.float32, (len(self.rows), 1))

    def close(self):
        self.client.unregister_system_shared_memory()
        for region in self.regions.values():
            self.memory.destroy_shared_memory_region(region)


def measure(args, say):
    work = args.work / "served"
    shutil.rmtree(work, ignore_errors=True)
    model = work / "repository" / "net47"
    model.mkdir(parents=True)
    network = networks.dense("net47", WIDTHS, SEED)
    rows = np.random.default_rng(1).normal(0, 1, (ROWS, WIDTHS[0])).astype(np.float32)
    onnx.save(network.onnx(), work / "net47.onnx")
    np.save(work / "calibration.npy", rows[:1000])
    compiled = ["--precision", "fixed<16,6>", "--calibrate", work / "calibration.npy"]
    peers.run_ours([args.hypersonic, "compile", work / "net47.onnx", "-o", model / "1", *compiled])
    (model / "config.pbtxt").write_text(f'name: "net47"\nmax_batch_size: {ROWS}\n')
    rows = package.input_type(model / "1").on_grid(rows)
    np.save(work / "x.npy", rows)
    output = network.steps[-1].output
    with server(args.hypersonic, work / "repository", work / "server.log") as port, contextlib.ExitStack() as stack:
        served = Served(port, rows, output, WIDTHS[-1])
        stack.callback(served.close)
        contestants = [served]
        floats, eight = network.onnx(), peers.quantised(network, rows[:1000], work)
        for threads in args.threads:
            contestants += [
                peers.OnnxRuntime(floats, "fp32", threads, rows),
                peers.OnnxRuntime(eight, "int8", threads, rows),
                peers.Hypersonic(args.hypersonic, model / "1", work / "x.npy", threads, rows),
            ]
        peers.run_ours([args.hypersonic, "emulate", model / "1", "--input", work / "x.npy", "--output", work / "y.npy"])
        ours = np.load(work / "y.npy")
        same = {served.name: float((served.call(rows) == ours).mean())}
        rates = [[] for _ in contestants]
        for i in range(args.rounds):
            say(f"served: round {i + 1} of {args.rounds}")
            for at in (*range(i % len(contestants), len(contestants)), *range(i % len(contestants))):
                rates[at].append(contestants[at].rate(ROWS, args.seconds))
        own, results = rates[0], []
        for c, found in zip(contestants, rates):
            results.append({
                "contestant": c.name,
                "threads": c.threads,
                "rates": found,
                "inferences_per_s": statistics.median(found),
                "ms_per_request": 1e3 * ROWS / statistics.median(found),
                "times_slower": statistics.median([a / b for a, b in zip(own, found)]),
            })
    return {"rows": ROWS, "row": WIDTHS[0], "title": "-".join(map(str, WIDTHS)), "same_bits": same, "results": results}
