#!/usr/bin/env python3
"""Trains and writes the models of the zoo: the small ones here, the large ones to target/models.

    examples/models/build.py [NAME ...]
    examples/models/build.py --large --missing
    examples/models/build.py --golden target/release/hypersonic     # golden vectors of the small models, as they are

Needs numpy and onnx. The small models take a few minutes in all, the large ones half an hour, on one core.
"""

import argparse
import importlib
import subprocess
import tempfile
import zipfile
from pathlib import Path

from zoo.model import FOLDER, LARGE

SMALL_MODELS = ("facile", "facile_v2", "jets", "svhn", "resnet8", "ds_cnn", "deepmet", "deepclean")
LARGE_MODELS = ("autoencoder", "protodune", "deepcalo", "deeptau", "icecube", "resnet50")
# Rows of golden vectors: their codes have 64 bits.
GOLDEN_ROWS = {"facile": 100, "facile_v2": 50, "jets": 100, "svhn": 4, "resnet8": 4, "ds_cnn": 10, "deepmet": 1, "deepclean": 1}


def golden(hypersonic, name):
    """Golden vectors at 16 bits, compressed."""
    base = FOLDER / name
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "golden.npz"
        command = [hypersonic, "golden", "write", f"{base}.onnx", "-o", plain, "--input", f"{base}.x.npz"]
        command += ["--rows", GOLDEN_ROWS[name], "--precision", "fixed<16,6>", "--calibrate", f"{base}.calibration.npz"]
        subprocess.run([*map(str, command)], check=True)
        with zipfile.ZipFile(plain) as members, zipfile.ZipFile(f"{base}.golden.npz", "w", zipfile.ZIP_DEFLATED) as out:
            for member in members.infolist():
                info = zipfile.ZipInfo(member.filename)
                out.writestr(info, members.read(member), zipfile.ZIP_DEFLATED, 9)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="models; without any, all")
    parser.add_argument("--small", action="store_true", help="only those that are kept here")
    parser.add_argument("--large", action="store_true", help="only those that are written to target/models")
    parser.add_argument("--missing", action="store_true", help="only those whose files are not there")
    parser.add_argument("--golden", type=Path, metavar="HYPERSONIC", help="write golden vectors, and train nothing")
    args = parser.parse_args()
    every = SMALL_MODELS + LARGE_MODELS
    unknown = set(args.names) - set(every)
    if unknown:
        parser.error(f"no model {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    names = args.names or (SMALL_MODELS if args.small else LARGE_MODELS if args.large else every)
    for name in names:
        if args.golden:
            if name in SMALL_MODELS:
                golden(args.golden.resolve(), name)
            continue
        model = importlib.import_module(name).MODEL
        folder = LARGE if model.large else FOLDER
        if not (args.missing and (folder / f"{name}.float.npz").exists()):
            model.write(folder)


if __name__ == "__main__":
    main()
