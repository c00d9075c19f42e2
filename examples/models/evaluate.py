#!/usr/bin/env python3
"""Compiles the models of a folder at 16 and at 8 bits, emulates them on their test rows, and compares with float.

    examples/models/evaluate.py --hypersonic target/release/hypersonic [NAME ...]

Prints a line for each model and precision and keeps what was measured in results.json; `--page docs/zoo.md` writes the page of
the zoo from it. Exits with 1 where a model misses its bounds. Needs numpy.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
LARGE = ROOT / "target" / "models"
PRECISIONS = {"16": ["--precision", "fixed<16,6>"], "8": ["--precision", "fixed<8,4>", "--per-channel"]}
# Agreement of classes with float, at least; RMS error relative to the RMS of float's output, at most.
SAME_CLASS = {"16": 0.99, "8": 0.97}
RMS = {"16": 0.01, "8": 0.05}
# The card and the reuse factors that are tried on it, of models that compile in less than so many seconds.
CARD, REUSE, QUICK = "U55C", (1, 4, 16, 64, 256, 1024, 4096), 20


class Failed(Exception):
    pass


def run(command):
    """What a command of ours prints as JSON, its seconds and its peak memory in KiB."""
    start = time.monotonic()
    child = subprocess.Popen([*map(str, command), "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    answer = json.loads(out) if out else {}
    if child.returncode:
        messages = [d["message"] for d in answer.get("error", {}).get("diagnostics", [])]
        raise Failed("; ".join(messages) or f"exit code {child.returncode}")
    return answer, time.monotonic() - start, usage.ru_maxrss


def arrays(file):
    with np.load(file) as members:
        return {name: members[name] for name in members.files}


def speed(hypersonic, package, inputs, first, scratch):
    """Rows a second of the emulator; `first` is what it said of the test rows, repeated where that was too short."""
    if first["seconds"] < 0.2:
        elements = sum(v.size for v in inputs.values())
        times = min(1 + int(0.5 / first["seconds"]), 1 + 20_000_000 // elements)
        many = scratch / "many.npz"
        np.savez(many, **{k: np.concatenate([v] * times) for k, v in inputs.items()})
        first, _, _ = run([hypersonic, "emulate", package, "--input", many, "--output", scratch / "many.y.npz"])
    return first["rows"] / first["seconds"]


def reuse_that_fits(hypersonic, model, options, package):
    """The least of some reuse factors with which the design fits a U55C, and its rows a second there, as estimated."""
    for reuse in REUSE:
        layout = ["--io", "stream", "--strategy", "resource", "--reuse", reuse]
        try:
            run([hypersonic, "compile", model, "-o", package, "--force", *options, *layout])
        except Failed:
            continue
        estimate = run([hypersonic, "inspect", package])[0]["estimate"]
        if any(fit["card"] == CARD and fit["compute_units"] for fit in estimate["fits"]):
            return {"reuse": reuse, "rows_per_second": estimate["rows_per_second"]}
    return None


def spread_error(y, target):
    """RMS error relative to the spread of the target."""
    mean = target.mean(axis=(0, *range(2, target.ndim)), keepdims=True)
    return float(np.sqrt(((y - target) ** 2).mean() / ((target - mean) ** 2).mean()))


def compare(results, floats, targets):
    """Each output's figures: accuracy or error against the target, of float and of ours, and how well both agree."""
    figures = {}
    for name, f in floats.items():
        y, target = results[name].reshape(f.shape), targets[name]
        if np.issubdtype(target.dtype, np.integer):
            classes = [v.argmax(axis=1) if v.shape[1] > 1 else v[:, 0] > 0.5 for v in (f, y)]
            accuracy = [float((c == target).mean()) for c in classes]
            same = float((classes[0] == classes[1]).mean())
            figures[name] = {"kind": "classes", "float": accuracy[0], "fixed": accuracy[1], "same": same}
        else:
            rms = float(np.sqrt(((y - f) ** 2).mean()) / np.sqrt((f**2).mean()))
            errors = spread_error(f, target), spread_error(y, target)
            figures[name] = {"kind": "regression", "float": errors[0], "fixed": errors[1], "rms": rms}
    return figures


def targets_of(base, outputs):
    """The targets of all outputs: NAME.y.npy of the first, NAME.OUTPUT.y.npy of the others."""
    files = [f"{base}.y.npy", *(f"{base}.{name}.y.npy" for name in list(outputs)[1:])]
    return {name: np.load(file) for name, file in zip(outputs, files)}


def evaluate(hypersonic, folder, name, precision, scratch):
    base = folder / name
    package, output = scratch / f"{name}_{precision}", scratch / f"{name}_{precision}.y.npz"
    options = [*PRECISIONS[precision], "--calibrate", f"{base}.calibration.npz"]
    _, seconds, peak = run([hypersonic, "compile", f"{base}.onnx", "-o", package, "--force", *options])
    emulated, _, _ = run([hypersonic, "emulate", package, "--input", f"{base}.x.npz", "--output", output])
    inspected, _, _ = run([hypersonic, "inspect", package])
    floats = arrays(f"{base}.float.npz")
    figures = compare(arrays(output), floats, targets_of(base, floats))
    fitting = None
    if precision == "16" and seconds < QUICK:
        fitting = reuse_that_fits(hypersonic, f"{base}.onnx", options, scratch / f"{name}_reuse")
    return {
        "compile_seconds": round(seconds, 1),
        "compile_mib": peak // 1024,
        "rows_per_second": speed(hypersonic, package, arrays(f"{base}.x.npz"), emulated, scratch),
        "rows": emulated["rows"],
        "macs": inspected["macs"],
        "parameters": inspected["parameters"],
        "fits": fitting,
        "outputs": figures,
    }


