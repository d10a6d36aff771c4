"""Which files hold the rows, each row once: what a compaction replaced is left out.

Law: a compacted file names in its footer the files whose rows it holds. From the moment when it
has its name it stands for them, though they are removed only after that. Whoever was killed in between left
files that count no more, and the next compaction removes them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from router.record.files.footers import COMPACTED, footer_of
from serving.errors import InvalidInput, NotFound
from understudy.records.place import Place, RecordFile, Wanted


@contextmanager
def parquet(place: Place, file: RecordFile) -> Iterator[BinaryIO]:
    """Open a file for whoever reads it as Parquet.

    Raises:
        NotFound: it is gone.
        InvalidInput: it cannot be read as that.
    """
    with place.open(file) as source:
        try:
            yield source
        except pa.ArrowException as error:
            why = str(error).partition("\n")[0]
            raise InvalidInput(
                f"{file.name}: not a whole Parquet file; take it out of the folder: {why}"
            ) from None


def present(place: Place, wanted: Wanted = Wanted()) -> list[RecordFile]:  # noqa: B008  (immutable)
    """The files that are wanted, the oldest hour first.

    Raises:
        ServingError: the place cannot be read.
    """
    files = [file for file in place.files() if file in wanted]
    replaced = superseded(place, files)
    return [file for file in files if file not in replaced]


def superseded(place: Place, files: Iterable[RecordFile]) -> set[RecordFile]:
    """Of these files those whose rows a compacted one among them holds; reads the footers of such."""
    partitions: dict[str, dict[str, RecordFile]] = defaultdict(dict)
    for file in files:
        partitions[file.partition][file.name] = file
    found = set()
    for partition, by_name in partitions.items():
        if len(by_name) == 1:
            continue
        for file in by_name.values():
            if is_compacted(file):
                names = (f"{partition}/{name}" for name in replaced_by(place, file))
                found |= {by_name[name] for name in names if name in by_name}
    return found


def is_compacted(file: RecordFile) -> bool:
    """Whether a compaction made it."""
    return file.name.rpartition("/")[2].startswith(COMPACTED)


def replaced_by(place: Place, file: RecordFile) -> Sequence[str]:
    """Names, in its folder, of the files whose rows it holds; none where it is gone."""
    try:
        with parquet(place, file) as source:
            footer = footer_of(source)
    except NotFound:
        return ()
    return () if footer is None else footer.replaces
