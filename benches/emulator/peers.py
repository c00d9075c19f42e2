"""Who runs a network: our emulator, and its peers.

A contestant measures itself: `rate` gives inferences a second at a batch size, `latency` the microseconds of single rows. One
that cannot take part raises `Unsupported` when it is made, with the reason that the report prints.
"""

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import time

import numpy as np
import onnx

import package
from networks import Unsupported

# Seconds that g++ has for hls4ml's C++.
COMPILE_SECONDS = 600
# Weights beyond which alkaid, which turns each into shifts and sums of its own, is not asked.
ALKAID_WEIGHTS = 10_000
# Rows by which ONNX Runtime chooses its 8-bit scales.
CALIBRATION_ROWS = 256


def run_ours(command):
    """What a command of ours prints as JSON."""
    done = subprocess.run([*map(str, command), "--json"], capture_output=True, text=True)
    answer = json.loads(done.stdout) if done.stdout else {}
    if done.returncode:
        messages = [d["message"] for d in answer.get("error", {}).get("diagnostics", [])]
        raise RuntimeError(f"{command[1]}: " + ("; ".join(messages) or done.stderr.strip()))
    return answer


class Contestant:
    """One that is called in this process: `call(rows)` computes them."""

    exact = False  # whether it computes our bits, in the package's arithmetic

    def __init__(self, name, threads, rows):
        self.name, self.threads, self.rows = name, threads, rows

    def call(self, x):
        raise NotImplementedError

    def batch_of(self, batch, i):
        begin = i * batch % (len(self.rows) - batch + 1)
        return self.rows[begin : begin + batch]

    def rate(self, batch, seconds):
        self.call(self.batch_of(batch, 0))
        calls, begin = 0, time.perf_counter()
        while (passed := time.perf_counter() - begin) < seconds:
            self.call(self.batch_of(batch, calls))
            calls += 1
        return calls * batch / passed

    def latency(self, seconds):
        self.call(self.batch_of(1, 0))
        times, end = [], time.perf_counter() + seconds
        while not times or times[-1][1] < end:
            x, begin = self.batch_of(1, len(times)), time.perf_counter()
            self.call(x)
            times.append((begin, time.perf_counter()))
        micros = np.array([b - a for a, b in times]) * 1e6
        return {"p50": float(np.quantile(micros, 0.5)), "p99": float(np.quantile(micros, 0.99))}


class Hypersonic(Contestant):
    """`hypersonic bench`, a process each time; what starts it is not measured."""

    exact = True

    def __init__(self, program, folder, input_file, threads, rows):
        super().__init__("hypersonic", threads, rows)
        self.command = [program, "bench", folder, "--input", input_file, "--threads", threads]
        self.peak_rss_bytes = None

    def _level(self, batch, seconds):
        times = ["--seconds", f"{seconds:.3f}", "--warmup", f"{seconds / 4:.3f}"]
        report = run_ours([*self.command, "--batch", batch, *times])
        self.peak_rss_bytes = max(self.peak_rss_bytes or 0, report["peak_rss_bytes"] or 0) or None
        return report["levels"][0]

    def rate(self, batch, seconds):
        return self._level(batch, seconds)["inferences_per_s"]

    def latency(self, seconds):
        found = self._level(1, seconds)["latency_us"]
        return {"p50": found["p50"], "p99": found["p99"]}


class OnnxRuntime(Contestant):
    def __init__(self, model, kind, threads, rows):
        import onnxruntime

        super().__init__(f"onnxruntime {kind}", threads, rows)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def call(self, x):
        return self.session.run(None, {"x": x})[0]


def quantised(network, calibration, work):
    """The network in 8 bits by ONNX Runtime's static quantisation: QDQ, unsigned activations, signed weights a channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Rows(CalibrationDataReader):
        def __init__(self):
            self.rows = iter([{"x": calibration[i : i + 1]} for i in range(min(len(calibration), CALIBRATION_ROWS))])

        def get_next(self):
            return next(self.rows, None)

    source, target = work / f"{network.name}.float.onnx", work / f"{network.name}.int8.onnx"
    onnx.save(network.onnx(), source)
    quantize_static(
        str(source),
        str(target),
        Rows(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return onnx.load(target)


class NumPy(Contestant):
    def __init__(self, network, threads, rows):
        from threadpoolctl import threadpool_limits

        super().__init__("numpy fp32", threads, rows)
        self.network, self.limits = network, threadpool_limits

    def rate(self, batch, seconds):
        with self.limits(self.threads):
            return super().rate(batch, seconds)

    def latency(self, seconds):
        with self.limits(self.threads):
            return super().latency(seconds)

    def call(self, x):
        return self.network.run(x)


def hls4ml_configuration(precision):
    """One type for all, so that our compiler and hls4ml's front-end read the same arithmetic from it."""
    return {"Model": {"Precision": f"ap_fixed<{precision}>", "ReuseFactor": 1}}


