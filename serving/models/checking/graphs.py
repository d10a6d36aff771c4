"""Trying a graph: its models opened and wired, made into one where that can be, and held against each other.

Law: one session serves a graph only if it answered, on all input that the two were tried with, what its steps
answer one after the other; where that was not bit for bit, the report says by how much.
"""

from collections.abc import Callable, Sequence
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
        stepped: what a fused one is held against; None for one that is not.
        fused: the bytes that a fused one was made of.
        form: as of `Runnable`.
        dependence: tells why a row may influence another one's result.
    """

    model: OnnxModel | Stepped
    graphs: Sequence[bytes]
    dependence: Callable[[], str]
    stepped: Stepped | None = None
    fused: bytes = b""
    form: str = ""


def opened(entry: ModelEntry, files: ModelFiles, threads: int, *, fuse: bool) -> Opened:
    """Open a model, of whichever kind.

    Args:
        entry: which one.
        files: of it.
        threads: of one run.
        fuse: whether one session may be tried for a graph.

    Raises:
        InvalidModel: it cannot be opened.
    """
    if entry.path.name != GRAPH_FILE:
        content, _ = unfolded(files.content)
        return Opened(OnnxModel(entry, files, threads), (content,), lambda: prove(content).reason)
    graph = parse_graph(files.content, f"{entry.name}/{entry.version}/{GRAPH_FILE}")
    models = {folder: unfolded(own.content)[0] for folder, own in files_of(graph, files).items()}
    stepped = Stepped(graph, entry, files, threads)
    why = "its fused form ended the process that checks models"
    if fuse:
        try:
            content = fused(graph, models, stepped.signature)
            model = one_session(entry, files, content, threads)
        except Unfusable as error:
            why = str(error)
        except InvalidModel as error:
            why = f"as one session {error}"
        else:
            if model.signature == stepped.signature:
                return Opened(model, (content,), lambda: prove(content).reason, stepped, content, FUSED)
            why = "as one session it takes or gives something else"
    stepped.form = f"stepped: {why}"
    return Opened(stepped, tuple(models.values()), lambda: _dependence(graph, models), form=stepped.form)


def as_steps(on_trial: Opened, entry: ModelEntry, files: ModelFiles, why: str) -> Opened:
    """The same graph, step by step."""
    assert on_trial.stepped is not None
    graph = parse_graph(files.content, f"{entry.name}/{entry.version}/{GRAPH_FILE}")
    models = {folder: unfolded(own.content)[0] for folder, own in files_of(graph, files).items()}
    on_trial.stepped.form = f"stepped: {why}"
    return Opened(
        on_trial.stepped,
        tuple(models.values()),
        lambda: _dependence(graph, models),
        form=on_trial.stepped.form,
    )


def _dependence(graph: Graph, models: dict[str, bytes]) -> str:
    """Steps of which no row influences another one's result make a graph of that kind.

    By induction over the steps: each takes tensors of one row for each row of the request, and makes such.
    """
    if graph.conditional is not None:
        return on_condition(graph.conditional)
    verdicts = {folder: prove(content) for folder, content in models.items()}
    for step in graph.steps:
        verdict = verdicts[step.folder]
        if not verdict.independent:
            return f"step {step.name!r}: {verdict.reason}"
    return ""


# ------------------------------------------------------------------ one session and its steps


def difference(one: Measured, other: Measured) -> float | None:
    """How far two forms of a graph are apart on what the first is warmed with, and on rows that differ.

    Returns:
        The largest relative difference of two numbers; 0.0 where all are equal bit for bit; None where they
        differ by more than rounding.
    """
    worst = 0.0
    names = [spec.name for spec in one.signature.outputs]
    for feeds in one.tried_with():
        try:
            pairs = zip(one.run(feeds, names), other.run(feeds, names), strict=True)
            for ours, theirs in pairs:
                found = _apart(ours, theirs)
                if found is None:
                    return None
                worst = max(worst, found)
        except ServingError:
            continue  # one row ran; what more of them do is shown when they are tried together
    return worst


def _apart(one: Array, other: Array) -> float | None:
    if one.shape != other.shape or one.dtype != other.dtype:
        return None
    if one.dtype.hasobject or one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else None
    if one.tobytes() == other.tobytes() or np.array_equal(one, other, equal_nan=True):
        return 0.0
    if not np.allclose(one, other, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True):
        return None
    gap = np.abs(one.astype("f8") - other.astype("f8"))
    return float(np.nanmax(gap / np.maximum(np.abs(other.astype("f8")), ABSOLUTE)))
