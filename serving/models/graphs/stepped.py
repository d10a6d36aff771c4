"""A graph that is run step by step: session after session, each tensor handed on where onnxruntime made it.

Law: between two steps no number is copied or written as text. An array that onnxruntime gives borrows its
memory, and one that it is given lends its own; so arrays are passed on. Text and BF16, of which it would make
other arrays, are passed on as its own values. Text that a client gave stays an array, since onnxruntime takes
text in no other way, and so does text that is made from it. What goes to a step in Python and comes from it
is copied into another process and back.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

from serving.clock import clock
from serving.document import DocumentError
from serving.errors import InvalidInput, InvalidModel, ModelFailed, ServingError
from serving.models.files.graph_file import Graph, Step, When
from serving.models.files.python_step import PythonStep
from serving.models.files.repository import MODEL_FILE, ModelEntry, ModelFiles
from serving.models.graphs.wiring import wired
from serving.models.runnable import Outputs
from serving.models.session.measured import Array, Measured
from serving.models.session.model_errors import failed
from serving.models.session.onnx_model import OnnxModel
from serving.models.session.ort_values import as_array, as_value
from serving.models.session.trials import Dims
from serving.models.session.warmup import Trial
from serving.wire.tensors import Signature

if TYPE_CHECKING:
    from serving.models.python_steps.sandbox import Sandbox

Value = Any
"""A tensor on its way: a value of onnxruntime, or an array."""


def files_of(graph: Graph, files: ModelFiles) -> dict[str, ModelFiles]:
    """The files of each model of a graph, by its folder (`Step.folder`)."""
    found: dict[str, ModelFiles] = {}
    for step in graph.models:
        model, prefix = f"{step.folder}/{MODEL_FILE}", f"{step.folder}/"
        data = {
            location.removeprefix(prefix): content
            for location, content in files.external.items()
            if location.startswith(prefix) and location != model
        }
        found[step.folder] = ModelFiles(files.external[model], data, None, files.sha256)
    return found


class _StepFailed(Exception):
    """What a step's session raised.

    Attributes:
        name: of the step.
        error: what it was.
        has_run: whether the step ever ran to its end.
    """

    def __init__(self, name: str, error: Exception, *, has_run: bool) -> None:
        super().__init__(name)
        self.name, self.error, self.has_run = name, error, has_run


class _Run:
    """One step, ready to run.

    Args:
        step: of the graph.
        model: that it runs.
        kinds: how tensors are passed on; what this step makes is added.

    Attributes:
        values: whether it takes and makes values, not arrays.
    """

    __slots__ = ("_feeds", "_has_run", "_mixed", "_outputs", "_session", "makes", "name", "values", "when")

    def __init__(self, step: Step, model: OnnxModel, kinds: "_Kinds") -> None:
        self.name, self.makes, self.when = step.name, step.makes, step.when
        self._feeds = tuple((own, str(node.value)) for own, node in step.inputs.items())
        self._outputs = list(step.outputs)
        self._session = model.native
        self._has_run = False
        read, made = model.signature.input_by_name, model.signature.output_by_name
        texts = {str(node.value) for own, node in step.outputs.items() if made[own].datatype == "BYTES"}
        given = {tensor for own, tensor in self._feeds if read[own].datatype == "BYTES"}
        bf16 = any(spec.datatype == "BF16" for spec in (*read.values(), *made.values()))
        self.values = (bf16 or bool(kinds.passed & (texts | given))) and kinds.arrays.isdisjoint(given)
        self._mixed = not self.values and not kinds.values.isdisjoint(step.reads)
        if self.values:
            kinds.values.update(step.makes)
        else:
            kinds.arrays.update(texts)

    def __call__(self, tensors: dict[str, Value], options: Any) -> None:
        """Run; what it makes is added to the tensors."""
        try:
            if self.values:
                feeds = {own: as_value(tensors[name]) for own, name in self._feeds}
                made = self._session.run_with_ort_values(feeds, self._outputs, options)
            else:
                feeds = {own: tensors[name] for own, name in self._feeds}
                if self._mixed:
                    feeds = {own: as_array(tensor) for own, tensor in feeds.items()}
                made = self._session.run(self._outputs, feeds, options)
        except Exception as error:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
            raise _StepFailed(self.name, error, has_run=self._has_run) from None
        self._has_run = True
        for place, name in enumerate(self.makes):  # to iterate over values takes 34 us
            tensors[name] = made[place]


class _Call:
    """One step that is a function in Python, ready to be called.

    Args:
        step: of the graph.
        python: its function.
        place: among the functions of the sandbox.
        sandbox: that calls it.
        kinds: how tensors are passed on; what this step makes is added.
    """

    __slots__ = ("_feeds", "_made", "_place", "_sandbox", "makes", "name", "when")

    values = False

    def __init__(
        self, step: Step, python: PythonStep, place: int, sandbox: "Sandbox", kinds: "_Kinds"
    ) -> None:
        self.name, self.makes, self.when = step.name, step.makes, step.when
        self._feeds = tuple((own, str(node.value)) for own, node in step.inputs.items())
        outputs = [spec.name for spec in python.signature.outputs]
        self._made = tuple((outputs.index(own), str(node.value)) for own, node in step.outputs.items())
        self._place, self._sandbox = place, sandbox
        texts = {spec.name for spec in python.signature.outputs if spec.datatype == "BYTES"}
        kinds.arrays.update(str(node.value) for own, node in step.outputs.items() if own in texts)

    def __call__(self, tensors: dict[str, Value], options: Any) -> None:
        """As of `_Run`; it is ended by its own limit, not by what stops onnxruntime."""
        del options
        made = self._sandbox.run(self._place, {own: as_array(tensors[name]) for own, name in self._feeds})
        for place, name in self._made:
            tensors[name] = made[place]


@dataclass(slots=True)
class _Kinds:
    """How the tensors of a graph are passed on.

    Attributes:
        passed: made by a step and read by another.
        arrays: with text, as arrays.
        values: as values.
    """

    passed: set[str]
    arrays: set[str]
    values: set[str] = field(default_factory=set)


def _holds(when: When, tensors: Mapping[str, Value]) -> bool:
    array = as_array(tensors[when.tensor])
    if array.size != 1:
        raise InvalidInput(
            f"the condition {when.tensor!r} has {array.size} values, and a request can go one way only:"
            " send one row in a request"
        )
    return bool(array.reshape(-1)[0]) is when.truth


class Stepped(Measured):
    """A graph whose steps run one after the other, which is a `Runnable`.

    Args:
        graph: its document.
        entry: its configuration, which holds for each step too.
        files: what was read from disk.
        threads: of one run, unless the configuration says otherwise.
        trial: as of `Measured`.
        measured: as of `Measured`.
        why: why it is not one session.

    Attributes:
        dims: of every outer input, in their order, names told apart by step.
        models: each model by its folder; two steps may run the same.

    Raises:
        InvalidModel: a model cannot be opened, they do not fit together, or there are steps in Python that
            the operator does not permit or that cannot be had.
    """

    __slots__ = (
        "__weakref__", "_conditional", "_lends", "_runs", "dims", "form", "identity", "labels", "models",
        "outside", "said", "sha256", "steps",
    )  # fmt: skip

    def __init__(
        self,
        graph: Graph,
        entry: ModelEntry,
        files: ModelFiles,
        threads: int,
        trial: Trial | None = None,
        *,
        measured: bool = True,
        why: str = "",
    ) -> None:
        _refuse_python(graph, entry)
        plain = replace(entry, config=replace(entry.config, labels=()))
        self.models = {
            folder: _opened(folder, plain, own, threads) for folder, own in files_of(graph, files).items()
        }
        try:
            signature = wired(graph, {folder: model.signature for folder, model in self.models.items()})
        except DocumentError as error:
            raise InvalidModel(str(error)) from None
        self.dims = _dims(graph, self.models, signature)
        self.labels = entry.config.labels or labels_of(graph, self.models)
        self.said = {
            f"{folder} {name}": text
            for folder, model in self.models.items()
            for name, text in model.said.items()
        }
        self.identity, self.sha256 = files.identity, files.sha256
        self.form = f"stepped: {why}" if why else "stepped"
        self.steps = tuple(step.name for step in graph.steps)
        made = {tensor for step in graph.steps for tensor in step.makes}
        texts = {spec.name for spec in signature.inputs if spec.datatype == "BYTES"}
        kinds = _Kinds({tensor for step in graph.steps for tensor in step.reads} & made, texts)
        self.outside = _sandbox(graph, files)
        self._runs = _ready(graph, self.models, self.outside, kinds)
        self._lends = any(run.values for run in self._runs)
        self._conditional = graph.conditional
        self._run = self._run_steps
        tensors = (*signature.inputs, *signature.outputs)
        rows = self._conditional is None and all((spec.shape or ())[:1] == (-1,) for spec in tensors)
        super().__init__(
            signature, entry.config, threads, files.warmup, trial, batchable=rows, measured=measured
        )
        if self.outside is not None:
            finalize(self, self.outside.close)  # of one that nobody closed
            self._clock = time.perf_counter  # what another process takes is no time of this thread

    def prepare(self, dependence: str = "") -> int:
        """As `Measured`.

        Raises:
            InvalidModel: batches are asked for, and a step runs on a condition.
        """
        if self._conditional is not None and self._config.batching not in {"auto", 1}:
            raise InvalidModel(f"batching: {on_condition(self._conditional)}; leave it out")
        return super().prepare(dependence)

    def _run_steps(
        self, output_names: Sequence[str], feeds: Mapping[str, Array], options: Any
    ) -> list[Array]:
        given = self._given(feeds)
        tensors: dict[str, Value] = dict(given)
        times: list[float] = []
        before = clock()
        for run in self._runs:
            if run.when is None or _holds(run.when, tensors):
                run(tensors, options)
                now = clock()
                times.append(now - before)
                before = now
            else:
                times.append(0.0)
        return Outputs([as_array(tensors[name]) for name in output_names], times)

    def _given(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        """Arrays that values can borrow, which have to live until the run is over."""
        if not self._lends:
            return feeds
        return {name: np.asarray(array, order="C") for name, array in feeds.items()}

    def _fault(self, error: Exception, feeds: Mapping[str, Array], *, tried: bool) -> ServingError:
        """As `Measured`, with the step that failed."""
        del feeds
        if isinstance(error, ServingError):
            return error
        if not isinstance(error, _StepFailed):
            return failed(error, has_run=tried)
        fault = failed(error.error, has_run=tried or error.has_run)
        if isinstance(fault, ModelFailed):
            return ModelFailed(f"step {error.name!r}: {fault}", f"step {error.name!r}: {fault.reason}")
        return InvalidInput(f"step {error.name!r}: {fault}")


def _refuse_python(graph: Graph, entry: ModelEntry) -> None:
    """See to it that code of a model runs only where that is wanted, and where nobody waits for it.

    Raises:
        InvalidModel: it has steps in Python, and they are not permitted or not where they can be run.
    """
    if not graph.functions:
        return
    step, python = graph.functions[0]
    if not entry.python_steps:
        raise InvalidModel(
            f"step {step.name!r} is Python ({python.named}), and code of models is not run here: start with"
            " --python-steps (UNDERSTUDY_PYTHON_STEPS=true) if you trust whoever can write them"
        )
    if entry.config.execution == "inline":
        raise InvalidModel(
            f"execution: inline: step {step.name!r} is Python, in a process of its own, for which everybody"
            " would wait; leave it out of config.yaml"
        )


def _sandbox(graph: Graph, files: ModelFiles) -> "Sandbox | None":
    """The process of its functions, started; None where it has none."""
    if not graph.functions:
        return None
    steps = [(step.name, python) for step, python in graph.functions]
    from serving.models.python_steps.sandbox import Sandbox  # noqa: PLC0415  (few graphs have any)

    wanted = {location: files.external[location] for _, python in steps for location in python.files}
    return Sandbox(steps, wanted, graph.limits)


def _ready(
    graph: Graph, models: Mapping[str, OnnxModel], sandbox: "Sandbox | None", kinds: _Kinds
) -> tuple[_Run | _Call, ...]:
    runs: list[_Run | _Call] = []
    functions = 0
    for step in graph.steps:
        if step.python is None or sandbox is None:
            runs.append(_Run(step, models[step.folder], kinds))
        else:
            runs.append(_Call(step, step.python, functions, sandbox, kinds))
            functions += 1
    return tuple(runs)


def _opened(folder: str, entry: ModelEntry, files: ModelFiles, threads: int) -> OnnxModel:
    try:
        return OnnxModel(entry, files, threads)
    except InvalidModel as error:
        raise InvalidModel(f"{folder} of the graph: {error}") from None


def labels_of(graph: Graph, models: Mapping[str, Any]) -> tuple[str, ...]:
    """Of the last step whose model names its classes."""
    named = (models[step.folder].labels for step in reversed(graph.models))
    return next(filter(None, named), ())


def on_condition(step: Step) -> str:
    """Why rows are not joined in such a graph."""
    assert step.when is not None
    return f"step {step.name!r} runs on the condition {step.when.tensor!r}, which is of a whole request"


def _dims(graph: Graph, models: Mapping[str, OnnxModel], signature: Signature) -> tuple[Dims | None, ...]:
    """As the first step that reads an input has them; the names of two models say nothing of each other."""
    found: dict[str, Dims | None] = {}
    for step in graph.models:  # functions have no names for lengths
        model = models[step.folder]
        by_name = dict(zip(model.signature.input_by_name, model.dims, strict=False))
        for own, node in step.inputs.items():
            dims = by_name.get(own)
            named = (
                None if dims is None else tuple(f"{step.name} {d}" if isinstance(d, str) else d for d in dims)
            )
            found.setdefault(str(node.value), named)
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    return tuple(_known(found.get(name), shape) for name, shape in shapes.items())


def _known(dims: Dims | None, shape: tuple[int, ...] | None) -> Dims | None:
    """With the lengths that the graph's signature has."""
    if dims is None or shape is None:
        return dims if shape is None else tuple(None if length < 0 else length for length in shape)
    return tuple(dim if length < 0 else length for dim, length in zip(dims, shape, strict=True))
