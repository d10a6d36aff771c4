"""Recorded requests read back: hour by hour from the newest, as frames for a sandbox.

Law: of each file the node itself wrote, and of what stands in two files while a compaction cleans up, one. An
hour is looked through once, whatever is taken of it; of a group of rows that is being taken from, the values
stay in memory, no more. All of it blocks: call it in a thread.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from router.answered import Answered
from router.mirror.frame import RECORDED, packed
from router.record.eligible import (
    COLUMNS,
    Mark,
    Picked,
    Wanted,
    encoded,
    headers,
    microseconds,
    next_after,
    unfit,
)
from router.record.files.columns import INPUT, OUTPUT, tensors
from router.record.files.footers import SCHEMA, footer_of, replaced
from router.record.files.layout import folder_of, hour_folder, model_folder
from router.record.files.stores import Store
from serving.wire.message import Call, Reply


class Past:
    """What one rollout may be topped up with, from the log of one node.

    Args:
        store: of the files.
        node: whose files these are; other nodes take care of their own.
        wanted: what the rollout takes.
    """

    def __init__(self, store: Store, node: str, wanted: Wanted) -> None:
        self.unfit: Counter[str] = Counter()
        """Rows that were looked at and are none to run, by why."""
        self._store, self._node, self._wanted = store, node, wanted
        self._hours: list[str] | None = None  # folders to look through, the newest last
        self._picked: list[Picked] = []
        self._group: tuple[tuple[str, int], pa.Table] | None = None

    def take(self, mark: Mark, most: int) -> tuple[Mark, list[Picked]]:
        """As `next_after`; nothing where there is nothing more. Then the next call looks from the newest on.

        Raises:
            pyarrow.ArrowException, OSError: a file cannot be read.
        """
        if self._hours is None:
            self.unfit.clear()
            self._hours = self._folders(mark)
        while True:
            after, taken = next_after(mark, self._picked, most)
            if taken:
                self._picked = [each for each in self._picked if each.at < taken[-1].at]
                return after, taken
            if not self._hours:
                self._hours = None
                return mark, []
            self._picked = list(self._look(self._hours.pop()))

    def frame(self, row: Picked, stage: int, target: str, *, timed: bool) -> bytes | None:
        """A request and its answer for a sandbox; None of one that is larger than may travel.

        Args:
            row: that was taken.
            stage: that it counts in.
            target: stable's key.
            timed: as of `router.mirror.frame.Frame`.

        Raises:
            pyarrow.ArrowException, OSError: its file cannot be read any more.
        """
        whole = self._values(row).slice(row.index, 1)
        raw, key = whole.column("input_raw")[0].as_py(), whole.column("sticky_key_hash")[0].as_py()
        request, json_length = (raw, 0) if raw is not None else encoded("inputs", tensors(whole, INPUT))
        reply = Reply(200, *encoded("outputs", tensors(whole, OUTPUT)))
        call = Call(headers(json_length), request, 0.0)
        unit = int(key, 16) if key and self._wanted.sticky else 0
        receipt = (whole.column("receipt")[0].as_py() or "").encode()
        answered = Answered(call, reply, "stable", target, "stable", stage, unit, 0.0, receipt)
        return packed(self._wanted.model.encode(), answered, timed=timed, said=RECORDED)

    def _folders(self, mark: Mark) -> list[str]:
        model = self._wanted.model
        found = {folder_of(name) for name in self._store.names(model_folder(model))}
        if mark.at is None:
            return sorted(found)
        newest = hour_folder(model, datetime.fromtimestamp(mark.at / 1e6, UTC))
        return sorted(folder for folder in found if folder <= newest)

    def _look(self, folder: str) -> Iterator[Picked]:
        """The rows of an hour that may be run."""
        for name in self._own(folder):
            parquet = pq.ParquetFile(self._store.open(name))
            if not set(COLUMNS) <= set(parquet.schema_arrow.names):
                self.unfit["of an older release"] += parquet.metadata.num_rows
                continue
            for group in range(parquet.num_row_groups):
                rows = parquet.read_row_group(group, columns=list(COLUMNS)).to_pylist()
                for index, row in enumerate(rows):
                    if why := unfit(row, self._wanted):
                        self.unfit[why] += 1
                    else:
                        yield Picked(microseconds(row["request_time"]), name, group, index)

    def _own(self, folder: str) -> Sequence[str]:
        """The files of an hour that this node wrote, without those that another one stands for."""
        footers = {name: footer_of(self._store.open(name)) for name in self._store.names(folder)}
        known = {name: each for name, each in footers.items() if each is not None and each.schema == SCHEMA}
        merged = replaced(known)
        return [name for name, each in known.items() if each.node == self._node and name not in merged]

    def _values(self, row: Picked) -> Any:
        place = row.file, row.group
        if self._group is None or self._group[0] != place:
            self._group = None  # its memory first
            self._group = place, pq.ParquetFile(self._store.open(row.file)).read_row_group(row.group)
        return self._group[1]
