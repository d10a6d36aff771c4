"""Small files of closed hours into one each: queries open fewer files, and each says more of its rows.

Law: wherever it is killed, each row counts once (`understudy.records.present`), and nothing is lost. A merged
file is written beside, is on the disk before it has its name, and names in its footer what it stands for: to
take the name is the one step that changes what counts. The small files go after it; those that an earlier
compaction left go first. Rows stay as they are, and the accounts in the footers are merged with them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from router.record.account import Account
from router.record.files.columns import FIXED, MAX_TENSORS
from router.record.files.footers import COMPACTED, LEVEL, SCHEMA, Footer, footer_of, metadata_of
from serving.errors import InvalidInput
from understudy.records.listing import later
from understudy.records.place import Place, RecordFile, Wanted
from understudy.records.present import parquet, superseded

SMALL_BYTES: Final = 64 << 20
"""Larger files stay as they are."""
SETTLED: Final = timedelta(minutes=15)
"""How long after an hour's end it is taken to be closed. Rows that come later are in files of their own."""
MAX_COLUMNS: Final = len(FIXED) + 2 * MAX_TENSORS
_GROUP_BYTES: Final = 64 << 20
"""Of rows in memory at a time, which become one row group."""
_BATCH_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class Compaction:
    """What was merged into one file.

    Attributes:
        partition: folder of the files, below the place.
        files: that were merged.
        rows: of all.
        bytes_before: of the files.
        bytes_after: of the one file.
    """

    partition: str
    files: int
    rows: int
    bytes_before: int
    bytes_after: int


def compact(place: Place, wanted: Wanted, now: datetime) -> Iterator[Compaction]:
    """Merge what is wanted and of a closed hour, telling of each merge when it is done.

    Args:
        place: of which one compaction at a time.
        wanted: of which files.
        now: UTC; hours that ended `SETTLED` before are closed.

    Raises:
        Conflict: another compaction is at work in this folder.
        ServingError: a file cannot be read or written.
    """
    with place.held() as beside:
        files = [file for file in place.files() if file in wanted]
        left = superseded(place, files)
        for file in left:
            place.remove(file)
        closed = [file for file in files if file not in left and _is_closed(file, now)]
        for group in _groups(place, closed):
            yield _merge(place, group, beside / "merged")


def _is_closed(file: RecordFile, now: datetime) -> bool:
    return file.hour + timedelta(hours=1) + SETTLED <= now


@dataclass(slots=True)
class _Group:
    """Files that can be one: no column of one is of another type in the others."""

    schema: pa.Schema
    files: list[RecordFile]

    def takes(self, schema: pa.Schema) -> bool:
        mine = self.schema
        known = [field for field in schema if field.name in mine.names]
        fits = all(field.equals(mine.field(field.name), check_metadata=True) for field in known)
        return fits and len(mine) + len(schema) - len(known) <= MAX_COLUMNS

    def add(self, file: RecordFile, schema: pa.Schema) -> None:
        new = [field for field in schema if field.name not in self.schema.names]
        self.schema = pa.schema([*self.schema, *new])
        self.files.append(file)


def _groups(place: Place, files: Iterable[RecordFile]) -> Iterator[_Group]:
    """What is to be merged: groups of at least two small files of one partition."""
    partitions: dict[str, list[RecordFile]] = defaultdict(list)
    for file in files:
        if file.bytes < SMALL_BYTES:
            partitions[file.partition].append(file)
    for partition in partitions.values():
        groups: list[_Group] = []
        for file in partition if len(partition) > 1 else ():
            with parquet(place, file) as source:
                schema = pq.read_schema(source).remove_metadata()
            group = next((group for group in groups if group.takes(schema)), None)
            if group is None:
                group = _Group(pa.schema([]), [])
                groups.append(group)
            group.add(file, schema)
        yield from (group for group in groups if len(group.files) > 1)


def _merge(place: Place, group: _Group, written: Path) -> Compaction:
    """Make one file of a group and take the others away."""
    names = sorted(file.name.rpartition("/")[2] for file in group.files)
    partition = group.files[0].partition
    # The same files have the same name: a second try cannot double what the first one did.
    name = f"{partition}/{COMPACTED}{blake2b('/'.join(names).encode(), digest_size=8).hexdigest()}.parquet"
    footer = _write(place, group, names, written)
    size = written.stat().st_size
    place.put(name, written)
    for file in group.files:
        place.remove(file)
    before = sum(file.bytes for file in group.files)
    return Compaction(partition, len(names), sum(footer.rows.values()), before, size)


def _write(place: Place, group: _Group, names: Sequence[str], path: Path) -> Footer:
    """Write the rows of all, and give the footer."""
    footers = []
    for file in group.files:
        with parquet(place, file) as source:
            footer = footer_of(source)
        if footer is None or footer.schema != SCHEMA:
            raise InvalidInput(
                f"{file.name}: no log writer of this release wrote it; take it out of the folder"
            )
        footers.append(footer)
    footer = merged(footers, names)
    schema = group.schema.with_metadata(metadata_of(footer))
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=LEVEL) as writer:
        for table in _tables(place, group):
            writer.write_table(table)
    return footer


def _tables(place: Place, group: _Group) -> Iterator[pa.Table]:
    """The rows of all, in pieces that fit into memory; where a file has not a column, with nulls."""
    empty = group.schema.empty_table()
    held: list[pa.Table] = []
    for file in group.files:
        with parquet(place, file) as source:
            for batch in pq.ParquetFile(source).iter_batches(_BATCH_ROWS):
                held.append(pa.Table.from_batches([batch]).replace_schema_metadata(None))
                if sum(table.nbytes for table in held) >= _GROUP_BYTES:
                    yield pa.concat_tables([empty, *held], promote_options="default")
                    held = []
    if held:
        yield pa.concat_tables([empty, *held], promote_options="default")


def merged(footers: Sequence[Footer], names: Sequence[str]) -> Footer:
    """The footer of one file that stands for several of one model.

    Rows add up; of the accounts of a process the last ones stay.

    Args:
        footers: of the files.
        names: of the files, in their folder.
    """
    rows: Counter[str] = Counter()
    accounts: dict[str, Account] = {}
    for footer in footers:
        rows.update(footer.rows)
        for instance, account in footer.accounts.items():
            accounts[instance] = later(accounts.get(instance, Account()), account)
    nodes = ", ".join(sorted({node for footer in footers for node in footer.node.split(", ")}))
    replaced = tuple(sorted({*names, *(name for footer in footers for name in footer.replaces)}))
    return replace(footers[0], node=nodes, rows=dict(rows), accounts=accounts, replaces=replaced)
