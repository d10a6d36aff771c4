"""Rows of Parquet files and of the prediction log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.record_files import write
from harness.system import MODELS
from router.record.files.columns import Columns
from router.record.files.rows import Row
from serving.errors import InvalidInput, NotFound
from serving.wire.tensors import Signature, TensorSpec
from understudy.offline.data import parquet
from understudy.offline.data.parquet import read_records
from understudy.offline.data.reading import read
from understudy.offline.data.rows import rows_of
from understudy.offline.testing import Wanted, outcome

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)), TensorSpec("t", "BYTES", (-1, 1))), ())
HOURS = [
    datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=ago) for ago in (30, 2, 0)
]


def record(root, hour, first, model="m"):
    logged = {
        "kind": ["request", "request", "comparison"], "request_id": ["a", "b", "c"],
        "input_x": [[first, 1.0, 2.0, 3.0], None, [9.0, 9.0]], "input_x_shape": [[2, 2], None, [1, 2]],
        "input_t": [["a", "b"], None, ["c"]], "input_t_shape": [[2, 1], None, [1, 1]],
        "output_y": [[1.0], None, [1.0]], "status_code": [200, 400, 200],
    }  # fmt: skip
    write(root, f"{first:g}", logged, model=model, hour=hour)


@pytest.fixture
def log(tmp_path):
    for number, hour in enumerate(HOURS):
        record(tmp_path, hour, float(number))
    return tmp_path


def test_a_parquet_file_has_rows_as_lists_or_as_single_values(tmp_path):
    table = {"x": [[1.0, 2.0], [3.0, 4.0]], "t_0": ["a", "b"], "country": ["AT", "DE"], "labels": [1, 2]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    rows = rows_of(read(tmp_path / "a.parquet"), SIGNATURE)
    assert [feeds["x"].tolist() for feeds in rows.feeds] == [[[1, 2]], [[3, 4]]]
    assert [feeds["t"].tolist() for feeds in rows.feeds] == [[["a"]], [["b"]]]
    assert (rows.labels, rows.further) == ([1, 2], {"country": ["AT", "DE"]})


def test_what_is_no_parquet_or_holds_nothing_is_told(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(InvalidInput, match="not a Parquet file"):
        read(tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [[1.0, 2.0], None], "t": ["a", "b"]}), tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match=r"b\.parquet: row 2: column 'x'"):
        rows_of(read(tmp_path / "b.parquet"), SIGNATURE)


def test_requests_of_the_log_with_their_shapes_come_latest_first(log):
    columns, note = read_records(str(log), "m", None, None)
    rows = rows_of(columns, SIGNATURE)
    assert [feeds["x"][0, 0] for feeds in rows.feeds] == [2, 1, 0]
    assert rows.feeds[0]["x"].shape == (2, 2)
    assert rows.feeds[0]["t"].tolist() == [["a"], ["b"]]
    assert rows.further == {}
    assert note == ""


def test_only_the_latest_of_the_log_are_taken_and_that_is_said(log, monkeypatch):
    assert read_records(str(log), "m", 5 * 3600.0, None)[0].rows == 2
    assert read_records(str(log), "m", None, 1) == (read_records(str(log), "m", None, None)[0].first(1), "")
    monkeypatch.setattr(parquet, "MOST_LOGGED", 2)
    columns, note = read_records(str(log), "m", None, None)
    assert (columns.rows, note) == (2, "the latest 2 requests of the log; --limit takes more")


def test_a_log_without_such_requests_is_told(log):
    record(log, HOURS[0], 3.0, model="n")
    with pytest.raises(NotFound, match=r"no request to 'o' is in it; it has requests to 'm', 'n'$"):
        read_records(str(log), "o", None, None)
    with pytest.raises(NotFound, match=f"'n' that arrived so late; .* from {HOURS[0]:%Y-%m-%d}"):
        read_records(str(log), "n", 3600.0, None)
    write(log, "r", {"kind": ["request"], "output_y": [[1.0]]}, model="redacted", hour=HOURS[0])
    with pytest.raises(NotFound, match=r"with its inputs; record them .*, and keep them out of `redact`"):
        read_records(str(log), "redacted", None, None)
    (log / "empty").mkdir()
    with pytest.raises(NotFound, match="no request to 'm' is in it, nor to anybody else"):
        read_records(str(log / "empty"), "m", None, None)


def test_an_input_that_was_redacted_is_told_and_never_made_up(log):
    columns, _ = read_records(str(log), "m", None, None)
    there = dict(columns.by_name)
    of = Signature((TensorSpec("x", "FP32", (-1, -1)), TensorSpec("z", "FP32", (-1, 1))), ())
    with pytest.raises(InvalidInput, match=r"input 'z' is not in it, but input_x, .*; record them by"):
        rows_of(columns, of)
    there |= {"input_z": [[1.0], [2.0], None], "input_z_shape": [[1, 1], [1, 1], None]}
    with pytest.raises(InvalidInput, match="row 3: column 'input_z': the log has no value of it"):
        rows_of(replace(columns, by_name=there), of)


def test_a_damaged_file_of_the_log_is_named(log):
    [file] = (log / "model=m").glob(f"date={HOURS[2]:%Y-%m-%d}/hour={HOURS[2]:%H}/*.parquet")
    file.write_bytes(b"no")
    with pytest.raises(InvalidInput, match=f"{file.name}: not a whole Parquet file"):
        read_records(str(log), "m", None, None)


def test_real_models_are_tested_on_what_the_log_writer_wrote(tmp_path):
    with np.load(MODELS / "digits" / "heldout.npz") as held_out:
        pixels = held_out["inputs"]
    part = Columns()
    for row in pixels:
        tensors = {"input_pixels": row[None], "output_label": np.array([0])}
        said = {"kind": "request", "role": "stable", "status_code": 200, "request_time": HOURS[-1]}
        part.add(Row("digits", "a", HOURS[-1], said, tensors, 0))
    table = part.table()
    columns = {name: table.column(name) for name in table.column_names}
    write(tmp_path, "a", columns, model="digits", hour=HOURS[-1])
    found = outcome(Wanted(MODELS, "digits/1", "digits/3", f"records:{tmp_path}", since_seconds=86400.0))
    assert (found.rows, found.judgement.verdict) == (719, "harmful")
    assert found.outputs[0].differing.events == 66
    assert {"digits/1's label = 8"} <= {words for segment in found.segments for words in segment.conditions}


def test_since_is_of_the_log(tmp_path):
    with pytest.raises(InvalidInput, match="--since goes with --on records:PLACE"):
        outcome(Wanted(MODELS, "digits/1", "digits/3", "", since_seconds=1.0))
