"""Rows read at once have the values, and the faults, that they have one by one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.wire.tensors import Signature, TensorSpec
from understudy.offline.data.rows import Source
from understudy.scoring.feeds import Reader
from understudy.scoring.formats.block import Block, numbered
from understudy.scoring.output import kept_columns

NUMBERS = st.one_of(st.none(), st.integers(-3, 300), st.floats(width=32), st.sampled_from([1e300, 2.5]))
CELLS = st.one_of(
    NUMBERS,
    st.sampled_from(["1", " 2.5 ", "nan", "x", "", "[1, 2]", "true", "0x10", "1_0"]),
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.lists(st.lists(NUMBERS, min_size=1, max_size=2), min_size=1, max_size=2),
)
PLAIN = (
    st.integers(0, 200),
    st.floats(width=32),
    st.booleans(),
    st.sampled_from(["1", "2.5", "x"]),
    st.lists(st.floats(width=32), min_size=2, max_size=2),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=1), min_size=2, max_size=2),
)
SPECS = st.builds(
    lambda datatype, shape: TensorSpec("x", datatype, shape),
    st.sampled_from(["FP32", "FP16", "BF16", "INT64", "UINT8", "BOOL", "BYTES"]),
    st.sampled_from([(-1,), (-1, 1), (-1, 2), (-1, 2, 1), (-1, -1)]),
)


def columns_of(cells):
    """A column of Arrow; as a list where the cells are of several types."""
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError):
        return list(cells)


def reader(spec, *, names=("x",), whole=True):
    signature = Signature((spec,), (TensorSpec("y", "FP32", (-1,)),))
    return Reader("f", signature, {"x": Source(names, whole)}, frozenset(names), joined=True)


def rows_of(read):
    """Place -> its values; of each row alone."""
    found, place = {}, iter(read.rows)
    for feed in read.feeds:
        for row in range(len(feed["x"])):
            found[next(place)] = feed["x"][row : row + 1]
    assert next(place, None) is None
    return found


def same_as_alone(read, block, alone):
    """Hold what was read of a block against what is read of each of its rows in lists, which no array has."""
    found = rows_of(read)
    bad = {each.row: each.reason for each in read.bad}
    for row in range(len(block)):
        cells = {name: block.cells(name)[row : row + 1] for name in block.columns}
        one = alone.read(Block(block.rows[row : row + 1], cells))
        if one.bad:
            assert bad[int(block.rows[row])] == one.bad[0].reason
        else:
            expected = one.feeds[0]["x"]
            assert found[row].dtype == expected.dtype
            assert repr(found[row].tolist()) == repr(expected.tolist())  # NaN is NaN
            assert found[row].shape == expected.shape


@settings(max_examples=examples(60))
@given(SPECS, st.one_of(*(st.lists(kind, min_size=1, max_size=40) for kind in (CELLS, *PLAIN))))
def test_a_column_is_read_as_row_by_row(spec, cells):
    block = numbered(1, {"x": columns_of(cells)}, len(cells))
    same_as_alone(reader(spec).read(block), block, reader(spec))


@settings(max_examples=examples(40))
@given(
    SPECS,
    st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40),
)
def test_a_column_for_each_element_is_read_as_row_by_row(spec, rows):
    columns = dict(zip(("x_0", "x_1"), map(columns_of, zip(*rows, strict=True)), strict=True))
    block = numbered(1, columns, len(rows))
    read = reader(spec, names=("x_0", "x_1"), whole=False)
    same_as_alone(read.read(block), block, read)


@pytest.mark.parametrize(
    "column",
    [
        pa.FixedSizeListArray.from_arrays(pa.array(range(8), pa.float32()), 2),
        pa.array([[0, 1], [2, 3], [4, 5], [6, 7]], pa.large_list(pa.int16())),
        pa.array([[9, 9], [0, 1], [2, 3], [4, 5], [6, 7]]).slice(1),
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8, dtype="f4").reshape(4, 2)),
    ],
    ids=lambda column: str(column.type),
)
def test_kinds_of_lists(column):
    read = reader(TensorSpec("x", "FP32", (-1, 2))).read(numbered(1, {"x": column}, 4))
    [feed] = read.feeds
    assert feed["x"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert feed["x"].dtype == np.float32


def test_a_row_that_is_several_is_refused_where_rows_are_joined():
    block = numbered(1, {"x": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]]}, 3)
    read = reader(TensorSpec("x", "FP32", (-1, 2))).read(block)
    assert read.rows == [0, 2]
    assert "2 rows in one" in read.bad[0].reason


def test_names_of_columns_are_not_taken_from_the_input():
    from understudy.scoring.formats.block import Layout

    layout = Layout({"x": pa.float32(), "id": pa.int64()}, [])
    assert kept_columns(layout, ["x"], "others", []) == {"id": pa.int64()}
    assert list(kept_columns(layout, ["x"], "all", [])) == ["x", "id"]
    assert kept_columns(layout, ["x"], "none", []) == {}
