"""The model repository that the conformance tests drive.

Every model copies input i to output i. The repository is written in one of two dialects that differ in the
backend alone: `identity` for Hypersonic, `python` with a model.py of a few lines for Triton.
"""

import argparse
import pathlib
from dataclasses import dataclass, field

BACKENDS = {"hypersonic": "identity", "triton": "python"}

# KServe's names of datatypes and the config's.
DATATYPES = {
    "BOOL": "TYPE_BOOL", "UINT8": "TYPE_UINT8", "UINT16": "TYPE_UINT16", "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64", "INT8": "TYPE_INT8", "INT16": "TYPE_INT16", "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64", "FP16": "TYPE_FP16", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64",
    "BYTES": "TYPE_STRING", "BF16": "TYPE_BF16",
}  # fmt: skip

LABELS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

MODEL_PY = '''\
import json
import time

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self.pairs = [(i["name"], o["name"]) for i, o in zip(config["input"], config["output"])]
        self.types = [o["data_type"] for o in config["output"]]
        delay = config["parameters"].get("execute_delay_ms", {"string_value": "0"})
        self.delay = int(delay["string_value"]) / 1000

    def execute(self, requests):
        time.sleep(self.delay)
        return [pb_utils.InferenceResponse(list(self.copies(request))) for request in requests]

    def copies(self, request):
        wanted = request.requested_output_names()
        for (source, target), datatype in zip(self.pairs, self.types):
            if target not in wanted:
                continue
            tensor = pb_utils.get_input_tensor_by_name(request, source)
            if datatype == "TYPE_STRING":
                yield pb_utils.Tensor(target, tensor.as_numpy())
            else:
                yield pb_utils.Tensor.from_dlpack(target, tensor.to_dlpack())
'''


@dataclass(frozen=True)
class Model:
    """A model of the repository: `dims` are without the batch, `extra` is more text for config.pbtxt."""

    name: str
    datatype: str = "FP32"
    dims: tuple = (16,)
    max_batch_size: int = 8
    inputs: tuple = ("IN",)
    outputs: tuple = ("OUT",)
    versions: tuple = (1,)
    labels: bool = False
    backend: str | None = None
    parameters: dict = field(default_factory=dict)
    extra: str = ""

    def config(self, dialect: str) -> str:
        def tensor(kind: str, name: str) -> str:
            labels = ' label_filename: "labels.txt"' if self.labels and kind == "output" else ""
            return (
                f'{kind} [ {{ name: "{name}" data_type: {DATATYPES[self.datatype]} '
                f"dims: {list(self.dims)}{labels} }} ]"
            )

        return "\n".join([
            f'name: "{self.name}"',
            f'backend: "{self.backend or BACKENDS[dialect]}"',
            f"max_batch_size: {self.max_batch_size}",
            *(tensor("input", name) for name in self.inputs),
            *(tensor("output", name) for name in self.outputs),
            *(
                f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
                for key, value in self.parameters.items()
            ),
            self.extra,
        ])  # fmt: skip

    def write(self, repository: pathlib.Path, dialect: str) -> None:
        folder = repository / self.name
        for version in self.versions:
            (folder / str(version)).mkdir(parents=True, exist_ok=True)
            if dialect == "triton":
                (folder / str(version) / "model.py").write_text(MODEL_PY)
        if self.labels:
            (folder / "labels.txt").write_text("\n".join(LABELS))
        # Last: a server that polls finds the model whole.
        (folder / "config.pbtxt").write_text(self.config(dialect))


# Two inputs of fixed shape: the model of most error cases.
PAIR = Model("pair", datatype="INT32", inputs=("A", "B"), outputs=("C", "D"))
# One input of fixed shape.
PLAIN = Model("plain")
# One input of any length, no batch dimension.
ANY = Model("any", dims=(-1,), max_batch_size=0)
# A model per datatype, of any length.
TYPED = {name: Model(f"typed_{name.lower()}", datatype=name, dims=(-1,), max_batch_size=4) for name in DATATYPES}
LABELLED = Model("labelled", dims=(10,), labels=True)
# As wide and as long as a calorimeter's batches.
LARGE = Model("large", dims=(47,), max_batch_size=16384)
SLOW = Model("slow", dims=(1,), max_batch_size=0, parameters={"execute_delay_ms": 300})
BATCHED = Model("batched", dims=(1,), extra="dynamic_batching { max_queue_delay_microseconds: 200000 }")
# One request runs, one waits, the next is refused.
QUEUE = Model(
    "queue",
    dims=(1,),
    max_batch_size=1,
    parameters={"execute_delay_ms": 400},
    extra="dynamic_batching { default_queue_policy { max_queue_size: 1 } }",
)
# A request that waits may say for how long, up to ten seconds.
PATIENT = Model(
    "patient",
    dims=(1,),
    max_batch_size=1,
    parameters={"execute_delay_ms": 200},
    extra="dynamic_batching { default_queue_policy { default_timeout_microseconds: 10000000 "
    "allow_timeout_override: true } }",
)
# A request that waits longer than 50 ms is refused.
HASTY = Model(
    "hasty",
    dims=(1,),
    max_batch_size=1,
    parameters={"execute_delay_ms": 200},
    extra="dynamic_batching { default_queue_policy { default_timeout_microseconds: 50000 } }",
)
PRIORITY = Model(
    "priority",
    dims=(1,),
    max_batch_size=1,
    parameters={"execute_delay_ms": 150},
    extra="dynamic_batching { priority_levels: 2 default_priority_level: 2 }",
)
# Versions 1 and 3 are served, by a policy; 2 is not.
CHOSEN = Model("chosen", versions=(1, 2, 3), extra="version_policy { specific { versions: [1, 3] } }")
# The default policy serves the newest version alone.
NEWEST = Model("newest", versions=(1, 2))
RELOADED = Model("reloaded")
STEADY = Model("steady")
# The statistics of this model are looked at; no other test calls it.
COUNTED = Model("counted")
# Its configuration carries what a configuration may carry beyond the tensors.
RICH = Model(
    "rich",
    parameters={"threshold": "0.5", "note": "kept as it is"},
    extra='instance_group [ { kind: KIND_CPU count: 2 } ]\nmetric_tags { key: "detector" value: "hcal" }',
)

MODELS = [
    PAIR, PLAIN, ANY, *TYPED.values(), LABELLED, LARGE, SLOW, BATCHED, QUEUE, PATIENT, HASTY, PRIORITY, CHOSEN, NEWEST,
    RELOADED, STEADY, COUNTED, RICH,
]  # fmt: skip

# Not in the repository at start: a test adds it, sees it fail and takes it away.
BROKEN = Model("broken", backend="no_such_backend")
# The same, and it loads.
LATE = Model("late")


def write_repository(folder: pathlib.Path, dialect: str) -> None:
    """Writes all of MODELS."""
    for model in MODELS:
        model.write(folder, dialect)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dialect", choices=BACKENDS, default="hypersonic")
    args = parser.parse_args()
    write_repository(args.folder, args.dialect)


if __name__ == "__main__":
    main()
