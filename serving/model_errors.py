"""What onnxruntime raises, made into our errors: one line, no paths, no insides of its C++. Pure.

onnxruntime's exceptions share no base class, and which kind of fault it was often stands in the text only.
"""

import re

from serving.errors import InvalidInput, InvalidModel, ServingError

OUT_OF_MEMORY = "it needs more memory than it may have"

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_NODE_FAILED = re.compile(r"^Non-zero status code returned while running .*?Status Message: ")
_INSIDES = re.compile(r"::|\.(?:cc|cpp|h):\d|_src/")
_PATH = re.compile(r"\S*/\S*")
_MAX_LENGTH = 300

_REFUSALS = (
    (r"protobuf parsing failed|No graph was found", "it is no ONNX file, or a damaged one"),
    (
        r"(\S+)\(-?\d+\) is not a registered|No Op registered for (\S+)",
        "operator {} is unknown; libraries of custom operators are not loaded",
    ),
    (r"Could not find an implementation for ([^\s(]+)", "operator {} is not implemented for these datatypes"),
    (
        r"[Ee]xternal (?:data|file|TensorProto)|Data of TensorProto|_ORT_MEM_ADDR_",
        "external data must belong to the main graph and be plain files, not links, in the model's folder",
    ),
    (r"IR version|guarantees\*? support", "it was made for a newer ONNX than this onnxruntime knows"),
)


def refused(error: Exception) -> InvalidModel:
    """Why a session could not be made of a model."""
    if _is_out_of_memory(error):
        return InvalidModel(OUT_OF_MEMORY)
    for pattern, text in _REFUSALS:
        if found := re.search(pattern, str(error)):
            return InvalidModel(text.format(_scrub(next(filter(None, found.groups()), ""))))
    return InvalidModel(f"onnxruntime cannot load it: {_line(error) or type(error).__name__}")


def failed(error: Exception) -> ServingError:
    """Why a run failed: `InvalidInput` when onnxruntime blames the input, else a fault of ours."""
    if _is_out_of_memory(error):
        return ServingError(OUT_OF_MEMORY)
    if type(error).__name__ == "InvalidArgument":
        return InvalidInput(f"the model cannot take this input: {_line(error) or 'an operator refused it'}")
    return ServingError(f"the model failed ({type(error).__name__})")


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate memory" in text


def _line(error: Exception) -> str:
    """The first line as a person can read it; empty when it is about the insides of onnxruntime."""
    line = _PREFIX.sub("", str(error)).partition("\n")[0]
    line = _NODE_FAILED.sub("", line).partition(" Please fix either")[0]
    return "" if _INSIDES.search(line) else _scrub(line)


def _scrub(text: str) -> str:
    return _PATH.sub("...", text).strip()[:_MAX_LENGTH]