class Hls4ml(Contestant):
    """`predict` of hls4ml's C++, compiled by its own script with -O3."""

    def __init__(self, network, precision, work, rows, exact):
        import hls4ml

        super().__init__("hls4ml", 1, rows)
        self.exact = exact
        model, io = _for_hls4ml(network)
        key = hashlib.sha256(model.SerializeToString() + f"{precision} {io}".encode()).hexdigest()[:16]
        folder = work / f"hls4ml-{key}"
        self.model = hls4ml.converters.convert_from_onnx_model(
            model, hls_config=hls4ml_configuration(precision), output_dir=str(folder), backend="Vitis", io_type=io
        )
        failure = folder / "failure"
        if failure.exists():
            raise Unsupported(failure.read_text())
        built = list(folder.glob("firmware/*.so"))
        if not built:
            self.model.write()
            try:
                self._build(folder)
            except Unsupported as e:
                failure.write_text(str(e))
                raise
            built = list(folder.glob("firmware/*.so"))
        # What its `compile` does after the build, which has no bound there.
        self.model._top_function_lib = ctypes.cdll.LoadLibrary(str(built[0]))
        if rows.ndim == 4:
            self.rows = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))

    @staticmethod
    def _build(folder):
        build = subprocess.Popen(
            ["bash", "build_lib.sh"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = build.communicate(timeout=COMPILE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(build.pid, signal.SIGKILL)
            build.wait()
            raise Unsupported(f"g++ had not compiled hls4ml's C++ after {COMPILE_SECONDS} s") from None
        if build.returncode:
            errors = [line for line in output.splitlines() if "error" in line.lower()] or output.splitlines()[-1:]
            raise Unsupported(f"hls4ml's C++ does not compile: {errors[0] if errors else build.returncode}")

    def call(self, x):
        return self.model.predict(x)


def _for_hls4ml(network):
    """The model in the form that hls4ml's ONNX front-end takes, and how its tensors travel."""
    # Up to the logits: that much less work is asked of it.
    network = network.without_softmax()
    if network.is_dense:
        return network.onnx_for_hls4ml(), "io_parallel"
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.transformation.gemm_to_matmul import GemmToMatMul
    from qonnx.util.cleanup import cleanup_model

    model = network.onnx()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]
    wrapped = cleanup_model(ModelWrapper(onnx.shape_inference.infer_shapes(model)))
    wrapped = wrapped.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
    wrapped = cleanup_model(wrapped.transform(GemmToMatMul()))
    return wrapped.model, "io_stream"


class Alkaid(Contestant):
    """alkaid's interpreter in C++, called with bytecode that is made once; it traces our package's types and codes."""

    exact = True

    def __init__(self, folder, work, threads, rows):
        from alkaid._binary.alir_bin import run_interp

        super().__init__("alkaid", threads, rows.astype(np.float64))
        self.interpreter = run_interp
        layers, fingerprint = package.dense_layers(folder)
        if sum(layer.weight.size for layer in layers) > ALKAID_WEIGHTS:
            raise Unsupported(f"traces every product by itself: not asked beyond {ALKAID_WEIGHTS} weights")
        cache = work / f"alkaid-{fingerprint[:16]}.alir"
        if not cache.exists():
            cache.write_bytes(_trace(layers, rows.shape[1], package.input_type(folder)))
        self.bytecode = cache.read_bytes()

    def call(self, x):
        return self.interpreter(self.bytecode, x, self.threads)


def _trace(layers, inputs, input_type):
    from alkaid.trace import FVArrayInput, trace
    from alkaid.trace.ops import quantize

    first = FVArrayInput((inputs,))
    # Its inputs wrap and truncate; the rows are on the input's grid already.
    x = quantize(first, *input_type.kif)
    for layer in layers:
        x = x @ layer.weight.T + layer.bias
        if layer.relu:
            x = np.maximum(x, 0)
        x = quantize(x, *layer.type.kif, layer.type.overflow, layer.type.rounding)
    return trace(first, x).to_bytecode()
