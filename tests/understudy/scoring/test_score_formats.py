"""How files are cut, and what is read of each part: all rows, each once, whatever is wrong between them."""

import csv
import io
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score_files import digits, small_chunks, write
from serving.errors import InvalidInput
from understudy.scoring.formats import lines
from understudy.scoring.formats.block import CHUNK_ROWS, Wanted, grouped
from understudy.scoring.formats.registry import FORMATS, format_of

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


def read(path, wanted):
    """The numbers and values of all rows, and what is bad."""
    form = format_of(path)
    layout = form.layout(path)
    rows, bad = [], []
    for chunk in layout.chunks:
        for block in form.blocks(path, layout, chunk, wanted):
            names = {name: block.cells(name) for name in wanted.names}
            rows += [
                (number, *(names[name][at] for name in wanted.names))
                for at, number in enumerate(block.rows.tolist())
            ]
            bad += block.bad
    return layout, rows, bad


@given(st.lists(st.integers(0, 3 * CHUNK_ROWS), max_size=12))
def test_groups_are_cut_into_chunks_with_each_row_once(rows):
    chunks = grouped(rows)
    whole = [chunk for chunk in chunks if not chunk.skip]
    assert [at for chunk in whole for at in range(chunk.begin, chunk.end)] == list(range(len(rows)))
    assert sum(chunk.rows for chunk in chunks) == sum(rows)
    assert len(whole) >= 8 or len(chunks) >= min(8, sum(rows) // (2 * CHUNK_ROWS))
    for chunk, behind in pairwise(chunks):
        same = (chunk.begin, chunk.end) == (behind.begin, behind.end)
        assert behind.skip == (chunk.skip + chunk.rows if same else 0)
    assert all(chunk.rows >= CHUNK_ROWS for chunk in chunks[:-1])
    assert [chunk.first for chunk in chunks] == [
        1 + sum(each.rows for each in chunks[:number]) for number in range(len(chunks))
    ]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30), st.integers(1, 40))
def test_any_csv_is_cut_between_its_records(tmp_path_factory, rows, size):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("a", "b"), *rows])
    with small_chunks(size=size):
        layout, found, bad = read(path, Wanted((), ("a", "b")))
    whole = path.read_bytes()
    assert b"".join(whole[chunk.begin : chunk.end] for chunk in layout.chunks) == whole[4:]
    reader = csv.reader(io.StringIO(whole.decode(), newline=""))
    expected, line = [], 1
    for row in reader:
        expected.append((line, *row))
        line = 1 + reader.line_num
    assert found == expected[1:]
    assert not bad


@pytest.mark.parametrize("kind", FORMATS)
def test_every_kind_gives_the_same_rows(tmp_path, kind):
    columns = digits(40)
    path = write(tmp_path / f"digits{kind}", columns, group=7)
    names = tuple(f"pixels_{at}" for at in range(64)) if kind == ".csv" else ("pixels",)
    with small_chunks(size=3000):
        layout, rows, bad = read(path, Wanted(names, ("id",)))
    assert len(layout.chunks) > 3
    assert not bad
    assert [row[-1] for row in rows] == columns["id"]
    first = {".csv": 2}.get(kind, 1)
    assert [row[0] for row in rows] == list(range(first, first + 40))
    values = [row[1:-1] if kind == ".csv" else row[1] for row in rows]
    assert np.array_equal(np.array(values, float), np.array(columns["pixels"]))


@pytest.mark.parametrize("kind", [".parquet", ".arrow"])
def test_few_large_groups_are_divided(tmp_path, kind):
    columns = digits(103)
    path = write(tmp_path / f"digits{kind}", columns, group=60)
    with small_chunks(rows=5):
        layout, rows, _ = read(path, Wanted(("pixels",), ("id",)))
    assert len(layout.chunks) == 8
    assert [row[2] for row in rows] == columns["id"]
    assert [row[0] for row in rows] == list(range(1, 104))


def test_bad_lines_of_csv_are_told_and_the_others_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'id,x\na,1\nb,2,3\n\n"c\nc",4\nd\n\xff,5\ne,6')
    _, rows, bad = read(path, Wanted(("x",), ("id",)))
    assert rows == [(2, "1", "a"), (5, "4", "c\nc"), (9, "6", "e")]
    assert [(each.row, each.reason.partition(";")[0]) for each in bad] == [
        (3, "3 values for 2 columns"),
        (7, "1 values for 2 columns"),
        (8, "it is not UTF-8"),
    ]


def test_bad_lines_of_json_are_told_and_the_others_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'{"x": [1], "id": 7}\n\n{"x": [2]}\n[1]\n{"x"\n{"id": 1}\n{"x": [3], "id": {"a": null}, "y": 1}\n'
    )
    _, rows, bad = read(path, Wanted(("x",), ("id",)))
    assert rows == [(1, [1], "7"), (3, [2], None), (7, [3], '{"a":null}')]
    assert [each.row for each in bad] == [4, 5, 6]
    assert bad[2].reason == "column 'x' is missing"
    _, rows, bad = read(path, Wanted(("x",), ("id",), further=False))
    assert "--keep" in bad[-1].reason
    assert bad[-1].row == 7


def test_text_in_json_stays_what_it_is(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"x": 1.5, "day": "2026-11-28", "n": 7, "on": true}\n' * 3)
    _, rows, _ = read(path, Wanted(("x",), ("day", "n", "on")))
    assert rows[0] == (1, 1.5, "2026-11-28", "7", "true")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.txt", b"", "rows are scored from .parquet, .csv"),
        ("rows.parquet", b"PAR1", "not a whole Parquet file"),
        ("rows.arrow", b"nothing", "not an Arrow file"),
        ("rows.jsonl", b"[1]\n", "no line of it is a JSON object"),
        ("rows.csv", b"a,a\n1,2\n", "column 'a' is there twice"),
        ("rows.csv", b"\xff\n", "not CSV in UTF-8"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=says):
        format_of(path).layout(path)


def test_a_page_that_is_broken_is_told_by_its_file(tmp_path):
    path = write(tmp_path / "rows.parquet", digits(200))
    content = bytearray(path.read_bytes())
    content[4:4000] = b"x" * 3996
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"rows.parquet: not a whole Parquet file"):
        read(path, Wanted(("pixels",), ("id",)))


def test_a_quote_that_nobody_closes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MOST_RECORD", 64)
    path = tmp_path / "rows.csv"
    path.write_text('a\n1\n"' + "x\n" * 100)
    with small_chunks(size=16), pytest.raises(InvalidInput, match=r"rows.csv:3: .* is a quote not closed"):
        format_of(path).layout(path)


def test_an_arrow_stream_is_told_what_would_do(tmp_path):
    path = tmp_path / "rows.arrow"
    table = pa.table({"x": [1]})
    with pa.ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table)
    with pytest.raises(InvalidInput, match=r"pyarrow\.ipc\.new_file"):
        format_of(path).layout(path)
