"""Values by name become what the model takes, or an error says where, what and what to do."""

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from understudy_client import InvalidData, ModelMetadata, TensorSpec
from understudy_client.wire.bf16 import widened
from understudy_client.wire.columns import tensors_of
from understudy_client.wire.fitting import converted
from understudy_client.wire.metadata import read_metadata
from understudy_client.wire.tensors import WIRE

NUMBERS = sorted(set(WIRE) - {"BYTES", "BF16"})


def model(*inputs: TensorSpec) -> ModelMetadata:
    return ModelMetadata("m", ("1",), "", inputs, ())


def spec(
    name="x", datatype="FP32", shape: "tuple[int, ...] | None" = (-1, 1), *, optional=False
) -> TensorSpec:
    return TensorSpec(name, datatype, shape, optional)


IRIS = model(spec("features", "FP32", (-1, 4)))
PEOPLE = model(spec("age", "INT64"), spec("city", "BYTES"), spec("income", "FP32"), spec("member", "BOOL"))


def people(**changes) -> pd.DataFrame:
    columns = {"age": [30, 40], "city": ["Bern", "Oslo"], "income": [1.5, 2.5], "member": [True, False]}
    return pd.DataFrame({**columns, **changes})


def by_name(inputs, of: ModelMetadata = PEOPLE) -> dict:
    return {tensor.name: tensor.array for tensor in tensors_of(inputs, of)}


def test_each_column_of_a_dataframe_becomes_the_input_of_its_name():
    found = by_name(people())
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        "age": (np.dtype("<i8"), (2, 1)),
        "city": (np.dtype(object), (2, 1)),
        "income": (np.dtype("<f4"), (2, 1)),
        "member": (np.dtype(bool), (2, 1)),
    }
    assert found["city"].ravel().tolist() == ["Bern", "Oslo"]


@pytest.mark.parametrize(
    ("column", "series"),
    [
        ("age", pd.array([30, 40], "Int64")),
        ("age", pd.array([30, 40], "UInt8")),
        ("age", pd.Series([True, False])),
        ("city", pd.array(["Bern", "Oslo"], "string")),
        ("city", pd.Categorical(["Bern", "Oslo"])),
        ("city", [b"Bern", b"Oslo"]),
        ("income", pd.array([1.5, None], "Float64")),
        ("income", pd.Series([1.5, None], dtype=object)),
        ("income", [1, 2]),
        ("income", [[1.5], [2.5]]),
        ("member", pd.array([True, False], "boolean")),
    ],
)
def test_every_kind_of_column_that_says_the_same_fits(column, series):
    found = by_name(people(**{column: series}))
    assert found[column].shape == (2, 1)
    if column == "income" and pd.isna(pd.Series(list(series)).iloc[1]) is True:
        assert np.isnan(found["income"][1, 0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"age": [30.0, 41.5]},
            r"column 'age': it is float64, .* INT64; if all are whole .*astype\(\"int64\"\)",
        ),
        (
            {"age": [30, None]},
            "column 'age': 1 values are missing, the first is element 1; INT64 has no missing",
        ),
        ({"age": pd.array([None, 1], "Int64")}, "column 'age': 1 values are missing, the first is element 0"),
        ({"age": ["30", "40"]}, "column 'age': element 0 is a str, the model takes INT64; encode it"),
        (
            {"age": pd.array([1, 2**63], "UInt64")},
            "column 'age': element 1, 9223372036854775808, is out of .*INT64",
        ),
        ({"age": [2**70, 1]}, r"column 'age': element 0, 11.*, is out of .*INT64"),
        (
            {"age": pd.to_datetime(["2026-01-01", "2026-01-02"])},
            "column 'age': it is datetime64.*seconds since",
        ),
        ({"city": [1, 2]}, r"column 'city': it is int64, the model takes BYTES; .*astype\(str\)"),
        ({"city": ["Bern", None]}, "column 'city': 1 values are missing"),
        ({"city": ["Bern", 3]}, "column 'city': element 1 is a int, the model takes text"),
        ({"income": ["a", "b"]}, "column 'income': element 0 is a str"),
        ({"income": [1e39, 1.0]}, r"column 'income': element 0, 1e\+39, is out of the range of FP32"),
        ({"income": [[1.5, 2.0], [2.5]]}, "column 'income': its rows are not of one length"),
        (
            {"income": [[1.5, 2.0], [2.5, 1.0]]},
            r"column 'income': the shape is \[2, 2\], the model takes \[-1, 1\]",
        ),
        ({"member": [1, 0]}, "column 'member': it is int64, the model takes BOOL; compare first"),
        ({"further": [1, 2]}, "no input 'further'; leave it out. It takes: 'age' INT64"),
    ],
)
def test_a_column_that_does_not_fit_is_named_with_the_remedy(changes, words):
    with pytest.raises(InvalidData, match=words):
        by_name(people(**changes))


def test_a_column_that_is_needed_is_missed_and_an_optional_one_is_not():
    with pytest.raises(InvalidData, match=r"needed and not given: 'city' BYTES \[-1, 1\]"):
        by_name(people().drop(columns=["city"]))
    assert list(by_name({"a": [1.0]}, model(spec("a"), spec("b", optional=True)))) == ["a"]


