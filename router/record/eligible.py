"""Which recorded requests a candidate may be topped up with, and how far that has come. Pure.

Law: what is run again was answered by stable with the bytes that stable has now, is whole, and was drawn as
live requests are. It was recorded before the first stage of the evidence, so nobody has mirrored it into
that, and it is run at most once for it: the newest first, behind a mark that only goes back in time and is
written down before anything beyond it is run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from serving.wire.message import JSON_LENGTH_HEADER
from serving.wire.tensors import Array, datatype_of, to_bytes

COLUMNS: Final = (
    "kind", "role", "drawn", "forced", "refused", "stage", "digest", "status_code", "whole",
    "sticky_key_hash", "request_time",
)  # fmt: skip
"""Of a row: what is looked at."""


class Wanted(NamedTuple):
    """What a rollout takes.

    Attributes:
        model: the public name.
        before_stage: only what was recorded in an earlier one: the first stage of the evidence.
        digest: SHA-256 of stable's bytes.
        sticky: whether users count, so that a request without its user's key is none.
    """

    model: str
    before_stage: int
    digest: str
    sticky: bool


class Mark(NamedTuple):
    """How far back requests have been run.

    Attributes:
        before_stage: of the evidence, as of `Wanted`.
        at: microseconds since 1970: what came then or later is done with. None before the first.
    """

    before_stage: int
    at: int | None


@dataclass(frozen=True, slots=True, order=True)
class Picked:
    """A row that may be run; the latest is the greatest.

    Attributes:
        at: when its request arrived, microseconds since 1970.
        file: that it is in.
        group: of rows in the file.
        index: in the group.
    """

    at: int
    file: str
    group: int
    index: int


def unfit(row: Mapping[str, Any], wanted: Wanted) -> str:
    """Why a row is none to run, in words; empty of one that is.

    Args:
        row: of `COLUMNS`, each None where nothing is known.
        wanted: what the rollout takes.
    """
    if row["kind"] != "request" or row["role"] != "stable" or row["drawn"] == "canary":
        return "not drawn to stable"
    if row["status_code"] != 200 or row["refused"]:
        return "without a good answer"
    if row["forced"]:
        return "of clients that named their target"
    if row["stage"] is None or row["stage"] >= wanted.before_stage:
        return "recorded since the evidence began"
    if not row["digest"] or row["digest"] != wanted.digest:
        return "answered by other bytes than stable has now"
    if not row["whole"]:
        return "redacted, or with inputs or outputs left out"
    if wanted.sticky and not row["sticky_key_hash"]:
        return "without a user's key"
    return ""


def microseconds(at: datetime) -> int:
    """Since 1970, exact."""
    apart = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (apart.days * 86_400 + apart.seconds) * 1_000_000 + apart.microseconds


def next_after(mark: Mark, picked: list[Picked], most: int) -> tuple[Mark, list[Picked]]:
    """Take the newest rows behind a mark, and move it past them.

    Args:
        mark: where it stands.
        picked: in any order.
        most: rows to take.

    Returns:
        The mark that is to be written down before any of the rows is run, and the rows, newest first.
    """
    left = sorted((each for each in picked if mark.at is None or each.at < mark.at), reverse=True)
    taken = left[:most]
    return (Mark(mark.before_stage, taken[-1].at) if taken else mark), taken


def reason(unfit_rows: Counter[str]) -> str:
    """Why nothing is run now, in words, from why rows are none to run."""
    if not unfit_rows:
        return "the prediction log of this node has no further requests"
    told = ", ".join(f"{count:,} {why}" for why, count in unfit_rows.most_common(3))
    return f"no further recorded request of this node fits: {told}"


def encoded(side: str, tensors: Mapping[str, Array]) -> tuple[bytes, int]:
    """A body of the Open Inference Protocol with binary tensors, and its length of JSON.

    Args:
        side: `inputs` or `outputs`.
        tensors: by name.
    """
    parts = list(_parts(tensors))
    head = orjson.dumps({side: [said for said, _ in parts]})
    return b"".join((head, *(data for _, data in parts))), len(head)


def _parts(tensors: Mapping[str, Array]) -> Iterator[tuple[dict[str, Any], memoryview]]:
    for name, array in tensors.items():
        data = to_bytes(array)
        said = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        yield {**said, "parameters": {"binary_data_size": data.nbytes}}, data


def headers(json_length: int) -> dict[bytes, bytes]:
    """Of a request with such a body."""
    return {JSON_LENGTH_HEADER: b"%d" % json_length}
