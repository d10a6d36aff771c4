"""Files of the prediction log, and what their footers say: whose rows are in them, how accounts stood."""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from router.record.account import Account
from router.record.files.layout import folder_of

SCHEMA: Final = 1
"""Of the files: raised when a column changes its meaning or goes away."""
_KEY: Final = b"understudy"
LEVEL: Final = 3
"""Of zstd."""
COMPACTED: Final = "compacted-"
"""How the names of files begin that stand for others (`Footer.replaces`)."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file says of itself.

    Attributes:
        model: the public name, which is no column, since it is part of the path.
        node: that wrote it; with commas, of what was merged.
        rows: by the process that counted them.
        accounts: of these processes for this model, with the rows of this file among the written.
        schema: as `SCHEMA`.
        replaces: names, in its folder, of the files that a compaction merged into it, and of those that these
            stood for: they count no more.
    """

    model: str
    node: str
    rows: Mapping[str, int]
    accounts: Mapping[str, Account]
    schema: int = SCHEMA
    replaces: tuple[str, ...] = ()


def written(table: pa.Table, footer: Footer) -> bytes:
    """A file of the log: Parquet, compressed by zstd."""
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(metadata_of(footer)), sink, compression="zstd", compression_level=LEVEL
    )
    return sink.getvalue()


def metadata_of(footer: Footer) -> dict[bytes, bytes]:
    """A footer as metadata of a Parquet file."""
    return {_KEY: orjson.dumps(asdict(footer))}


def footer_of(file: Any) -> Footer | None:
    """The footer of a file of the log; None of one that is none.

    Args:
        file: a path or file object of a Parquet file.

    Raises:
        pyarrow.ArrowException, OSError: it cannot be read.
    """
    text = (pq.read_metadata(file).metadata or {}).get(_KEY)
    if text is None:
        return None
    found = orjson.loads(text)
    replaces = found.pop("replaces", ())
    accounts = {instance: Account(**account) for instance, account in found.pop("accounts").items()}
    return Footer(**found, accounts=accounts, replaces=tuple(replaces))


def replaced(footers: Mapping[str, Footer]) -> set[str]:
    """Names of files that others stand for.

    Args:
        footers: of those others, by name.
    """
    return {f"{folder_of(name)}/{each}" for name, footer in footers.items() for each in footer.replaces}