def test_two_columns_of_one_name_are_refused_and_names_are_text():
    twice = pd.concat([people(), people()[["age"]]], axis=1)
    with pytest.raises(InvalidData, match="column 'age': there are two"):
        by_name(twice)
    with pytest.raises(InvalidData, match="called by text, 0 is a int"):
        by_name(pd.DataFrame([[1, 2]]))
    with pytest.raises(InvalidData, match="called by text, 1 is a int"):
        by_name({1: [2]})


def test_columns_of_other_names_are_the_elements_of_the_one_input_in_their_order():
    frame = pd.DataFrame(
        {"sepal length": [5.1, 7.0], "sepal width": [3.5, 3], "petal": [1, 4], "width": [0, 1]}
    )
    found = by_name(frame, IRIS)["features"]
    assert found.dtype == np.float32
    assert np.array_equal(found, frame.to_numpy(np.float32))
    assert np.array_equal(by_name(frame.to_dict("list"), IRIS)["features"], found)
    with pytest.raises(InvalidData, match="3 columns, the model takes 4 in each row of 'features'"):
        by_name(frame[frame.columns[:3]], IRIS)
    with pytest.raises(InvalidData, match="column 'petal': element 0 is a str"):
        by_name(frame.assign(petal="long"), IRIS)
    with pytest.raises(InvalidData, match=r"input 'b': the shape is \[1\], as a column of .* it is \[2\]"):
        by_name({"a": [1, 2], "b": [1], "c": [1, 2], "d": [1, 2]}, IRIS)


def test_a_model_of_one_input_takes_its_value_alone():
    rows = np.ones((2, 4))
    assert by_name(rows, IRIS)["features"].dtype == np.float32
    assert by_name(rows.tolist(), IRIS)["features"].shape == (2, 4)
    with pytest.raises(
        InvalidData, match=r"shape is \[4\], the model takes \[-1, 4\]; .* x\[numpy.newaxis\]"
    ):
        by_name(rows[0], IRIS)
    with pytest.raises(InvalidData, match="several inputs; give them by name: 'age' INT64"):
        by_name(rows, PEOPLE)


def test_any_shape_is_taken_where_the_model_takes_any():
    assert by_name(np.ones((1, 2, 3)), model(spec("x", shape=None)))["x"].shape == (1, 2, 3)


@given(st.sampled_from(NUMBERS), st.data())
def test_what_is_of_the_datatype_already_is_not_touched(datatype, data):
    array = data.draw(npst.arrays(WIRE[datatype], npst.array_shapes(min_side=0, max_side=3)))
    assert converted(array, datatype, "x") is array


@given(st.sampled_from([name for name in NUMBERS if "INT" in name]), st.data())
def test_an_integer_fits_as_what_it_is_or_not_at_all(datatype, data):
    numbers = data.draw(st.lists(st.integers(-(2**65), 2**65) | st.integers(-300, 300), max_size=5))
    bounds = np.iinfo(WIRE[datatype])
    for value in (numbers, np.array(numbers, object)):
        if all(bounds.min <= number <= bounds.max for number in numbers):
            assert converted(np.array(numbers, object), datatype, "x").tolist() == numbers
        else:
            with pytest.raises(InvalidData, match=r"out of the range|takes"):
                converted(value, datatype, "x")


@given(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), st.data())
def test_numbers_are_kept_or_become_the_nearest_floats(source, target, data):
    array = data.draw(npst.arrays(WIRE[source], 4))
    try:
        found = converted(array, target, "x")
    except InvalidData:
        return
    assert found.dtype == WIRE[target]
    if target.startswith("FP"):
        with np.errstate(over="ignore"):
            assert np.array_equal(found, array.astype(found.dtype), equal_nan=True)
        assert not (np.isinf(found) & np.isfinite(array.astype(np.float64))).any()
    else:
        assert found.tolist() == array.tolist()


def test_bf16_is_taken_from_floats_and_from_ml_dtypes():
    numbers = np.array([1.0, -2.5, 3.0], np.float32)
    for value in (numbers, numbers.astype(np.float64), numbers.astype(ml_dtypes.bfloat16), numbers.tolist()):
        assert np.array_equal(widened(converted(value, "BF16", "x")), numbers)
    assert np.array_equal(converted(numbers.astype(ml_dtypes.bfloat16), "FP32", "x"), numbers)
    with pytest.raises(InvalidData, match=r"element 0, .* is out of the range of BF16"):
        converted(np.array([np.finfo(np.float32).max]), "BF16", "x")


def test_other_byte_orders_and_texts_of_numpy_are_read():
    assert converted(np.array([1, 2], ">i4"), "INT32", "x").dtype == np.dtype("<i4")
    assert converted(np.array(["a", "bc"]), "BYTES", "x").tolist() == ["a", "bc"]
    assert converted("alone", "BYTES", "x").tolist() == "alone"


@pytest.mark.parametrize(
    "found",
    [None, [], {"name": "m"}, {"name": "m", "inputs": [{}], "outputs": []}, {"name": "m", "inputs": 1}],
)
def test_what_is_no_metadata_is_refused(found):
    with pytest.raises(Exception, match="no metadata of a model"):
        read_metadata(found)
