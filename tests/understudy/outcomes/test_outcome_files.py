import json
from datetime import UTC, datetime

import pytest

from router.wire.outcomes import Told, read_lines
from serving.errors import InvalidInput
from understudy.outcomes.files import MOST_FAULTS, check, lines
from understudy.outcomes.lines import Missing

RECEIPTS = ["a" * 72, "b" * 72, "c" * 72]
LABEL = Missing("label")


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: str):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return write


def told(path, missing=LABEL) -> list[Told]:
    return read_lines(b"".join(line.text for line in lines(path, missing)))


def test_the_same_outcomes_in_three_kinds_of_file(file, tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    values = [7, 8, 9]
    rows = list(zip(RECEIPTS, values, strict=True))
    pq.write_table(pa.table({"receipt": RECEIPTS, "value": values}), tmp_path / "labels.parquet")
    paths = [
        tmp_path / "labels.parquet",
        file("labels.csv", "receipt,value\n" + "".join(f"{r},{v}\n" for r, v in rows)),
        file("labels.jsonl", "".join(json.dumps({"receipt": r, "value": v}) + "\n" for r, v in rows)),
    ]  # fmt: skip
    wanted = [Told("label", float(value), receipt) for receipt, value in rows]
    for path in paths:
        found = check(path, LABEL)
        assert (found.rows, found.faulty, found.faults, found.unread) == (3, 0, [], [])
        assert told(path) == wanted


def test_parquet_is_read_in_pieces_and_its_nulls_say_nothing(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows, at = 12_000, datetime(2026, 1, 31, tzinfo=UTC)
    keys = [f"user {number}" for number in range(rows)]
    table = pa.table({
        "receipt": pa.nulls(rows, pa.string()), "model": ["digits"] * rows, "key": keys, "time": [at] * rows,
        "value": [0.5] * rows, "country": ["NZ"] * rows,
    })  # fmt: skip
    path = tmp_path / "users.parquet"
    pq.write_table(table, path)
    found = check(path, LABEL)
    assert (found.rows, found.unread) == (rows, ["country"])
    last = list(lines(path, LABEL))[-1]
    assert read_lines(last.text) == [Told("label", 0.5, "", "digits", f"user {rows - 1}", at.timestamp())]


def test_rows_at_fault_are_named_by_their_lines(file):
    path = file(
        "labels.csv",
        f'receipt,value,note\n{RECEIPTS[0]},8,"two\nlines"\n,8,\n{RECEIPTS[1]},8\n{RECEIPTS[2]},,\n',
    )
    found = check(path, LABEL)
    assert (found.rows, found.faulty, found.unread) == (4, 3, ["note"])
    assert [fault.removeprefix(str(path)).split(": ")[0] for fault in found.faults] == [":4", ":5", ":6"]
    with pytest.raises(InvalidInput, match=r"labels.csv:4: expected a receipt"):
        list(lines(path, LABEL))


def test_lines_that_are_no_json_objects_are_named(file):
    path = file("labels.jsonl", f'{{"receipt": "{RECEIPTS[0]}", "value": 1}}\n\n[1]\n{{"receipt"\n')
    found = check(path, LABEL)
    assert (found.rows, found.faulty) == (3, 2)
    assert "labels.jsonl:3: not a JSON object" in found.faults[0]
    assert "labels.jsonl:4: not JSON" in found.faults[1]


def test_of_many_faults_the_first_are_named_and_all_are_counted(file):
    found = check(file("labels.csv", "value\n" + "1\n" * 1000), LABEL)
    assert (found.faulty, len(found.faults)) == (1000, MOST_FAULTS)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.txt", "x", "are read from .parquet, .csv, .jsonl"),
        ("labels.csv", "receipt,value\n", "there is no outcome in it"),
        ("labels.csv", "", "no column `value`"),
        ("labels.csv", "receipt,label\na,1\n", "no column `value`"),
        ("labels.csv", "value,value\n1,2\n", "'value' is there twice"),
        ("labels.csv", 'receipt,value\n"a,1\n', "not CSV"),
        ("labels.parquet", "receipt", "not a Parquet file"),
    ],
)
def test_a_file_that_is_none_is_refused(file, name, content, words):
    with pytest.raises(InvalidInput, match=words):
        check(file(name, content), LABEL)


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(InvalidInput, match="No such file"):
        check(tmp_path / "labels.csv", LABEL)
