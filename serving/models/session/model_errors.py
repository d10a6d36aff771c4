"""What onnxruntime raises, made into our errors: one line, no paths, no insides of its C++. Pure.

onnxruntime's exceptions share no base class, and which kind of fault it was often stands in the text only.

Law: whose fault a failed run is, is told by what is known of the model. Kernels are deterministic: where a
model has run before, a node that fails now fails by what it was given, and the request is at fault. Of a
model that never ran nothing is known but that it fails, and what the machine lacks is no client's fault.
"""

import re
from collections.abc import Mapping, Sequence

from serving.errors import InvalidInput, InvalidModel, ModelFailed, ServingError
from serving.models.files.graph_bytes import opset

Dims = Sequence[int | str | None]
"""Of an input: lengths, names of what varies, or None."""

OUT_OF_MEMORY = "it needs more memory than it may have"

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_NODE_FAILED = re.compile(
    r"^(?:\[ONNXRuntimeError\] : \d+ : \w+ : )?Non-zero status code returned while running (\w+) node\."
    r".*?Status Message: ",
    re.DOTALL,
)
_NESTED = re.compile(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : ")
_FAILED_CHECK = re.compile(r"^.* was false\. ?")
# Where in its code: a path and a whole C++ signature, or a file and a function.
_PLACE = re.compile(
    r"^\S*/\S+:\d+ [^()]*(?:\(\))?\((?:[^()]++|\([^()]*+\))*+\)(?: const)?(?: \[with [^\]]*\])? "
    r"|^\w+\.\w+:\d+ \w+(?:\(\))? "
)
_OF_THE_MACHINE = re.compile(r"\bCU(?:DA|DNN|BLAS|FFT|RAND)\b|TensorRT|\bHIP\b|MIOPEN|pthread", re.IGNORECASE)
_MACHINE_CLASSES = frozenset({"EPFail", "EngineError", "DeviceReset"})
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_INSIDES = re.compile(r"::|\.(?:cc|cpp|h):\d|_src/")
_PATH = re.compile(r"\S*/\S*")
_MAX_LENGTH = 300

_FAILED_LOAD = re.compile(r"^(?:Load model from .*? failed:|Exception during initialization: )+", re.DOTALL)
_LFS_POINTER = b"version https://git-lfs"
_LOCALE = (
    "it changes the case of text by the locale {}, which this machine lacks: install it (Debian: the package"
    " `locales`, then `localedef -i en_US -f UTF-8 en_US.UTF-8`), or convert without that (skl2onnx:"
    " lowercase=False)"
)
_EXTERNAL = "external data must belong to the main graph and be plain files, not links, in the model's folder"
_UNIMPLEMENTED = (
    "onnxruntime does not implement operator {} in its version {}, or not for the datatypes that it is used"
    " with; another opset may help"
)
_NEWER_FORMAT = (
    "it was made for a newer ONNX than this onnxruntime knows (IR version {}, and it reads up to {}): export"
    " it with an older one, or update onnxruntime"
)
_NEWER_OPSET = (
    "it was made for a newer ONNX than this onnxruntime knows (of {} it has the opsets up to {}): export it"
    " with an older opset, or update onnxruntime"
)
_OLD_OPSET = (
    "onnxruntime does not implement operator {} as opset {} has it, only from opset 7 on: convert the model"
    " (onnx.version_converter)"
)
_OLDEST_OPSET = 7

_REFUSALS = (
    (r"protobuf parsing failed|No graph was found", "it is no ONNX file, or a damaged one"),
    (
        r"(\S+)\(-?\d+\) is not a registered|No Op registered for (\S+)",
        "operator {} is unknown; libraries of custom operators are not loaded",
    ),
    (
        r"(?:Could not find an implementation for|Failed to find kernel for) ([^\s(]+)\((\d+)\)",
        _UNIMPLEMENTED,
    ),
    (r"Failed to construct locale with name:([\w.@-]+)", _LOCALE),
    (r"[Ee]xternal (?:data|file|TensorProto)|Data of TensorProto|_ORT_MEM_ADDR_", _EXTERNAL),
    (r"IR version: (\d+), max supported IR version: (\d+)", _NEWER_FORMAT),
    (r"support for domain (\S+) is till opset (\d+)", _NEWER_OPSET),
    (r'In Node, \("[^"]*", (\S+), .*, Error (.+)', "its graph is invalid: operator {}: {}"),
)


def refused(error: Exception, graph: bytes = b"") -> InvalidModel:
    """Why a session could not be made of a model.

    Args:
        error: what onnxruntime raised.
        graph: the model.
    """
    if _is_out_of_memory(error):
        return InvalidModel(OUT_OF_MEMORY)
    if graph.startswith(_LFS_POINTER):
        return InvalidModel("it is a pointer of Git LFS, not the model itself: run `git lfs pull`")
    text = str(error)
    for pattern, words in _REFUSALS:
        if found := re.search(pattern, text):
            parts = [_scrub(part) for part in found.groups() if part]
            old = opset(graph) if words is _UNIMPLEMENTED else 0
            if 0 < old < _OLDEST_OPSET:
                return InvalidModel(_OLD_OPSET.format(parts[0], old))
            return InvalidModel(words.format(*parts))
    line = _PLACE.sub("", _FAILED_LOAD.sub("", _PREFIX.sub("", text))).partition("\n")[0]
    why = "" if _INSIDES.search(line) else _scrub(line)
    return InvalidModel(f"onnxruntime cannot load it: {why or type(error).__name__}")


def failed(error: Exception, *, has_run: bool, unequal: str = "") -> ServingError:
    """Why a run failed.

    Args:
        error: what onnxruntime raised.
        has_run: whether the model ever ran to its end.
        unequal: what `unequal_lengths` says of the input.

    Returns:
        `InvalidInput` where the input is at fault, else `ModelFailed`; both tell the operator and why.
    """
    if _is_out_of_memory(error):
        return ModelFailed(OUT_OF_MEMORY, OUT_OF_MEMORY)
    kind = type(error).__name__
    operator, reason = _reason(str(error))
    if kind == "UnicodeDecodeError":
        reason = "an output is text that is not UTF-8, which onnxruntime cannot hand over"
    told = f"{operator}: {reason or 'it was refused'}" if not reason.startswith(operator) else reason
    machine = kind in _MACHINE_CLASSES or _OF_THE_MACHINE.search(str(error))
    by_input = kind == "InvalidArgument" or (has_run and (operator or kind == "UnicodeDecodeError"))
    if by_input and not machine:
        parts = [part for part in (unequal, told) if part] or ["an operator refused it"]
        return InvalidInput(f"the model cannot take this input: {'; '.join(parts)}")
    return ModelFailed(f"the model failed ({kind})", _QUOTED.sub("'...'", told) or kind)


def unequal_lengths(dims: Mapping[str, Dims], shapes: Mapping[str, Sequence[int]]) -> str:
    """Where a request's inputs differ in a length that has one name, or in their rows; empty where not.

    onnxruntime does not look at these names, and a model may well take what differs: this is no check, but
    tells what is likely to blame when a model could not.

    Args:
        dims: of every input that it knows, by name.
        shapes: of a request's inputs, by name.
    """
    seen: dict[str, tuple[str, int]] = {}
    for name, shape in shapes.items():
        for axis, (dim, length) in enumerate(zip(dims.get(name, ()), shape, strict=False)):
            if isinstance(dim, int) or (dim is None and axis):
                continue
            first, expected = seen.setdefault(dim or "rows", (name, length))
            if length != expected:
                what = f"dimension {dim!r}" if dim else "number of rows"
                return f"the {what} is {expected} in {first!r} and {length} in {name!r}"
    return ""


def _reason(text: str) -> tuple[str, str]:
    """The operator that failed, empty if none did, and why in words, empty if only in those of its code."""
    operator = ""
    while found := _NODE_FAILED.match(text):
        operator, text = found[1], text[found.end() :]
    line = _NESTED.sub("", _PREFIX.sub("", text)).partition("\n")[0].partition(" Please fix either")[0]
    line = _PLACE.sub("", _FAILED_CHECK.sub("", line))
    return operator, "" if _INSIDES.search(line) else _scrub(line)


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate memory" in text


def _scrub(text: str) -> str:
    return _PATH.sub("...", text).strip()[:_MAX_LENGTH]
