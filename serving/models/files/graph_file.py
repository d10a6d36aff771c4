"""`<name>/<version>/graph.yaml`: a model made of models, in the words of Triton's ensembles. Pure.

Law: all that a graph is made of lies in its version's own folder, which is a small repository of the models
that its steps run (`<model_name>/<model_version>/model.onnx`), and the files of its steps in Python. So one
digest names all of it; whatever pins, signs, copies or fetches a version does so with a graph.

What a document says by itself is checked here, each fault with its place: who makes each tensor, that
nothing is read that is not there, that no step waits for itself. Datatypes and shapes are looked at by
`serving.models.graphs.wiring`, once the models are open.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from serving.document import DocumentError, Node, all_of, parse, read_each
from serving.models.files.python_step import (
    KEYS,
    OPTIONAL_KEYS,
    Limits,
    PythonStep,
    read_limits,
    read_python_step,
)

GRAPH_FILE = "graph.yaml"
MAX_STEPS = 64

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STEP_KEYS = ("model_name", "model_version", "input_map", "output_map")


@dataclass(frozen=True, slots=True)
class When:
    """The condition of a step.

    Attributes:
        tensor: of one truth value, an input of the graph or made by a step that always runs.
        truth: what it must be for the step to run.
        node: where it stands.
    """

    tensor: str
    truth: bool
    node: Node


@dataclass(frozen=True, slots=True)
class Step:
    """One run of one model, or one call of a function in Python.

    Attributes:
        name: of the step; no other one has it.
        model_name, model_version: of the model in the graph's folder; empty for a function.
        inputs: by the model's input, where the graph's tensor stands that is its value.
        outputs: by the model's output, where the graph's tensor stands that it makes.
        when: None for a step that always runs.
        node: where it stands.
        python: the function; None for a model.
    """

    name: str
    model_name: str
    model_version: str
    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]
    when: When | None
    node: Node
    python: PythonStep | None = None

    @property
    def folder(self) -> str:
        """Of its model, relative to the graph's."""
        return f"{self.model_name}/{self.model_version}"

    @property
    def runs(self) -> str:
        """The model or the function, as people are told of it."""
        return self.folder if self.python is None else self.python.named

    @property
    def reads(self) -> tuple[str, ...]:
        """The graph's tensors that its model takes."""
        return tuple(str(node.value) for node in self.inputs.values())

    @property
    def makes(self) -> tuple[str, ...]:
        """The graph's tensors that it makes."""
        return tuple(str(node.value) for node in self.outputs.values())


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph whose document is sound.

    Attributes:
        inputs: tensors that a request gives, where each stands, in their order.
        outputs: tensors that an answer has.
        steps: in an order in which they can run, else in that of the document.
        fuse: whether it may be made into one ONNX graph.
        limits: of the process of its steps in Python, where it has some.
    """

    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]
    steps: tuple[Step, ...]
    fuse: bool
    limits: Limits

    @property
    def models(self) -> tuple[Step, ...]:
        """Those steps that run models."""
        return tuple(step for step in self.steps if step.python is None)

    @property
    def functions(self) -> tuple[tuple[Step, PythonStep], ...]:
        """Those steps that are functions in Python, each with its function."""
        return tuple((step, step.python) for step in self.steps if step.python is not None)

    @property
    def conditional(self) -> Step | None:
        """The first step that does not always run."""
        return next((step for step in self.steps if step.when is not None), None)


def parse_graph(text: bytes, file: str) -> Graph:
    """Read one `graph.yaml`.

    Args:
        text: the document.
        file: the name that errors show, such as `fraud/1/graph.yaml`.

    Raises:
        DocumentError: with every fault that was found.
    """
    root = parse(text, file)
    entries = root.mapping(required=("input", "output", "step"), optional=("fuse", "sandbox"))
    nodes = entries["step"].sequence()
    if not 0 < len(nodes) <= MAX_STEPS:
        entries["step"].fail(f"expected 1 to {MAX_STEPS} steps, got {len(nodes)}")
    inputs, outputs = _tensors(entries["input"]), _tensors(entries["output"])
    steps = read_each([lambda node=node: _step(node) for node in nodes])  # type: ignore[misc]
    fuse = entries["fuse"].boolean() if "fuse" in entries else True
    limits = read_limits(entries["sandbox"]) if "sandbox" in entries else Limits()
    if "sandbox" in entries and all(step.python is None for step in steps):
        entries["sandbox"].fail("it is for steps in Python, and there are none: leave it out")
    _refuse(_faults(inputs, outputs, steps))
    return Graph(inputs, outputs, _ordered(steps), fuse, limits)


def _tensors(node: Node) -> dict[str, Node]:
    """Names of tensors, at least one, each once."""
    items = node.sequence()
    if not items:
        node.fail("expected at least one tensor")
    found: dict[str, Node] = {}
    for item in items:
        if item.string() in found:
            item.fail(f"{item.value!r} is here twice")
        found[item.string()] = item
    return found


def _step(node: Node) -> Step:
    if "python" in node.entries():
        return _function_step(node)
    entries = node.mapping(required=_STEP_KEYS, optional=("name", "when"))
    model = entries["model_name"]
    if not _NAME.fullmatch(model.string()):
        model.fail("expected the name of a model: letters, digits, . _ and -")
    version = str(entries["model_version"].integer(1, 9_999_999_999))
    name = _name(entries.get("name", model))
    return Step(name, model.string(), version, *_maps(entries), _when(entries), node)


def _function_step(node: Node) -> Step:
    entries = node.mapping(required=KEYS, optional=OPTIONAL_KEYS)
    python = read_python_step(entries)
    name = _name(entries["name"]) if "name" in entries else python.function
    return Step(name, "", "", *_maps(entries), _when(entries), node, python)


def _name(node: Node) -> str:
    if not _NAME.fullmatch(node.string()):
        node.fail("expected a name of letters, digits, . _ and -")
    return node.string()


def _maps(entries: Mapping[str, Node]) -> tuple[dict[str, Node], dict[str, Node]]:
    inputs, outputs = _map(entries["input_map"]), _map(entries["output_map"])
    if not outputs:
        entries["output_map"].fail("expected at least one output: the model's name of it, then the graph's")
    return inputs, outputs


def _map(node: Node) -> dict[str, Node]:
    for item in node.entries().values():
        item.string()
    return dict(node.entries())


def _when(step: Mapping[str, Node]) -> When | None:
    if "when" not in step:
        return None
    entries = step["when"].mapping(required=("tensor",), optional=("is",))
    truth = entries["is"].boolean() if "is" in entries else True
    return When(entries["tensor"].string(), truth, entries["tensor"])


# ------------------------------------------------------------------ who makes what


def _refuse(faults: Iterable[DocumentError]) -> None:
    found = list(faults)
    if found:
        raise all_of(found)


def _faults(
    inputs: Mapping[str, Node], outputs: Mapping[str, Node], steps: Sequence[Step]
) -> Iterator[DocumentError]:
    """What cannot be of names, makers and conditions."""
    makers: dict[str, list[tuple[Step, Node]]] = {}
    names: set[str] = set()
    for step in steps:
        if step.name in names:
            yield step.node.fault(f"a second step is called {step.name!r}: give one of them another `name`")
        names.add(step.name)
        for node in step.outputs.values():
            makers.setdefault(str(node.value), []).append((step, node))
    known = [*inputs, *makers]
    yield from _doubled(inputs, makers)
    for step in steps:
        for tensor, node in _wanted(step):
            if tensor not in inputs and tensor not in makers:
                yield node.fault(_unknown(tensor, known))
            elif (missing := _missing(step, makers.get(tensor, ()))) is not None:
                yield node.fault(_at_times(tensor, missing, f"step {step.name!r}"))
    for tensor, node in outputs.items():
        if tensor in inputs:
            yield node.fault(f"{tensor!r} is an input, and an output is made by a step")
        elif tensor not in makers:
            yield node.fault(_unknown(tensor, list(makers)))
        elif (missing := _missing(None, makers[tensor])) is not None:
            yield node.fault(_at_times(tensor, missing, "every answer"))
    yield from _unread(inputs, outputs, steps, makers)
    yield from _misplaced(steps)


def _misplaced(steps: Sequence[Step]) -> Iterator[DocumentError]:
    """Files of functions that are something else's."""
    folders = {f"{step.folder}/" for step in steps if step.python is None}
    for step in steps:
        for location, node in step.python.files.items() if step.python is not None else ():
            if location == GRAPH_FILE or any(location.startswith(folder) for folder in folders):
                yield node.fault(f"{location!r} is part of the graph itself, or of one of its models")


