"""`<name>/config.yaml`: what an operator says about a model, beside the model itself. Pure.

Every field is optional, and a field that is wrong is a `DocumentError` naming file, line and column.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, cast, get_args

from serving.document import Node, parse
from serving.models.files.lineage import ABOUT

CPU = "CPUExecutionProvider"

UNPROVEN = "nobody looked at its graph"
"""What is said of a model of which it was not tried to prove that its rows are independent of each other."""

_VERSION = re.compile(r"[1-9][0-9]{0,9}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Execution = Literal["auto", "inline", "pooled"]
Optimization = Literal["none", "basic", "extended", "layout", "all"]
OPTIMIZATIONS: tuple[Optimization, ...] = get_args(Optimization)
"""Of the graph, when a model is loaded; each has what those before it have."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """How a model is chosen, checked and run.

    Attributes:
        versions: which are served: `all`, the latest n, or these.
        sha256: version -> hex digest that its files must have, as `ModelFiles.sha256` defines it.
        lineage: version -> what is said of where it comes from, by what it is about (`lineage.ABOUT`).
        labels: names of the classes, in the order of the model's outputs.
        execution: on the event loop, in a thread, or by the measured run time.
        batching: the most rows that are run together; `auto` measures, 1 never joins requests.
        most_rows: no more are run together, whatever `auto` finds; None sets no limit.
        independent: the user's word that no row influences another one's result, where that is not proven.
        threads: of one run; None leaves it to the process.
        providers: execution providers of onnxruntime, by preference.
        queue: requests that may wait.
        timeout: seconds for one request; None leaves it to the process.
        check_memory: bytes that the check may need beyond an idle process; None goes by file size.
        check_time: seconds that the check may take; None goes by file size.
        warmup: an .npz in the model's folder with an array for every input; None searches for some that runs.
        spinning: whether idle threads of onnxruntime burn CPU to answer sooner.
        optimization: how far onnxruntime rewrites the graph when it loads it.
    """

    versions: Literal["all"] | int | tuple[str, ...] = 1
    sha256: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    execution: Execution = "auto"
    batching: int | Literal["auto"] = "auto"
    most_rows: int | None = None
    independent: bool = False
    threads: int | None = None
    providers: tuple[str, ...] = (CPU,)
    queue: int = 512
    timeout: float | None = None
    check_memory: int | None = None
    check_time: float | None = None
    warmup: str | None = None
    spinning: bool = False
    optimization: Optimization = "all"


def is_version(text: str) -> bool:
    """Whether it is a positive whole number of at most ten digits without leading zeros."""
    return _VERSION.fullmatch(text) is not None


def parse_config(text: bytes, file: str, providers: Callable[[], Collection[str]]) -> ModelConfig:
    """Read one `config.yaml`.

    Args:
        text: the document.
        file: the name that errors show, such as `digits/config.yaml`.
        providers: asked for the execution providers of this machine, if the document names any.

    Raises:
        DocumentError: a field is unknown or its value impossible.
    """
    readers: dict[str, Callable[[Node], Any]] = {
        "versions": _versions,
        "sha256": _digests,
        "lineage": _lineage,
        "labels": _labels,
        "execution": lambda node: node.choice(("auto", "inline", "pooled")),
        "threads": lambda node: node.integer(1, 1024),
        "providers": lambda node: _providers(node, providers()),
        "queue": lambda node: node.integer(1, 1_000_000),
        "timeout": Node.duration,
        "warmup": _warmup,
        "spinning": Node.boolean,
        "optimization": lambda node: node.choice(OPTIMIZATIONS),
    }
    entries = parse(text, file).mapping(optional=(*readers, "batching", "check"))
    values = {key: read(entries[key]) for key, read in readers.items() if key in entries}
    if "batching" in entries:
        values |= _batching(entries["batching"])
    if "check" in entries:
        limits = entries["check"].mapping(optional=("memory", "time"))
        if "memory" in limits:
            values["check_memory"] = limits["memory"].size()
        if "time" in limits:
            values["check_time"] = limits["time"].duration(maximum_seconds=3600.0)
    return ModelConfig(**values)


def _versions(node: Node) -> Literal["all"] | int | tuple[str, ...]:
    if isinstance(node.value, str):
        return cast("Literal['all']", node.choice(("all",)))
    if isinstance(node.value, dict):
        return node.mapping(required=("latest",))["latest"].integer(1, 1_000_000)
    versions = tuple(_version(item, str(item.value)) for item in node.sequence())
    if not versions:
        node.fail("expected at least one version")
    return versions


def _version(node: Node, text: str) -> str:
    if not is_version(text):
        node.fail("a version is a positive whole number without leading zeros")
    return text


def _digests(node: Node) -> dict[str, str]:
    digests = {}
    for version, item in node.entries().items():
        digest = item.string().lower()
        if not _SHA256.fullmatch(digest):
            item.fail("expected the 64 hexadecimal digits of a SHA-256")
        digests[_version(item, version)] = digest
    return digests


def _lineage(node: Node) -> dict[str, dict[str, tuple[str, ...]]]:
    told = {}
    for version, item in node.entries().items():
        entries = item.mapping(optional=[about for about in ABOUT if about != "metadata"])
        told[_version(item, version)] = {about: _texts(value) for about, value in entries.items()}
    return told


def _texts(node: Node) -> tuple[str, ...]:
    """One text, or several."""
    if isinstance(node.value, list):
        return tuple(item.string() for item in node.sequence())
    return (node.string(),)


def _labels(node: Node) -> tuple[str, ...]:
    return tuple(item.string() for item in node.sequence())


def _batching(node: Node) -> dict[str, int | str | bool]:
    entries = node.mapping(optional=("max", "independent"))
    values: dict[str, int | str | bool] = {}
    if "max" in entries:
        most = entries["max"]
        text = isinstance(most.value, str)
        values["batching"] = most.choice(("auto",)) if text else most.integer(1, 65_536)
    if "independent" in entries:
        values["independent"] = entries["independent"].boolean()
    return values


def _providers(node: Node, available: Collection[str]) -> tuple[str, ...]:
    providers = tuple(item.choice(available) for item in node.sequence())
    if not providers or len(set(providers)) < len(providers):
        node.fail("expected one or more different providers")
    return providers


def _warmup(node: Node) -> str:
    path = PurePosixPath(node.string())
    if path.is_absolute() or ".." in path.parts or path.suffix != ".npz" or "\0" in path.name:
        node.fail("expected an .npz file inside the model's folder")
    return str(path)
