#!/usr/bin/env python3
"""The emulator beside its peers: `cargo xtask bench emulator` runs this and makes a page of what it writes.

    scripts/emulator-peers                                    # once: the peers, in target/emulator-peers
    target/emulator-peers/bin/python benches/emulator --hypersonic target/release/hypersonic --out target/bench/emulator.json

Each case is a network, a precision and an arithmetic. All contestants get the same rows, on the grid of the input's type. Each
first looks for its best batch size; then all are measured in turn, round after round, so that what disturbs the machine
disturbs all of them, and ratios are taken within a round.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import traceback
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

import networks
import package
import peers
import served

ROOT = Path(__file__).resolve().parent.parent.parent
ZOO = ROOT / "examples" / "models"
BATCHES = (1, 8, 64, 512, 4096, 16384)
# Elements of the rows of a case, at most where that leaves as many rows as some batch; rows that are compared bit for bit.
ELEMENTS, ROWS, COMPARED = 1 << 22, 64, 2048
# Rounds that decide on a batch size are that much shorter.
SCOUT = 0.3

# Options of our compiler by precision; calibration comes on top under native arithmetic.
EIGHT, SIXTEEN = ["--precision", "fixed<8,4>"], ["--precision", "fixed<16,6>"]


class Case:
    def __init__(self, name, title, source, options, arithmetic="native", hls4ml="16,6", softmax=True, large=False):
        self.name, self.title, self.source, self.options = name, title, source, options
        self.arithmetic, self.hls4ml, self.softmax, self.large = arithmetic, hls4ml, softmax, large


def cases():
    jets, facile = "jets 16-64-32-32-5", "FACILE 18-31-11-3-1"
    net47 = networks.dense("net47", (47, 36, 11, 3, 1), 47)
    channels = [*EIGHT, "--per-channel"]
    return [
        Case("jets8", f"{jets}, 8 bits", "jets", EIGHT, hls4ml="8,4", softmax=False),
        Case("jets16", f"{jets}, 16 bits", "jets", SIXTEEN, softmax=False),
        Case("jets16_softmax", f"{jets}, 16 bits, with softmax", "jets", SIXTEEN),
        Case("jets16_hls4ml", f"{jets}, hls4ml's arithmetic", "jets", SIXTEEN, "hls4ml", softmax=False),
        Case("facile16", f"{facile}, 16 bits", "facile", SIXTEEN),
        Case("facile16_hls4ml", f"{facile}, hls4ml's arithmetic", "facile", SIXTEEN, "hls4ml"),
        Case("net47", "47-36-11-3-1, 16 bits", net47, SIXTEEN),
        Case("svhn8", "SVHN CNN, 8 bits", "svhn", channels, hls4ml="8,4"),
        Case("svhn16", "SVHN CNN, 16 bits", "svhn", SIXTEEN),
        Case("resnet8_8", "ResNet-8, 8 bits", "resnet8", channels, hls4ml="8,4"),
        Case("resnet8_16", "ResNet-8, 16 bits", "resnet8", SIXTEEN),
        Case("ds_cnn8", "DS-CNN, 8 bits", "ds_cnn", channels, hls4ml="8,4"),
        Case("ds_cnn16", "DS-CNN, 16 bits", "ds_cnn", SIXTEEN),
        Case("resnet50_8", "ResNet-50, 8 bits", "resnet50", channels, hls4ml=None, large=True),
    ]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def data(case, network, folder):
    """Test and calibration rows of a case."""
    if isinstance(case.source, networks.Network):
        rng = np.random.default_rng(1)
        return [rng.normal(0, 1, (n, *network.row)).astype(np.float32) for n in (16000, 1000)]
    with np.load(folder / f"{case.source}.x.npz") as x, np.load(folder / f"{case.source}.calibration.npz") as c:
        return [arrays[arrays.files[0]].astype(np.float32) for arrays in (x, c)]


def repeated(rows):
    """As many rows as the largest batch takes, and as memory allows."""
    count = min(BATCHES[-1], max(ROWS, ELEMENTS // rows[0].size))
    return np.ascontiguousarray(np.resize(rows, (count, *rows.shape[1:])))


class Race:
    """A case made ready."""

    def __init__(self, case, args, work):
        self.case, self.args, self.work, self.absent = case, args, work, []
        folder = args.folder if case.large else ZOO
        if isinstance(case.source, networks.Network):
            network = case.source
        else:
            path = folder / f"{case.source}.onnx"
            if not path.exists():
                raise networks.Unsupported(
                    f"{case.source}.onnx is not in --folder: examples/models/build.py --large writes it"
                )
            network = networks.read(path, case.source)
        self.network = network if case.softmax else network.without_softmax()
        rows, self.calibration = data(case, self.network, folder)
        self.package = self._compile()
        self.rows = package.input_type(self.package).on_grid(repeated(rows))
        self.input_file = work / f"{case.name}.x.npy"
        np.save(self.input_file, self.rows)
        self.macs = peers.run_ours([args.hypersonic, "inspect", self.package])["macs"]
        self.contestants = self._contestants()

    def _compile(self):
        case, work = self.case, self.work
        hls4ml = case.arithmetic == "hls4ml"
        model = self.network.onnx_for_hls4ml() if hls4ml else self.network.onnx()
        onnx.save(model, work / f"{case.name}.onnx")
        if hls4ml:
            # The same file configures hls4ml: the arithmetic is the same to the bit.
            config = work / f"{case.name}.json"
            config.write_text(json.dumps(peers.hls4ml_configuration(case.hls4ml)))
            options = ["--arithmetic", "hls4ml", "--hls4ml-config", config]
        else:
            calibration = work / f"{case.name}.calibration.npy"
            np.save(calibration, self.calibration)
            options = [*case.options, "--calibrate", calibration]
        out = work / f"{case.name}.package"
        peers.run_ours([self.args.hypersonic, "compile", work / f"{case.name}.onnx", "-o", out, "--force", *options])
        return out

    def _contestants(self):
        case, args, work, rows, network = self.case, self.args, self.work, self.rows, self.network
        native = case.arithmetic == "native"
        floats = network.onnx()
        eight = []

        def int8():
            if not eight:
                eight.append(peers.quantised(network, self.calibration, work))
            return eight[0]

        def hls4ml():
            if not case.hls4ml:
                raise networks.Unsupported("not asked for a network of this size")
            return peers.Hls4ml(network, case.hls4ml, work, rows, exact=not native)

        makers = []
        for threads in args.threads:
            makers += [
                ("hypersonic", threads, lambda n: peers.Hypersonic(args.hypersonic, self.package, self.input_file, n, rows)),
                ("onnxruntime fp32", threads, lambda n: peers.OnnxRuntime(floats, "fp32", n, rows)),
                ("onnxruntime int8", threads, lambda n: peers.OnnxRuntime(int8(), "int8", n, rows)),
                ("numpy fp32", threads, lambda n: peers.NumPy(network, n, rows)),
                ("alkaid", threads, lambda n: peers.Alkaid(self.package, work, n, rows)),
            ]
        makers.append(("hls4ml", 1, lambda _: hls4ml()))
        made = []
        for name, threads, make in makers:
            if args.contestants and name.split()[0] not in args.contestants:
                continue
            try:
                made.append(make(threads))
            except networks.Unsupported as e:
                self._leave_out(name, str(e))
            except Exception as e:  # a peer that fails in a way of its own is left out, with its words
                if name == "hypersonic":
                    raise
                traceback.print_exc(file=sys.stderr)
                lines = str(e).strip().splitlines()
                self._leave_out(name, f"{type(e).__name__}: {lines[0] if lines else ''}")
        return made

    def _leave_out(self, name, why):
        if not any(a["contestant"] == name for a in self.absent):
            say(f"{self.case.name}: without {name}: {why}")
            self.absent.append({"contestant": name, "why": why})

    def bits(self):
        """Of the contestants that compute our bits: the share of equal values."""
        rows = self.rows[:COMPARED]
        source, target = self.work / "compared.npy", self.work / "compared.y.npy"
        np.save(source, rows)
        peers.run_ours([self.args.hypersonic, "emulate", self.package, "--input", source, "--output", target])
        ours = np.load(target).reshape(len(rows), -1)
        same = {}
        for c in self.contestants:
            if c.exact and c.name not in ("hypersonic", *same):
                theirs = np.asarray(c.call(c.rows[: len(rows)])).reshape(ours.shape)
                same[c.name] = float((theirs == ours).mean())
        return same

    def _best_batch(self, contestant, sizes):
        best, most = sizes[0], 0.0
        for batch in sizes:
            rate = contestant.rate(batch, self.args.seconds * SCOUT)
            if rate <= most and batch / rate > self.args.seconds:
                break  # a call is longer than a round, and larger batches have stopped to pay
            if rate > most:
                best, most = batch, rate
        return best

    def run(self):
        args, sizes = self.args, [b for b in BATCHES if b <= len(self.rows)]
        best, lost = {}, []
        for c in self.contestants:
            say(f"{self.case.name}: {c.name}, {c.threads} threads: which batch")
            try:
                best[id(c)] = self._best_batch(c, sizes)
            except Exception as e:
                if c.name == "hypersonic":
                    raise
                lines = str(e).strip().splitlines()
                self._leave_out(c.name, f"{type(e).__name__}: {lines[0] if lines else ''}")
                lost.append(c)
        self.contestants = [c for c in self.contestants if c not in lost]
        rates = {id(c): [] for c in self.contestants}
        for i in range(args.rounds):
            say(f"{self.case.name}: round {i + 1} of {args.rounds}")
            order = self.contestants[i % len(self.contestants) :] + self.contestants[: i % len(self.contestants)]
            for c in order:
                rates[id(c)].append(c.rate(best[id(c)], args.seconds))
        ours = {c.threads: rates[id(c)] for c in self.contestants if c.name == "hypersonic"}
        results = []
        for c in self.contestants:
            found, own = rates[id(c)], ours.get(c.threads, [])
            results.append({
                "contestant": c.name,
                "threads": c.threads,
                "batch": best[id(c)],
                "rates": found,
                "inferences_per_s": statistics.median(found),
                "gmac_per_s": statistics.median(found) * self.macs * 1e-9,
                "times_slower": statistics.median([a / b for a, b in zip(own, found)]) if own else None,
                "latency_us": c.latency(args.seconds) if c.threads == 1 else None,
                "peak_rss_bytes": getattr(c, "peak_rss_bytes", None),
            })
        return {
            "case": self.case.name,
            "title": self.case.title,
            "arithmetic": self.case.arithmetic,
            "macs": self.macs,
            "rows": len(self.rows),
            "same_bits": self.bits(),
            "results": results,
            "absent": self.absent,
        }


def versions():
    names = ("hls4ml", "alkaid", "onnxruntime", "numpy", "onnx", "qonnx", "tritonclient")
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hypersonic", type=Path, required=True, help="the program that is measured")
    parser.add_argument("--out", type=Path, required=True, help="JSON of what was measured")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "bench" / "emulator", help="networks, packages, libraries")
    parser.add_argument("--folder", type=Path, default=ROOT / "target" / "models", help="large models of the zoo")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of a contestant in a round")
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[1, os.cpu_count()])
    parser.add_argument("--only", type=lambda t: t.split(","), help="cases")
    parser.add_argument("--contestants", type=lambda t: t.split(","), help="hypersonic, onnxruntime, numpy, alkaid, hls4ml")
    parser.add_argument("--served", action="store_true", help="the served case alone")
    return parser.parse_args()


def main():
    args = parsed()
    logging.disable(logging.WARNING)  # quantisation advises preparing models that are prepared
    args.hypersonic, args.work = args.hypersonic.resolve(), args.work.resolve()
    args.threads = sorted(set(args.threads))
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"versions": versions(), "rounds": args.rounds, "seconds": args.seconds, "cases": [], "skipped": []}
    if args.served:
        report["served"] = served.measure(args, say)
        args.out.write_text(json.dumps(report, indent=1))
        return
    known = cases()
    unknown = set(args.only or ()) - {c.name for c in known}
    if unknown:
        sys.exit(f"--only {','.join(sorted(unknown))}: the cases are {', '.join(c.name for c in known)}")
    for case in known:
        if args.only and case.name not in args.only:
            continue
        say(case.title)
        try:
            report["cases"].append(Race(case, args, args.work).run())
        except (networks.Unsupported, RuntimeError) as e:
            say(f"{case.name}: skipped: {e}")
            report["skipped"].append({"case": case.name, "title": case.title, "why": str(e)})
        # What is measured is kept, whatever comes next.
        args.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # hls4ml tells of its work there
        main()
