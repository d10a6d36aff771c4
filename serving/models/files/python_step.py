"""A step of a graph that is a function in Python: `python: MODULE:FUNCTION` and what it declares. Pure.

Law: which files a step may see follows from the document alone, the module's own and those under `files`. So
whatever reads a graph (to name its bytes, to pin, to fetch, to serve) reads the same ones, and what runs is
what was named by the digest; nothing else of the folder reaches the process that runs it.
"""

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from serving.document import Node
from serving.wire.tensors import DATATYPES, Signature, TensorSpec

MAX_FILES = 64
MAX_FILE_BYTES = 64 << 20
CALL_SECONDS, MEMORY_BYTES = 5.0, 512 << 20
"""What one call may take, and the process beside what Python itself needs, if the document does not say."""

KEYS = ("python", "inputs", "outputs", "input_map", "output_map")
OPTIONAL_KEYS = ("name", "when", "files", "independent")
OUR_MODULES = frozenset({"numpy", "orjson", "serving"})
"""What the process has imported beside the standard library."""

_TENSOR_KEYS = ("name", "datatype", "shape")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process of a graph's Python steps may take.

    Attributes:
        seconds: of one call of one step.
        memory_bytes: of the process, beside what it takes before it imports a step.
    """

    seconds: float = CALL_SECONDS
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class PythonStep:
    """A function, and what it takes and gives.

    Attributes:
        module, function: where it is.
        signature: as it is declared; each answer is held against it.
        files: what lies in its working folder, relative to the graph's: the module first. Each with its place
            in the document.
        independent: whether it is stated that no row influences another one's result.
    """

    module: str
    function: str
    signature: Signature
    files: Mapping[str, Node] = field(compare=False)
    independent: bool

    @property
    def named(self) -> str:
        """As the document names it."""
        return f"{self.module}:{self.function}"


def read_limits(node: Node) -> Limits:
    """What `sandbox` says.

    Raises:
        DocumentError: something impossible.
    """
    entries = node.mapping(optional=("time", "memory"))
    seconds = entries["time"].duration(maximum_seconds=600.0) if "time" in entries else CALL_SECONDS
    return Limits(seconds, entries["memory"].size() if "memory" in entries else MEMORY_BYTES)


def read_python_step(entries: Mapping[str, Node]) -> PythonStep:
    """The part of a step that is about its function.

    Args:
        entries: of the step, of which those that it needs are there.

    Raises:
        DocumentError: the first thing that is wrong.
    """
    module, function = _named(entries["python"])
    signature = Signature(_specs(entries["inputs"]), _specs(entries["outputs"]))
    if not signature.outputs:
        entries["outputs"].fail("expected at least one output")
    independent = entries["independent"].boolean() if "independent" in entries else False
    files = {f"{module.replace('.', '/')}.py": entries["python"]}
    for item in entries["files"].sequence() if "files" in entries else ():
        location = _location(item)
        if location in files:
            item.fail(f"{location!r} is here twice; the file of the module itself is always there")
        files[location] = item
    if len(files) > MAX_FILES:
        entries["files"].fail(f"expected {MAX_FILES - 1} files at most, got {len(files) - 1}")
    return PythonStep(module, function, signature, files, independent)


def _named(node: Node) -> tuple[str, str]:
    module, colon, function = node.string(300).partition(":")
    if not colon or not all(map(_is_plain, (*module.split("."), function))):
        node.fail("expected MODULE:FUNCTION, such as features:scale for `def scale` in features.py")
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in OUR_MODULES:
        node.fail(f"{top!r} is a module of Python itself, or is there already: give the file another name")
    return module, function


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not name.startswith("_")


def _location(node: Node) -> str:
    """A file below the graph's folder."""
    text = node.string()
    path = PurePosixPath(text)
    hidden = any(part.startswith(".") for part in path.parts)
    if path.is_absolute() or hidden or str(path) != text or "\0" in text or "\\" in text:
        node.fail("expected a file below the graph's own folder, such as tables.py or data/words.txt")
    return text


def _specs(node: Node) -> tuple[TensorSpec, ...]:
    specs: dict[str, TensorSpec] = {}
    for item in node.sequence():
        spec = _spec(item.mapping(required=_TENSOR_KEYS))
        if spec.name in specs:
            item.fail(f"{spec.name!r} is here twice")
        specs[spec.name] = spec
    return tuple(specs.values())


def _spec(entries: Mapping[str, Node]) -> TensorSpec:
    datatypes: Collection[str] = [name for name in DATATYPES if name != "BF16"]  # numpy has none
    datatype = entries["datatype"].choice(datatypes)
    shape = tuple(item.integer(-1, (1 << 40) - 1) for item in entries["shape"].sequence())
    return TensorSpec(entries["name"].string(), datatype, shape)
