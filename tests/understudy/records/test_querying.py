"""SQL over records, by real DuckDB."""

import sys

import pyarrow.parquet as pq
import pytest

from harness.record_files import write
from serving.errors import InvalidInput, NotFound, ServingError
from understudy.records.place import Wanted, open_place
from understudy.records.querying import queried

ALL = Wanted()


def rows(root, sql, wanted=ALL):
    with queried(open_place(str(root)), wanted, sql) as found:
        return list(found.rows())


def test_a_version_with_other_outputs_breaks_no_query(tmp_path):
    write(tmp_path, "a", {"receipt": ["r"], "output_label": [[7]]})
    write(tmp_path, "b", {"receipt": ["s"], "output_scores": [[0.5, 0.25]]})
    found = rows(tmp_path, "SELECT receipt, output_label, output_scores, model, hour FROM records ORDER BY 1")
    assert found == [("r", [7], None, "digits", 13), ("s", None, [0.5, 0.25], "digits", 13)]
    assert rows(f"file://{tmp_path}", "SELECT count(*) FROM records") == [(2,)]


def test_only_the_files_that_are_wanted_are_read(tmp_path):
    write(tmp_path, "a", {"receipt": ["r"]})
    write(tmp_path, "b", {"receipt": ["s"]}, model="iris").write_bytes(b"never looked at")
    assert rows(tmp_path, "SELECT receipt FROM records", Wanted("digits")) == [("r",)]
    with pytest.raises(NotFound, match="no such records"):
        rows(tmp_path, "SELECT 1", Wanted("nobody"))


@pytest.mark.parametrize(
    "sql",
    ["COPY records TO 'x.csv'", "DELETE FROM records", "SELECT 1; DROP VIEW records", "", "SET threads = 1"],
)
def test_a_query_changes_nothing(tmp_path, sql):
    write(tmp_path, "a", {"receipt": ["r"]})
    with pytest.raises(InvalidInput, match="one SELECT"):
        rows(tmp_path, sql)
    assert len(list(tmp_path.rglob("*.*"))) == 1


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT nobody FROM records", '"nobody" not found'),
        ("SELECT CAST(receipt AS INT) FROM records", "Could not convert"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_in_words(tmp_path, sql, words):
    write(tmp_path, "a", {"receipt": ["r"]})
    with pytest.raises(InvalidInput, match=words):
        rows(tmp_path, sql)


def test_the_answer_goes_to_one_parquet_file(tmp_path):
    write(tmp_path / "records", "a", {"receipt": ["r"], "output_label": [[7]]})
    with queried(open_place(str(tmp_path / "records")), Wanted(), "FROM records") as found:
        found.to_parquet(tmp_path / "out.parquet")
        with pytest.raises(ServingError, match="nowhere"):
            found.to_parquet(tmp_path / "nowhere" / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist()[0]["output_label"] == [7]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.parquet"]


def test_without_duckdb_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ServingError, match=r"understudy\[query\]"):
        rows(tmp_path, "SELECT 1")
