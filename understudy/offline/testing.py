"""From what a command asks to the outcome of a test: files read, models opened, run and judged."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from router.rollout.values import Rollout
from serving.clock import clock
from serving.errors import InvalidInput
from serving.places import Origin, beside
from understudy.offline.data.asked import Log, columns_asked
from understudy.offline.data.columns import Columns
from understudy.offline.data.reading import READERS, read
from understudy.offline.data.rows import LABELS, Rows, label_values, rows_of
from understudy.offline.differential import differential
from understudy.offline.outcome import Tested
from understudy.offline.running import open_model

Note = Callable[[str, int, int], None]
"""Is told what is being done, and how many of how many rows are done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be tested.

    Args:
        models: where they come from.
        base: `name/version`.
        candidate: likewise.
        on: where the rows are: a file, or `records:` and a place of the prediction log.
        labels: a column, or a file; empty for the column `labels`, where there is one.
        rollout: whose rules and guards judge; None for the defaults.
        limit: of rows; None for all of a file.
        since_seconds: of the log, only requests that arrived at most so long ago.
        threads: of one run of a model.
        timing_seconds: how long the two are timed at most.
    """

    models: Path | Origin
    base: str
    candidate: str
    on: str
    labels: str = ""
    rollout: Rollout | None = None
    limit: int | None = None
    since_seconds: float | None = None
    threads: int = 1
    timing_seconds: float = 10.0


def outcome(wanted: Wanted, note: Note = lambda _what, _done, _total: None) -> Tested:
    """Test a candidate.

    Raises:
        ServingError: a file or a model cannot be used; says which, where, and what would do.
    """
    began = clock()
    columns, left_out = _columns(wanted)
    base = open_model(wanted.models, wanted.base, wanted.threads)
    candidate = open_model(wanted.models, wanted.candidate, wanted.threads)
    of_file = Path(wanted.labels).suffix.lower() in READERS
    rows = rows_of(columns, base.model.signature, None if of_file else wanted.labels or None)
    if of_file:
        rows = replace(rows, labels=_labels(Path(wanted.labels), rows, wanted.limit))
    every = max(len(rows) // 200, 1)

    def noted(what: str, done: int) -> None:
        if done % every == 0 or done == len(rows):
            note(what, done, len(rows))

    found = differential(base, candidate, rows, wanted.rollout, wanted.timing_seconds, noted)
    notes = (*found.notes, *([left_out] if left_out else []))
    return replace(found, notes=notes, seconds=clock() - began)


def _columns(wanted: Wanted) -> tuple[Columns, str]:
    """The columns that are asked for, and in words what was left out."""
    model = wanted.candidate.partition("/")[0] if wanted.rollout is None else wanted.rollout.model
    wrong = "--since goes with --on records:PLACE; a file is read whole"
    found, left_out = columns_asked(
        wanted.on,
        Log(model, wanted.since_seconds, wanted.limit),
        lambda: _beside(wanted),
        "" if wanted.since_seconds is None else wrong,
    )
    return found.first(wanted.limit), left_out


def _beside(wanted: Wanted) -> Path:
    """The rows that lie beside the base."""
    name = wanted.base.partition("/")[0]
    path = beside(wanted.models, name, "heldout.npz")
    if path is None:
        raise InvalidInput(f"on which rows? name a file by --on; there is no {name}/heldout.npz in a folder")
    return path


def _labels(path: Path, rows: Rows, limit: int | None) -> list[object]:
    """The labels in a file of their own, row by row: its only column, or the one called `labels`."""
    columns = read(path).first(limit)
    name = LABELS if LABELS in columns.by_name else next(iter(columns.by_name))
    if len(columns.by_name) > 1 and name != LABELS:
        raise InvalidInput(f"{path}: which column has the labels? call it {LABELS}; it has {columns.named()}")
    if columns.rows != len(rows):
        raise InvalidInput(f"{path}: {columns.rows} labels for {len(rows)} rows of {rows.columns.file}")
    return label_values(columns, name)
