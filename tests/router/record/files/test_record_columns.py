"""Rows become typed columns that common readers have, and come back as they were."""

import io
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from harness.search import examples
from router.record.account import Account
from router.record.files.columns import DATATYPE, FIXED, MAX_TENSORS, Columns
from router.record.files.footers import Footer, footer_of, written
from router.record.files.partitions import Part, Partitions
from router.record.files.rows import Row
from router.record.log_writer import encoded
from serving.wire.bf16 import rounded
from serving.wire.tensors import DATATYPES

AT = datetime(2026, 11, 27, 23, 59, 59, 123456, UTC)
NUMBERS = sorted(DATATYPES.keys() - {"BYTES", "BF16"})


def row(tensors=None, at=AT, model="m", size=100, **values):
    return Row(model, "w.1", at, {"request_time": at, **values}, tensors or {}, size)


def table(*rows):
    columns = Columns()
    for each in rows:
        assert columns.takes(each)
        columns.add(each)
    data = written(columns.table(), Footer("m", "here", dict(columns.counts), {}))
    return pq.read_table(io.BytesIO(data))


@pytest.mark.parametrize("datatype", NUMBERS)
@settings(max_examples=examples(20))
@given(data=st.data())
def test_every_number_comes_back(datatype, data):
    array = data.draw(arrays(DATATYPES[datatype], array_shapes(min_dims=0, max_dims=3, min_side=0)))
    found = table(row({"input_x": array}), row())
    [values, missing] = found["input_x"].to_pylist()
    [shape, no_shape] = found["input_x_shape"].to_pylist()
    back = np.array(values).reshape(shape)
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    assert (tuple(shape), missing, no_shape) == (array.shape, None, None)
    assert found.schema.field("input_x").metadata[DATATYPE] == datatype.encode()


def test_narrow_floats_are_widened_and_texts_are_texts():
    brain = rounded(np.float32([1.5, -2.0]))
    texts = np.array(["a", b"b", b"\xff"], object)
    found = table(row({"input_x": brain, "input_h": np.float16([0.1]), "output_t": texts}))
    assert found["input_x"].to_pylist() == [[1.5, -2.0]]
    assert found.schema.field("input_x").type == found.schema.field("input_h").type == pa.list_(pa.float32())
    assert np.float16(found["input_h"].to_pylist()[0][0]) == np.float16(0.1)
    assert found["output_t"].to_pylist() == [["a", "b", "\\xff"]]
    assert found.schema.field("input_h").metadata[DATATYPE] == b"FP16"


def test_every_file_has_the_fixed_columns_and_their_types():
    values = {"role": "canary", "drawn": None, "stage": 3, "agreed": False, "input_raw": b"\0",
              "differences": [{"output": "y", "kind": "value", "distance": 0.5}]}  # fmt: skip
    found = table(row(**values), row())
    assert dict(zip(found.schema.names, found.schema.types, strict=True)) == FIXED
    first, second = found.to_pylist()
    assert first["request_time"] == AT
    assert {name: first[name] for name in values} == values
    assert set(second.values()) == {None, AT}


def test_a_tensor_of_another_datatype_and_too_many_of_them_are_for_another_file():
    columns = Columns()
    columns.add(row({"output_y": np.zeros(1, np.int64)}))
    assert columns.takes(row({"output_y": np.zeros((2, 2), np.int64), "output_z": np.zeros(1)}))
    assert not columns.takes(row({"output_y": np.zeros(1, np.float32)}))
    many = row({f"output_{number}": np.zeros(1) for number in range(MAX_TENSORS)})
    assert not columns.takes(many)
    assert Columns().takes(many)


def test_parts_are_of_one_hour_one_model_and_one_datatype():
    parts = Partitions(roll_bytes=10**9, roll_seconds=60.0)
    later = datetime(2026, 11, 28, 0, 0, tzinfo=UTC)
    ints, floats = ({"output_y": np.zeros(1, kind)} for kind in (np.int64, np.float32))
    for each in (row(), row(at=later), row(model="n"), row(ints), row(floats), row(floats)):
        parts.add(each, now=0.0)
    found = sorted((part.folder, len(part.columns)) for part in parts.all())
    assert found == [
        ("model=m/date=2026-11-27/hour=23", 2),
        ("model=m/date=2026-11-27/hour=23", 2),
        ("model=m/date=2026-11-28/hour=00", 1),
        ("model=n/date=2026-11-27/hour=23", 1),
    ]
    assert list(parts.all()) == []


def test_a_part_is_due_when_it_is_large_or_old_enough():
    parts = Partitions(roll_bytes=250, roll_seconds=60.0)
    parts.add(row(), now=0.0)
    parts.add(row(), now=50.0)
    assert list(parts.due(59.9)) == []
    assert [len(part.columns) for part in parts.due(60.0)] == [2]
    for _ in range(3):
        parts.add(row(), now=70.0)
    assert [len(part.columns) for part in parts.due(70.0)] == [3]
    assert list(parts.due(1000.0)) == []


def test_a_file_says_whose_rows_it_has_and_how_the_accounts_stood():
    part = Part("m", "model=m/date=2026-11-27/hour=23", 0.0)
    part.columns.add(row())
    footer = Footer("m", "here", {"w.1": 1}, {"w.1": Account(requests=5, sampled_out=4, written=1)})
    assert footer_of(io.BytesIO(encoded(part, footer))) == footer


def test_a_file_of_somebody_else_has_no_footer_of_ours():
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": [1]}), sink)
    assert footer_of(sink) is None


def test_a_row_whose_tensors_cannot_be_columns_is_still_a_row():
    part = Part("m", "model=m/date=2026-11-27/hour=23", 0.0)
    part.columns.add(row({"output_t": np.array(["\ud800"], object)}, role="stable"))
    found = pq.read_table(io.BytesIO(encoded(part, Footer("m", "here", {"w.1": 1}, {})))).to_pylist()
    assert [(each["role"], each["logging_error"][:8]) for each in found] == [("stable", "tensors:")]
    assert "output_t" not in found[0]