def _wanted(step: Step) -> Iterator[tuple[str, Node]]:
    for node in step.inputs.values():
        yield str(node.value), node
    if step.when is not None:
        yield step.when.tensor, step.when.node


def _unknown(tensor: str, known: Sequence[str]) -> str:
    near = get_close_matches(tensor, known, n=1)
    meant = f"; is {near[0]!r} meant?" if near else f"; there are {', '.join(map(repr, known[:20]))}"
    return f"no step makes a tensor {tensor!r}, and it is no input of the graph{meant}"


def _at_times(tensor: str, when: When, who: str) -> str:
    other = str(not when.truth).lower()
    return (
        f"{who} needs {tensor!r}, which is made only when {when.tensor!r} is {str(when.truth).lower()}: have"
        f" another step make it `when: {{tensor: {when.tensor}, is: {other}}}`"
    )


def _missing(step: Step | None, makers: Sequence[tuple[Step, Node]]) -> When | None:
    """The condition under which alone a tensor is there, if that is not enough for this step, or for all.

    What a condition reads is read before it holds, so for `when` itself the tensor is to be there always; the
    same goes for what it is made from, which is checked at that step.
    """
    if len(makers) != 1 or makers[0][0].when is None:
        return None
    condition = makers[0][0].when
    own = step.when if step is not None else None
    if own is not None and (own.tensor, own.truth) == (condition.tensor, condition.truth):
        return None
    return condition


