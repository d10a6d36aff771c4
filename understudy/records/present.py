"""Which files hold the rows, each row once: what a compaction replaced is left out.

Law: a compacted file names in its footer the files whose rows it holds. From the moment when it
has its name it stands for them, though they are removed only after that. Whoever was killed in between left
files that count no more, and the next compaction removes them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa

from router.record.files.footers import COMPACTED, Footer, footer_of, replaced
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
    left = superseded(place, files)
    return [file for file in files if file not in left]


def superseded(place: Place, files: Iterable[RecordFile]) -> set[RecordFile]:
    """Of these files those whose rows a compacted one among them holds; reads the footers of such."""
    given = list(files)
    in_folder = Counter(file.partition for file in given)
    merged = [file for file in given if is_compacted(file) and in_folder[file.partition] > 1]
    footers = {file.name: _footer(place, file) for file in merged}
    names = replaced({name: footer for name, footer in footers.items() if footer is not None})
    return {file for file in given if file.name in names}


def is_compacted(file: RecordFile) -> bool:
    """Whether a compaction made it."""
    return file.name.rpartition("/")[2].startswith(COMPACTED)


def _footer(place: Place, file: RecordFile) -> Footer | None:
    """Of a file; None of one that is gone."""
    try:
        with parquet(place, file) as source:
            return footer_of(source)
    except NotFound:
        return None
