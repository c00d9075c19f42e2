"""A calorimeter's 16,000 rows of 47 through `hypersonic serve` over system shared memory, beside ONNX Runtime called directly."""

import contextlib
import csv
import os
import shutil
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import onnx

import networks
import package
import peers

ROWS, WIDTHS, SEED = 16_000, (47, 36, 11, 3, 1), 47
BITS = (16, 8)
# Clients at a time, of perf_analyzer.
CLIENTS = (1, 2, 4)
SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
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


def perf_analyzer():
    """Its path, once it is fetched."""
    subprocess.run([SCRIPTS / "fetch-perf-analyzer"], check=True, stdout=subprocess.DEVNULL)
    command = 'eval "$("$0")" && printf %s "$HYPERSONIC_PERF_ANALYZER"'
    return subprocess.run(["bash", "-c", command, SCRIPTS / "env"], check=True, capture_output=True, text=True).stdout


class PerfAnalyzer(peers.Contestant):
    """Clients in C++ that send their next request when they are answered; inputs and results are in shared memory."""

    def __init__(self, program, port, bits, clients, rows, elements, work):
        plural = "client" if clients == 1 else "clients"
        super().__init__(f"hypersonic serve, {bits} bits, perf_analyzer, {clients} {plural}", os.cpu_count(), rows)
        self.report = work / "perf_analyzer.csv"
        self.command = [program, "-m", model_name(bits), "-u", f"127.0.0.1:{port}", "-i", "grpc", "-b", len(rows)]
        self.command += ["--shared-memory", "system", "--output-shared-memory-size", len(rows) * elements * 4]
        # It measures three times at least, and takes what it has after as many.
        self.command += ["--concurrency-range", clients, "-r", 3, "-s", 100, "-f", self.report]

    def rate(self, batch, seconds):
        self.report.unlink(missing_ok=True)
        command = [*self.command, "--measurement-interval", round(1e3 * seconds)]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        if not self.report.exists():
            raise RuntimeError(f"perf_analyzer: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        with open(self.report) as found:
            return float(next(csv.DictReader(found))["Inferences/Second"])


class Served(peers.Contestant):
    """One client in Python; rows and results stay in shared memory, only their names travel."""

    exact = True

    def __init__(self, port, bits, rows, output, elements):
        import tritonclient.grpc as client
        import tritonclient.utils.shared_memory as memory

        super().__init__(f"hypersonic serve, {bits} bits, tritonclient", os.cpu_count(), rows)
        self.model = model_name(bits)
        self.memory, self.client = memory, client.InferenceServerClient(f"127.0.0.1:{port}")
        self.sizes = {"x": rows.nbytes, "y": len(rows) * elements * 4}
        self.regions = {}
        for name, size in self.sizes.items():
            region = f"{self.model}_{name}"
            self.regions[name] = memory.create_shared_memory_region(region, self.key(region), size)
        self.register()
        memory.set_shared_memory_region(self.regions["x"], [rows])
        self.input = client.InferInput("x", rows.shape, "FP32")
        self.input.set_shared_memory(f"{self.model}_x", self.sizes["x"])
        self.output = client.InferRequestedOutput(output)
        self.output.set_shared_memory(f"{self.model}_y", self.sizes["y"])

    @staticmethod
    def key(region):
        return f"/hypersonic_bench_{os.getpid()}_{region}"

    def register(self):
        for name, size in self.sizes.items():
            region = f"{self.model}_{name}"
            self.client.unregister_system_shared_memory(region)
            self.client.register_system_shared_memory(region, self.key(region), size)

    def rate(self, batch, seconds):
        # perf_analyzer unregisters the regions of all.
        self.register()
        return super().rate(batch, seconds)

    def call(self, x):
        self.client.infer(self.model, [self.input], outputs=[self.output])
        return self.memory.get_contents_as_numpy(self.regions["y"], np.float32, (len(self.rows), 1))

    def close(self):
        for name in self.regions:
            self.client.unregister_system_shared_memory(f"{self.model}_{name}")
        for region in self.regions.values():
            self.memory.destroy_shared_memory_region(region)


def model_name(bits):
    return f"net47_{bits}"


def measure(args, say):
    work = args.work / "served"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    network = networks.dense("net47", WIDTHS, SEED)
    rows = np.random.default_rng(1).normal(0, 1, (ROWS, WIDTHS[0])).astype(np.float32)
    onnx.save(network.onnx(), work / "net47.onnx")
    np.save(work / "calibration.npy", rows[:1000])
    versions = {}
    for bits in BITS:
        model = work / "repository" / model_name(bits)
        model.mkdir(parents=True)
        versions[bits] = model / "1"
        compiled = ["--precision", f"fixed<{bits},{bits // 2 - 2}>", "--calibrate", work / "calibration.npy"]
        peers.run_ours([args.hypersonic, "compile", work / "net47.onnx", "-o", versions[bits], *compiled])
        (model / "config.pbtxt").write_text(f'name: "{model.name}"\nmax_batch_size: {ROWS}\n')
    rows = package.input_type(versions[16]).on_grid(rows)
    np.save(work / "x.npy", rows)
    output = network.steps[-1].output
    with server(args.hypersonic, work / "repository", work / "server.log") as port, contextlib.ExitStack() as stack:
        contestants = []
        for bits in BITS:
            contestants.append(Served(port, bits, rows, output, WIDTHS[-1]))
            stack.callback(contestants[-1].close)
        in_python = contestants[:]
        program = perf_analyzer()
        for bits in BITS:
            more = [PerfAnalyzer(program, port, bits, clients, rows, WIDTHS[-1], work) for clients in CLIENTS]
            contestants += more
        floats, eight = network.onnx(), peers.quantised(network, rows[:1000], work)
        for threads in args.threads:
            contestants += [
                peers.OnnxRuntime(floats, "fp32", threads, rows),
                peers.OnnxRuntime(eight, "int8", threads, rows),
            ]
            for bits in BITS:
                contestants.append(peers.Hypersonic(args.hypersonic, versions[bits], work / "x.npy", threads, rows))
                contestants[-1].name = f"hypersonic bench, no server, {bits} bits"
        same = {}
        for bits, served in zip(BITS, in_python):
            files = ["--input", work / "x.npy", "--output", work / "y.npy"]
            peers.run_ours([args.hypersonic, "emulate", versions[bits], *files])
            same[served.name] = float((served.call(rows) == np.load(work / "y.npy")).mean())
        rates = [[] for _ in contestants]
        for i in range(args.rounds):
            say(f"served: round {i + 1} of {args.rounds}")
            for at in (*range(i % len(contestants), len(contestants)), *range(i % len(contestants))):
                rates[at].append(contestants[at].rate(ROWS, args.seconds))
        direct = [i for i, c in enumerate(contestants) if isinstance(c, peers.OnnxRuntime)]
        results = []
        for c, found in zip(contestants, rates):
            results.append({
                "contestant": c.name,
                "threads": c.threads,
                "rates": found,
                "inferences_per_s": statistics.median(found),
                "ms_per_request": 1e3 * ROWS / statistics.median(found),
                "times_as_fast": [statistics.median([a / b for a, b in zip(found, rates[i])]) for i in direct],
            })
    title = "-".join(map(str, WIDTHS))
    compared = [f"{contestants[i].name}, {contestants[i].threads}" for i in direct]
    return {
        "rows": ROWS,
        "row": WIDTHS[0],
        "title": title,
        "same_bits": same,
        "results": results,
        "compared": compared,
    }