def _doubled(
    inputs: Mapping[str, Node], makers: Mapping[str, Sequence[tuple[Step, Node]]]
) -> Iterator[DocumentError]:
    """Tensors that two make, unless one of two steps runs when a condition holds and the other when not."""
    for tensor, made in makers.items():
        if tensor in inputs:
            yield made[0][1].fault(f"{tensor!r} is an input of the graph; give what is made another name")
        elif len(made) > 1:
            (first, _), (second, node), *others = made
            if others or not _opposite(first.when, second.when):
                yield node.fault(
                    f"{tensor!r} is made by step {first.name!r}, too; give one another name, or have one step"
                    " run `when: {tensor: ..., is: true}` and the other `is: false`"
                )


def _opposite(one: When | None, other: When | None) -> bool:
    return (
        one is not None and other is not None and one.tensor == other.tensor and one.truth is not other.truth
    )


def _unread(
    inputs: Mapping[str, Node],
    outputs: Mapping[str, Node],
    steps: Sequence[Step],
    makers: Mapping[str, Sequence[tuple[Step, Node]]],
) -> Iterator[DocumentError]:
    read = {tensor for step in steps for tensor, _ in _wanted(step)} | set(outputs)
    for tensor, node in inputs.items():
        if tensor not in read:
            yield node.fault(f"no step reads {tensor!r}; leave it out, or map it to a model's input")
    for tensor, made in makers.items():
        if tensor not in read:
            yield made[0][1].fault(f"nothing reads {tensor!r}; leave it out, or name it under `output`")


# ------------------------------------------------------------------ their order


def _ordered(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Each step after those that make what it reads, else as the document has them.

    Raises:
        DocumentError: some wait for each other.
    """
    makers: dict[str, set[str]] = {}
    for step in steps:
        for tensor in step.makes:
            makers.setdefault(tensor, set()).add(step.name)
    before = {
        step.name: set().union(*(makers.get(tensor, set()) for tensor, _ in _wanted(step))) for step in steps
    }
    ordered: list[Step] = []
    done: set[str] = set()
    waiting = list(steps)
    while waiting:
        ready = next((step for step in waiting if before[step.name] <= done), None)
        if ready is None:
            circle = _circle(waiting, before)
            names = " -> ".join(repr(step.name) for step in (*circle, circle[0]))
            circle[0].node.fail(f"a circle: each of these needs what the one before makes: {names}")
        ordered.append(ready)
        done.add(ready.name)
        waiting.remove(ready)
    return tuple(ordered)


def _circle(waiting: Sequence[Step], before: Mapping[str, set[str]]) -> list[Step]:
    """Steps of which each needs what the one before it makes, the first that of the last."""
    by_name = {step.name: step for step in waiting}
    path: list[str] = [waiting[0].name]
    while True:
        needed = min(name for name in before[path[-1]] if name in by_name)
        if needed in path:
            return [by_name[name] for name in reversed(path[path.index(needed) :])]
        path.append(needed)
