"""Trying a graph: its models opened and wired, made into one where that can be, and held against each other.

Law: one session serves a graph only if it answered, on all input that the two were tried with, what its steps
answer one after the other; where that was not bit for bit, the report says by how much.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.errors import InvalidModel, ServingError
from serving.models.files.graph_bytes import unfolded
from serving.models.files.graph_file import GRAPH_FILE, Graph, parse_graph
from serving.models.files.repository import ModelEntry, ModelFiles
from serving.models.graphs.fusing import Unfusable, fused
from serving.models.graphs.loading import one_session
from serving.models.graphs.stepped import Stepped, files_of, on_condition
from serving.models.independence.proof import prove
from serving.models.session.measured import Array, Measured
from serving.models.session.onnx_model import OnnxModel

FUSED = "fused"
RELATIVE, ABSOLUTE = 1e-3, 1e-4
"""What rounding may make of one answer (`serving.models.session.measured`)."""


@dataclass(slots=True)
class Opened:
    """A model on trial.

    Attributes:
        model: that is tried.
        graphs: the ONNX files in it, ZipMaps unfolded.
        dependence: tells why a row may influence another one's result.
        form: as of `Runnable`.
        fused: the bytes that a fused graph was made of.
        steps: a fused graph step by step, and why it is to be.
    """

    model: OnnxModel | Stepped
    graphs: Sequence[bytes]
    dependence: Callable[[], str]
    form: str = ""
    fused: bytes = b""
    steps: "tuple[Stepped, Callable[[str], Opened]] | None" = None

    def close(self) -> None:
        """End the process of its steps in Python, if it has any."""
        if self.model.outside is not None:
            self.model.outside.close()


def opened(entry: ModelEntry, files: ModelFiles, threads: int, began: Callable[[], object] | None) -> Opened:
    """Open a model, of whichever kind.

    Args:
        entry: which one.
        files: of it.
        threads: of one run.
        began: called before one session is tried for a graph; None tries none.

    Raises:
        InvalidModel: it cannot be opened.
    """
    if entry.path.name != GRAPH_FILE:
        content, _ = unfolded(files.content)
        return Opened(OnnxModel(entry, files, threads), (content,), lambda: prove(content).reason)
    graph = parse_graph(files.content, f"{entry.name}/{entry.version}/{GRAPH_FILE}")
    models = {folder: unfolded(own.content)[0] for folder, own in files_of(graph, files).items()}
    stepped = Stepped(graph, entry, files, threads)
    given = _given_weight(graph, stepped)

    def as_steps(why: str) -> Opened:
        stepped.form = f"stepped: {why}"
        parts = tuple(models.values())
        return Opened(stepped, parts, lambda: _dependence(graph, models, given), stepped.form)

    if began is None and not graph.functions:
        return as_steps("its fused form ended the process that checks models")
    try:
        content = fused(graph, models, stepped.signature)
        assert began is not None  # a graph with functions is not fused
        began()
        model = one_session(entry, files, content, threads)
    except Unfusable as error:
        return as_steps(str(error))
    except InvalidModel as error:
        return as_steps(f"as one session {error}")
    if model.signature != stepped.signature:
        return as_steps("as one session it takes or gives something else")
    return Opened(model, (content,), lambda: prove(content).reason, FUSED, content, (stepped, as_steps))


# ------------------------------------------------------------------ rows


def _given_weight(graph: Graph, stepped: Stepped) -> str:
    """Why nothing is proven of a step by its model: it is given what the proof takes for a constant."""
    for step in graph.models:
        inputs = stepped.models[step.folder].signature.input_by_name
        for own in step.inputs:
            if inputs[own].optional:
                return f"step {step.name!r} is given the weight {own!r} of {step.folder}"
    return ""


def _dependence(graph: Graph, models: Mapping[str, bytes], given: str) -> str:
    """Steps of which no row influences another one's result make a graph of that kind.

    By induction over the steps: each takes tensors of one row for each row of the request, and makes such.
    """
    if graph.conditional is not None:
        return on_condition(graph.conditional)
    if given:
        return given
    for step, python in graph.functions:
        if not python.independent:
            return (
                f"step {step.name!r} is Python, of which nothing can be proven (`independent: true` in it"
                " states that no row influences another one's result)"
            )
    verdicts = {folder: prove(content) for folder, content in models.items()}
    for step in graph.models:
        verdict = verdicts[step.folder]
        if not verdict.independent:
            return f"step {step.name!r}: {verdict.reason}"
    return ""


# ------------------------------------------------------------------ one session and its steps


def difference(one: Measured, other: Measured) -> float | None:
    """How far two forms of a graph are apart on what the first is warmed with, and on rows that differ.

    Returns:
        The largest relative difference of two numbers; 0.0 where all are equal bit for bit; None where they
        differ by more than rounding, or where one fails and the other does not.
    """
    worst = 0.0
    names = [spec.name for spec in one.signature.outputs]
    for feeds in one.tried_with():
        ours, theirs = _ran(one, feeds, names), _ran(other, feeds, names)
        if (ours is None) is not (theirs is None):
            return None
        for mine, its in zip(ours or (), theirs or (), strict=True):
            found = _apart(mine, its)
            if found is None:
                return None
            worst = max(worst, found)
    return worst


def _ran(model: Measured, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array] | None:
    try:
        return model.run(feeds, names)
    except ServingError:
        return None


def _apart(one: Array, other: Array) -> float | None:
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else None
    if one.tobytes() == other.tobytes() or np.array_equal(one, other, equal_nan=True):
        return 0.0
    if not np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
        return None
    gap = np.abs(one.astype("f8") - other.astype("f8"))
    return float(np.nanmax(gap / np.maximum(np.abs(other.astype("f8")), ABSOLUTE)))
