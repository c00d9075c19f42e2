"""Where Triton 2.51 does something else than we want of ourselves, on purpose, and why."""

from dataclasses import dataclass
from typing import Any

from faults import Fault


@dataclass(frozen=True)
class Difference:
    """What Triton does in a case (a test asserts it), and why we do not do the same."""

    triton: Any
    why: str


CLIENTS_FAULT = "a request that is wrong is the client's fault: 400, so that nobody looks for it in the server"

TABLE: dict[str, Difference] = {
    "malformed": Difference(Fault(500, None), CLIENTS_FAULT),
    **{
        f"malformed/{case}": Difference(Fault(400, None), "none: the row above does not hold")
        for case in ("empty_body", "inputs_of_numbers", "deep_nesting")
    },
    "too_few_values/json": Difference(Fault(500, None, "Shape does not match"), CLIENTS_FAULT),
    "too_many_values/json": Difference(Fault(500, None, "Shape does not match"), CLIENTS_FAULT),
    "negative_shape/json": Difference(Fault(500, None, "Unable to parse 'shape'"), CLIENTS_FAULT),
    "negative_shape/binary": Difference(Fault(500, None, "Unable to parse 'shape'"), CLIENTS_FAULT),
    "negative_classification/json": Difference(Fault(500, None, "Unable to set 'classification'"), CLIENTS_FAULT),
    "negative_classification/binary": Difference(Fault(500, None, "Unable to set 'classification'"), CLIENTS_FAULT),
    "shape_overflows/binary": Difference(Fault(500, None), "the number of elements wraps around before it is checked"),
    "shape_overflows/raw": Difference(Fault(None, "INTERNAL"), "the same"),
    "shape_overflows/typed": Difference(Fault(None, "INTERNAL"), "the same"),
    "header_length/inside": Difference(Fault(500, None), CLIENTS_FAULT),
    "header_length/not_a_number": Difference(
        Fault(400, None, "Raw request must only have 1 input"),
        "text that is no number is not the number 0; with one input the answer would be a wrong tensor",
    ),
    "integer_range/2147483648": Difference(-(2**31), "a wrapped integer is a wrong answer without an error"),
    "integer_range/-2147483649": Difference(2**31 - 1, "the same"),
    "integer_range/9999999999": Difference(1_410_065_407, "the same"),
    "integer_range": Difference(Fault(500, None), CLIENTS_FAULT),
    "compression/unknown": Difference(Fault(501, None, "Unsupported compression type"), CLIENTS_FAULT),
    "compression/truncated": Difference(Fault(500, None), CLIENTS_FAULT),
    "compression/not_as_said": Difference(
        Fault((400, 500), None), "Triton goes on with an empty body, and refuses that only if the model lets it"
    ),
    "compression/garbage": Difference(200, "an answer to a body that nobody could read"),
    "binary_data_output_with_outputs": Difference(
        "ignored", "the extension's text: the parameter holds for all outputs that do not say otherwise"
    ),
    "classification_of_strings": Difference("ends", "a request must not end the server"),
    "head": Difference(405, "some probes use HEAD"),
    "health_of_an_unknown_service": Difference(b"\x08\x01", "the health protocol's text asks for NOT_FOUND"),
    "health_watch": Difference("UNIMPLEMENTED", "the health protocol has two methods"),
    "stream_errors_as_codes": Difference("messages", "Triton asks the model alone; a wrong request is an error too"),
    "file_escapes/file:/escaped.py": Difference(Fault(400, None, "at least one version"), "none: written inside"),
    "file_escapes": Difference(Fault(500, None, "failed to load 'reloaded'"), CLIENTS_FAULT),
    **{
        f"load/{case}": Difference(Fault(500, "INTERNAL", "failed to load 'reloaded'"), CLIENTS_FAULT)
        for case in ("config_is_not_json", "config_of_unknown_field", "files_without_config")
    },
    "region_offset": Difference("used twice", "it is added to the address that was already mapped from there"),
    "region/output_too_small": Difference(Fault(500, "INTERNAL", "shared memory size"), CLIENTS_FAULT),
    "register/unknown_key": Difference(Fault(500, "INTERNAL", "Unable to open"), CLIENTS_FAULT),
    "register/a_path": Difference(Fault(500, "INTERNAL", "Unable to open"), CLIENTS_FAULT),
    "log_settings/wrong_type": Difference(Fault(500, None), CLIENTS_FAULT),
    "log_settings/not_an_object": Difference("accepted", "a request without effect is a mistake"),
    "log_settings/unknown": Difference("accepted", "a misspelt setting is a mistake that its author wants to see"),
    "trace_settings/unknown": Difference("accepted", "the same"),
    "log_settings/log_file": Difference(Fault(501, None), CLIENTS_FAULT),
    "timeout_parameter_type": Difference(Fault(500, None, "timeout"), CLIENTS_FAULT),
    "withdrawn_requests": Difference(20, "Triton computes for clients that are gone, and the others wait: seconds"),
    "shared_memory_by_default": Difference(
        Fault(500, "INTERNAL", "Unable to open"), "since 26.x Triton has the flag, and the same default"
    ),
    "restricted_grpc": Difference("UNAVAILABLE", "a client that may not is not told to come back later"),
    "seconds_to_exit": Difference(10, "Triton waits for idle connections too, until its time is up"),
    "gpu_utilization_of_a_cpu": Difference(False, "dashboards count servers with this gauge"),
    "path_error_body": Difference("none", "clients decode the body of every refusal as JSON"),
}

# The rows that this run has met.
USED: set[str] = set()


def find(case: str) -> str | None:
    """The row of `case`: `name/encoding`, else `name`."""
    for key in (case, case.split("/", 1)[0]):
        if key in TABLE:
            return key
    return None
