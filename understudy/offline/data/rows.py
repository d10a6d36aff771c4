"""Columns and a signature -> requests, labels, and what else is known of each row. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np

from serving.errors import InvalidInput
from serving.wire.tensors import Array, Signature, TensorSpec
from understudy.offline.data.columns import Columns
from understudy.offline.data.tensors import of_cells, of_elements

LABELS = "labels"
"""The column that has the labels where nobody says which."""
ALONE = "inputs"
"""What the rows of a model with one input may be called, as in the `heldout.npz` beside a model."""
LOGGED = "input_"
"""Before the names of inputs in the prediction log."""
SHAPE = "_shape"
"""Behind them, where the shape of each row stands there."""
RAW = "input_raw"
"""The column of bodies that nobody could read as tensors."""
RECORDED = "record them by `record: {inputs: true}`, and keep them out of `redact`"
"""What to do about inputs that the log does not have."""
_OF_THE_LOG = frozenset({
    "receipt", "request_id", "client_request_id", "request_time", "model", "drawn", "forced", "digest",
    "revision", "stage", "status_code", "error", "duration_us", "sampling_fraction", "propensity",
    "sticky_key_hash", "agreed", "differences", "version", "target", "role", "kind", RAW,
    "logging_error",
})  # fmt: skip
"""Columns of the prediction log that say how a request was answered, and nothing of whom it came from."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a file as requests.

    Args:
        columns: where they come from.
        feeds: of each row an array by input.
        labels: the truth for each row; None where it is not known.
        further: by name, what else is known of each row.
    """

    columns: Columns
    feeds: Sequence[Mapping[str, Array]]
    labels: Sequence[Any] | None = None
    further: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.feeds)


class Source(NamedTuple):
    """Where the values of an input stand.

    Args:
        names: a column, or one for each element, from the first on.
        whole: whether one column has all of it in each cell.
    """

    names: tuple[str, ...]
    whole: bool


def sources_of(columns: Columns, signature: Signature) -> dict[str, Source]:
    """Where each input stands; an optional one that is not there is left out.

    Raises:
        InvalidInput: an input that is needed has no column; names the remedy.
    """
    found: dict[str, Source] = {}
    for spec in signature.inputs:
        alone = _column_of(spec, signature, columns)
        names = [alone] if alone is not None else _elements_of(spec, columns)
        if names:
            found[spec.name] = Source(tuple(names), alone is not None)
        elif not spec.optional:
            raise InvalidInput(_missing(spec, columns))
    return found


def rows_of(columns: Columns, signature: Signature, labels: str | None = None) -> Rows:
    """Read the rows of a file.

    Args:
        columns: of the file.
        signature: of the model whose inputs they are.
        labels: the column of labels; None takes `LABELS` where there is such a one.

    Raises:
        InvalidInput: an input has no column, or a value does not fit; names the place and the remedy.
    """
    sources = sources_of(columns, signature)
    used = {name for source in sources.values() for name in source.names}
    tensors = {
        name: _tensors(columns, source, signature.input_by_name[name]) for name, source in sources.items()
    }
    if labels is not None and labels not in columns.by_name:
        raise InvalidInput(f"{columns.file}: no column {labels!r} for labels; it has {columns.named()}")
    name = labels or (LABELS if LABELS in columns.by_name else None)
    truth = None if name is None or name in used else label_values(columns, name)
    used.update({name} if name is not None else ())
    feeds = [{name: of[row] for name, of in tensors.items()} for row in range(columns.rows)]
    return Rows(columns, feeds, truth, _further(columns, used))


def _tensors(columns: Columns, source: Source, spec: TensorSpec) -> list[Array]:
    """An input of each row."""
    if not source.whole:
        return of_elements(columns, source.names, spec)
    [name] = source.names
    return of_cells(columns, name, spec, name + SHAPE if name.startswith(LOGGED) else None)


def label_values(columns: Columns, name: str) -> list[Any]:
    """The values of a column of labels, one for each row.

    Raises:
        InvalidInput: a row has several, or none.
    """
    values: list[Any] = []
    for row, cell in enumerate(columns.by_name[name]):
        found = cell.ravel().tolist() if isinstance(cell, np.ndarray | np.generic) else cell
        if isinstance(found, list):
            if len(found) != 1:
                columns.refuse(row, name, f"{len(found)} labels; a row has one")
            found = found[0]
        if found is None or found == "":
            columns.refuse(row, name, "no label; leave out rows without, or name another column by --labels")
        values.append(found)
    return values


def _column_of(spec: TensorSpec, signature: Signature, columns: Columns) -> str | None:
    """The column that has an input in each cell."""
    alone = [ALONE] if len(signature.inputs) == 1 else []
    return next((name for name in (spec.name, LOGGED + spec.name, *alone) if name in columns.by_name), None)


def _elements_of(spec: TensorSpec, columns: Columns) -> list[str]:
    """The columns that have an element of an input each, from the first on; none where there are none."""
    for name in (spec.name, LOGGED + spec.name):
        for form in ("{}[{}]", "{}_{}"):
            names = list(takewhile(columns.by_name.__contains__, (form.format(name, at) for at in count())))
            if names:
                return names
    return []


def _missing(spec: TensorSpec, columns: Columns) -> str:
    logged = ", ".join(name for name in columns.by_name if name.startswith(LOGGED) and name != RAW)
    if logged:
        return f"{columns.file}: the input {spec.name!r} is not in it, but {logged}; {RECORDED}"
    return (
        f"{columns.file}: no column for the input {spec.name!r}; name one {spec.name} with a list in each"
        f" row, or one for each element, {spec.name}[0], {spec.name}[1] and so on; it has {columns.named()}"
    )


def _further(columns: Columns, used: set[str]) -> dict[str, Sequence[Any]]:
    """Columns of numbers or text that are neither inputs nor labels nor answers that somebody logged."""
    return {
        name: cells.tolist() if isinstance(cells, np.ndarray) else cells
        for name, cells in columns.by_name.items()
        if name not in used
        and name not in _OF_THE_LOG
        and not name.startswith(("output_", LOGGED))
        and (not isinstance(cells, np.ndarray) or cells.ndim == 1)
        and not isinstance(cells[0], list | dict)
    }
