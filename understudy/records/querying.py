"""SQL over records, by DuckDB in this process: a view `records` with the columns of every file.

Law: a query reads. It is one statement, and it is a SELECT; what it gives goes where its caller says. A file
without a column has NULL there, so a version with other outputs breaks no query. Nothing is downloaded but
the records themselves.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from serving.errors import InvalidInput, NotFound, ServingError
from understudy.records.place import Place, Wanted
from understudy.records.present import present

if TYPE_CHECKING:
    import duckdb

VIEW = "records"
_ROWS = 10_000
"""That are fetched at a time."""


class Result:
    """What a query gives; each reading runs it, while it is open.

    Attributes:
        columns: their names, in order.
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", sql: str) -> None:
        self._connection = connection
        self._sql = sql
        self.columns: Sequence[str] = connection.sql(sql).columns

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Go through its rows, as Python's values: timestamps are `datetime`, lists are lists.

        Raises:
            InvalidInput: a value does not suit what the query does with it.
            NotFound: a file was compacted or expired meanwhile.
        """
        with _in_words():
            cursor = self._connection.execute(self._sql)
            while rows := cursor.fetchmany(_ROWS):
                yield from rows

    def to_parquet(self, path: Path) -> None:
        """Write it as one Parquet file, whole or not at all.

        Raises:
            ServingError: it cannot be written; else as of `rows`.
        """
        beside = path.with_name(f".{path.name}.new")
        try:
            with _in_words():
                self._connection.sql(self._sql).write_parquet(str(beside), compression="zstd")
            beside.replace(path)
        except OSError as error:
            raise ServingError(f"{path}: {error.strerror}") from None
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def queried(place: Place, wanted: Wanted, sql: str) -> Iterator[Result]:
    """Run a query.

    Args:
        place: where the records are.
        wanted: of which files; those of a bucket are brought here first.
        sql: a SELECT, in which `records` stands for them.

    Raises:
        InvalidInput: it is no such statement, or names what is not there.
        NotFound: there are no records.
        ServingError: DuckDB is not installed.
    """
    try:
        import duckdb
    except ImportError:
        raise ServingError("queries need DuckDB: pip install 'understudy[query]'") from None
    _refuse_other_than_select(sql)
    files = present(place, wanted)
    if not files:
        raise NotFound("there are no such records yet")
    with TemporaryDirectory(prefix="understudy-records-") as folder, duckdb.connect() as connection:
        # It would fetch an extension when a query names its functions.
        connection.execute("SET autoinstall_known_extensions = false; SET TimeZone = 'UTC'")
        paths = [str(path) for path in place.local(files, Path(folder))]
        with _in_words():
            connection.read_parquet(paths, hive_partitioning=True, union_by_name=True).create_view(VIEW)
            yield Result(connection, sql)


def _refuse_other_than_select(sql: str) -> None:
    import duckdb

    with _in_words():
        statements = duckdb.extract_statements(sql)
    kinds = [statement.type for statement in statements]
    if kinds not in ([duckdb.StatementType.SELECT], [duckdb.StatementType.EXPLAIN]):
        raise InvalidInput("a query is one SELECT: it reads records and changes nothing")


@contextmanager
def _in_words() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.IOException as error:
        raise NotFound(f"{error}; run it again if the records were compacted meanwhile") from None
    except duckdb.Error as error:
        raise InvalidInput(str(error)) from None
