"""Rows as commands name them: a file, `records:` and a place of the log, or what lies beside a model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.errors import InvalidInput
from understudy.offline.data.columns import Columns
from understudy.offline.data.parquet import read_records
from understudy.offline.data.reading import read


@dataclass(frozen=True, slots=True)
class Log:
    """Which requests of the prediction log.

    Args:
        model: the public name that they were sent to.
        since_seconds: only those that arrived at most so long ago; None for all.
        limit: of rows, the latest; None for as many as anybody waits for.
    """

    model: str
    since_seconds: float | None = None
    limit: int | None = None


def columns_asked(rows: str, log: Log, beside: Callable[[], Path], only_of_log: str) -> tuple[Columns, str]:
    """The columns of the rows that are asked for.

    Args:
        rows: as they are named; empty for those beside a model.
        log: which requests, where it is the log.
        beside: says which file lies beside the model.
        only_of_log: why what was asked cannot be, if it is no log; or empty.

    Returns:
        The columns, and in words what of the log was left out.

    Raises:
        ServingError: they cannot be read; or `only_of_log`.
    """
    scheme, colon, place = rows.partition(":")
    if scheme == "records" and colon:
        return read_records(place, log.model, log.since_seconds, log.limit)
    if only_of_log:
        raise InvalidInput(only_of_log)
    return read(Path(rows) if rows else beside()), ""
