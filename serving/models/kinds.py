"""The kinds of model: what a version is, by the name of the file that says so.

A kind knows how its models are verified and how one is loaded; whoever serves, times or lists models asks
here and names no kind. A new one is a module with its `Runnable`, the name of its file in
`serving.models.files.repository.DEFINITIONS`, and a line of `KINDS`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from serving.models.checking import verify as onnx
from serving.models.checking.verify import Report
from serving.models.files.graph_file import GRAPH_FILE
from serving.models.files.repository import MODEL_FILE, ModelEntry
from serving.models.runnable import Runnable


class Kind(Protocol):
    """One kind of model."""

    def verify(self, entries: Sequence[ModelEntry], threads: int, cache: Path | None) -> list[Report]:
        """As the function `verify`, of models of this kind."""

    def load(self, entry: ModelEntry, threads: int, report: Report) -> Runnable:
        """As the function `load`."""


class _Onnx:
    """`model.onnx`: a session of onnxruntime, tried in a process with limits."""

    def verify(self, entries: Sequence[ModelEntry], threads: int, cache: Path | None) -> list[Report]:
        """As `Kind`."""
        return onnx.verify(entries, threads, cache)

    def load(self, entry: ModelEntry, threads: int, report: Report) -> Runnable:
        """As `Kind`."""
        from serving.models.session.onnx_model import OnnxModel  # noqa: PLC0415  (slow, and not to verify)

        return OnnxModel.load(entry, threads, report.sha256, report.trial, measured=not report.unmeasured)


class _Graph(_Onnx):
    """`graph.yaml`: models in one session where they could be made one, else session after session."""

    def load(self, entry: ModelEntry, threads: int, report: Report) -> Runnable:
        """As `Kind`."""
        from serving.models.graphs.loading import load  # noqa: PLC0415  (as above)

        return load(
            entry, threads, report.sha256, report.trial, report.fused, report.form,
            measured=not report.unmeasured,
        )  # fmt: skip


KINDS: dict[str, Kind] = {MODEL_FILE: _Onnx(), GRAPH_FILE: _Graph()}


def verify(entries: Sequence[ModelEntry], threads: int = 1, cache: Path | None = None) -> list[Report]:
    """Check models, each as its kind is checked; blocks for as long as that takes.

    Args:
        entries: which ones.
        threads: of one run, unless a configuration says otherwise.
        cache: a folder that remembers what passed; None remembers nothing.

    Returns:
        A report for every entry, in their order.

    Raises:
        ServingError: they could not be checked at all.
    """
    reports: dict[int, Report] = {}
    for file, kind in KINDS.items():
        places = [place for place, entry in enumerate(entries) if entry.path.name == file]
        if places:
            found = kind.verify([entries[place] for place in places], threads, cache)
            reports.update(zip(places, found, strict=True))
    return [reports[place] for place in range(len(entries))]


def load(entry: ModelEntry, threads: int, report: Report) -> Runnable:
    """Read a model and make it ready to run, not yet warm; blocks.

    Args:
        entry: what to load.
        threads: of one run, unless its configuration says otherwise.
        report: of its verification, which it passed; files that have changed since are refused.

    Raises:
        InvalidModel: it cannot be read, has changed, is corrupt, or of a kind that cannot be served.
    """
    return KINDS[entry.path.name].load(entry, threads, report)