def misses(result, precision):
    """What of a result is outside its bounds, in words."""
    found = []
    for name, f in result["outputs"].items():
        if f["kind"] == "classes" and f["same"] < SAME_CLASS[precision]:
            found.append(f"{name}: {f['same']:.2%} in the same class as float, below {SAME_CLASS[precision]:.0%}")
        if f["kind"] == "regression" and f["rms"] > RMS[precision]:
            found.append(f"{name}: RMS error {f['rms']:.2%} of float's RMS, above {RMS[precision]:.0%}")
    return found


def told(f):
    if f["kind"] == "classes":
        return f"accuracy {f['float']:.1%} in float, {f['fixed']:.1%}; same class {f['same']:.1%}"
    return f"error {f['float']:.2%} in float, {f['fixed']:.2%}; RMS from float {f['rms']:.3%}"


PAGE = """# The zoo

Models of the field, built by the seeded scripts in [`examples/models`](../examples/models), briefly trained on data that they
make up themselves. The figures say how well fixed point follows float on them, not how good the models are at physics.

`make zoo` measures them again and writes this page from `examples/models/results.json`: every model compiled with
`--calibrate` at 16 bits (`--precision 'fixed<16,6>'`) and at 8 bits (`--precision 'fixed<8,4>' --per-channel`), emulated on
test rows that calibration did not see.

## Accuracy

Of classifiers, the share of rows whose class is right, and (in brackets) that is float's. Of regressions, the RMS error in
units of the target's spread, and (in brackets) the RMS difference from float in units of float's RMS.

| model | output | float | 16 bits | 8 bits |
| --- | --- | --- | --- | --- |
{accuracy}

The bounds are: the class of float in 99 % of rows at 16 bits and in 97 % at 8 bits; regressions within 1 % and 5 % of float.
{missed}

## Size and speed

Rows a second are those of the emulator on {cores} cores of a shared machine, at 16 bits. Time and memory are those of
`hypersonic compile`, with calibration.

| model | parameters | MACs | rows/s | compile time | memory | reuse on a {card} | rows/s there |
| --- | --- | --- | --- | --- | --- | --- | --- |
{size}

The reuse is the least of {reuse} with which one compute unit fits a {card} (`--io stream --strategy resource --reuse`), by our
estimate, which no synthesis has confirmed: [platforms.md](platforms.md). `-`: none of them, or not tried.
"""


def cell(f):
    if f["kind"] == "classes":
        return f"{f['float']:.1%}", f"{f['fixed']:.1%} ({f['same']:.1%})"
    return f"{f['float']:.1%}", f"{f['fixed']:.1%} ({f['rms']:.2%})"


def page(kept):
    """The page of the zoo."""
    accuracy, size, missed = [], [], []
    for name, results in sorted(kept.items(), key=lambda item: item[1]["16"]["parameters"]):
        r = results["16"]
        for output, figures in r["outputs"].items():
            float_, sixteen = cell(figures)
            eight = cell(results["8"]["outputs"][output])[1] if "8" in results else "-"
            accuracy.append(f"| {name} | {output} | {float_} | {sixteen} | {eight} |")
        for precision, result in results.items():
            missed += [f"* {name}, {precision} bits: {miss}" for miss in misses(result, precision)]
        fits = f"{r['fits']['reuse']} | {r['fits']['rows_per_second']:,.3g}" if r["fits"] else "- | -"
        size.append(
            f"| {name} | {r['parameters']:,} | {r['macs']:,} | {r['rows_per_second']:,.3g} | {r['compile_seconds']} s | "
            f"{r['compile_mib']} MiB | {fits} |".replace("e+0", "e")
        )
    listed = "Outside them:\n\n" + "\n".join(missed) if missed else "All models keep them."
    return PAGE.format(
        accuracy="\n".join(accuracy), size="\n".join(size), missed=listed, cores=os.cpu_count(),
        card=CARD, reuse=", ".join(map(str, REUSE)),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="models; without any, all in the folders")
    parser.add_argument("--hypersonic", required=True, type=Path)
    parser.add_argument("--folder", type=Path, action="append", help="where models are (here and target/models)")
    parser.add_argument("--bits", choices=list(PRECISIONS), action="append")
    parser.add_argument("--results", type=Path, default=FOLDER / "results.json")
    parser.add_argument("--page", type=Path, help="write the page of the zoo from the results")
    args = parser.parse_args()
    files = {p.stem: p for folder in args.folder or [FOLDER, LARGE] for p in sorted(folder.glob("*.onnx"))}
    unknown = set(args.names) - set(files)
    if unknown:
        parser.error(f"no model {', '.join(sorted(unknown))}; there are {', '.join(files)}")
    kept = json.loads(args.results.read_text()) if args.results.exists() else {}
    missed = False
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.names or files:
            for precision in args.bits or PRECISIONS:
                try:
                    folder = files[name].parent
                    result = evaluate(args.hypersonic.resolve(), folder, name, precision, Path(scratch))
                except Failed as why:
                    print(f"{name} {precision} bits: FAILED: {why}", flush=True)
                    missed = True
                    continue
                kept.setdefault(name, {})[precision] = result
                print(
                    f"{name} {precision} bits: compiled in {result['compile_seconds']} s, {result['compile_mib']} MiB; "
                    f"{result['rows_per_second']:,.0f} rows/s",
                    flush=True,
                )
                for output, figures in result["outputs"].items():
                    print(f"  {output}: {told(figures)}")
                for miss in misses(result, precision):
                    print(f"  MISSED {miss}", flush=True)
                    missed = True
    args.results.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    if args.page:
        args.page.write_text(page(kept))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
