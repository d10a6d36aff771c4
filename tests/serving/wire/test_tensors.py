import json
import math

import ml_dtypes
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from serving.errors import InvalidInput, Unsupported
from serving.wire.bf16 import BF16, rounded, widened
from serving.wire.tensors import (
    DATATYPES,
    Signature,
    TensorSpec,
    count_elements,
    from_bytes,
    from_json,
    spec_from_json,
    spec_json,
    to_bytes,
    to_json,
    with_infinities,
)

NUMERIC = sorted(set(DATATYPES) - {"BYTES", "BOOL"})
INTEGERS = [name for name in NUMERIC if "INT" in name]
FLOATS = ["FP16", "FP32", "FP64"]
FINITE_BF16 = st.tuples(st.integers(0, 0xFFFF).filter(lambda bits: bits & 0x7F80 != 0x7F80))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def spec_of(datatype: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec("x", datatype, (-1,) * len(shape))


@st.composite
def tensors(draw, *, finite: bool):
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = draw(shapes)
    elements = None
    if datatype == "BYTES":
        elements = texts
    elif finite and datatype in FLOATS:
        width = DATATYPES[datatype].itemsize * 8
        elements = st.floats(width=width, allow_nan=False, allow_infinity=False)
    elif finite and datatype == "BF16":
        elements = FINITE_BF16
    return datatype, draw(npst.arrays(DATATYPES[datatype], shape, elements=elements))


def decode(data: object, datatype: str, shape: list[int]) -> np.ndarray:
    spec = spec_of(datatype, tuple(shape))
    return from_json(data, spec, shape, count_elements(shape, spec))


def decode_bytes(data: bytes, datatype: str, shape: list[int]) -> np.ndarray:
    spec = spec_of(datatype, tuple(shape))
    return from_bytes(memoryview(data), spec, shape, count_elements(shape, spec))


def assert_same(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if expected.dtype.hasobject:
        assert got.tolist() == expected.tolist()
    else:
        assert got.tobytes() == expected.tobytes()


# ---------------------------------------------------------------------- round trips


@given(tensors(finite=True))
def test_flat_json_gives_back_every_finite_value_exactly(tensor):
    datatype, array = tensor
    text = orjson.dumps(to_json(array), option=orjson.OPT_SERIALIZE_NUMPY)
    assert_same(decode(orjson.loads(text), datatype, list(array.shape)), array)


@given(tensors(finite=True))
def test_nested_json_means_what_plain_numpy_takes_it_for(tensor):
    datatype, array = tensor
    plain = widened(array) if datatype == "BF16" else array
    nested = json.loads(json.dumps(plain.tolist())) if array.ndim else [plain.item()]
    assert_same(decode(nested, datatype, list(array.shape)), array)


@given(tensors(finite=False), st.integers(0, 9))
def test_bytes_give_back_every_value_exactly_at_any_offset(tensor, offset):
    datatype, array = tensor
    body = memoryview(bytes(offset) + b"".join([to_bytes(array)]))
    spec = spec_of(datatype, array.shape)
    got = from_bytes(body[offset:], spec, array.shape, array.size)
    assert_same(got, array)
    assert got.ctypes.data % 16 == 0


@given(tensors(finite=False))
def test_bytes_of_a_strided_array_are_those_of_its_copy(tensor):
    _, array = tensor
    strided = array.T[..., ::-1] if array.ndim else array
    assert b"".join([to_bytes(strided)]) == b"".join([to_bytes(strided.copy(order="C"))])
    assert orjson.dumps(to_json(strided), option=orjson.OPT_SERIALIZE_NUMPY) == orjson.dumps(
        to_json(strided.copy(order="C")), option=orjson.OPT_SERIALIZE_NUMPY
    )


@given(npst.arrays(np.float32, 5, elements=st.floats(width=32)))
def test_nan_and_infinities_have_a_form_in_json_that_numpy_and_we_read_as_what_they_are(array):
    text = with_infinities(orjson.dumps(to_json(array), option=orjson.OPT_SERIALIZE_NUMPY), array)
    data = orjson.loads(text)
    for got in (decode(data, "FP32", [5]), np.array(data, np.float32)):
        assert np.array_equal(got, array, equal_nan=True)
    nan, positive, negative = (
        np.flatnonzero(found) for found in (np.isnan(array), array == np.inf, array == -np.inf)
    )
    assert all(data[place] is None for place in nan)
    assert all(data[place] == "Infinity" for place in positive)
    assert all(data[place] == "-Infinity" for place in negative)


@pytest.mark.parametrize("datatype", FLOATS)
@pytest.mark.parametrize("data", [
    [None, "NaN", "Infinity", "-Infinity", 1],
    [[None], ["NaN"], ["Infinity"], ["-Infinity"], [1]],
    [math.nan, math.nan, math.inf, -math.inf, True],
])  # fmt: skip
def test_what_is_not_finite_is_taken_as_null_text_and_number_where_floats_belong(data, datatype):
    got = decode(data, datatype, [5, 1])
    expected = np.array([[np.nan], [np.nan], [np.inf], [-np.inf], [1]], DATATYPES[datatype])
    assert_same(got, expected)


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "null"), ("NaN", "'NaN'"), (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")],
)
def test_what_is_not_finite_is_refused_where_integers_belong(value, words, datatype):
    with pytest.raises(InvalidInput, match=rf"^'x': element 1 of 'data', {words}, is no {datatype}$"):
        decode([1, value], datatype, [2])


# ---------------------------------------------------------------------- views


def test_bytes_are_viewed_where_numpy_could_have_put_them_and_else_copied():
    body = bytes(32)
    begin = -np.frombuffer(body, np.uint8).ctypes.data % 16
    spec = spec_of("FP32", (2,))
    for offset in range(16):
        array = from_bytes(memoryview(body)[offset : offset + 8], spec, [2], 2)
        assert array.ctypes.data % 16 == 0
        is_view = offset == begin
        assert np.shares_memory(array, np.frombuffer(body, np.uint8)) == is_view
        assert not (is_view and array.flags.writeable)


def test_the_bytes_of_a_contiguous_array_are_not_copied():
    array = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    assert to_bytes(array).obj is array
    assert to_bytes(array).nbytes == 24


def test_text_is_framed_as_the_protocol_says():
    framed = to_bytes(np.array(["é", "", "a\0"], dtype=object))
    assert bytes(framed) == b"\x02\0\0\0\xc3\xa9" + b"\0\0\0\0" + b"\x02\0\0\0a\0"


# ---------------------------------------------------------------------- refusals


@given(st.sampled_from(INTEGERS), st.integers(-(2**63), 2**64 - 1))
def test_an_integer_is_taken_exactly_when_it_is_within_range(datatype, value):
    info = np.iinfo(DATATYPES[datatype])
    if info.min <= value <= info.max:
        assert decode([value], datatype, [1]).item() == value
    else:
        with pytest.raises(InvalidInput, match=f"element 0 of 'data', {value}, is out of the range"):
            decode([value], datatype, [1])


@given(st.sampled_from(FLOATS), st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_taken_exactly_when_it_does_not_become_infinite(datatype, value):
    with np.errstate(over="ignore"):
        expected = np.float64(value).astype(DATATYPES[datatype])
    if np.isfinite(expected):
        assert_same(decode([value], datatype, [1]), expected.reshape(1))
    else:
        with pytest.raises(InvalidInput, match="is out of the range of FP"):
            decode([1.0, value], datatype, [2])


@pytest.mark.parametrize("datatype", NUMERIC)
@pytest.mark.parametrize("wrong", ["1", "nan", "inf", "infinity", {}, {"a": 1}, [], [1.0]])
def test_what_is_no_number_is_refused_where_numbers_belong(datatype, wrong):
    with pytest.raises(InvalidInput, match=r"^'x': element 1 of 'data', .*, is no "):
        decode([1, wrong], datatype, [2])


@pytest.mark.parametrize("datatype", [*INTEGERS, "BOOL"])
def test_a_float_is_refused_where_integers_or_booleans_belong_even_a_whole_one(datatype):
    with pytest.raises(InvalidInput, match=r"element 0 of 'data', 1\.0, is no "):
        decode([1.0], datatype, [1])


@pytest.mark.parametrize("datatype", NUMERIC)
def test_true_and_false_count_as_one_and_zero_where_numbers_belong(datatype):
    got = decode([True, False], datatype, [2])
    assert (widened(got) if datatype == "BF16" else got).tolist() == [1, 0]


def test_booleans_are_true_false_one_and_zero():
    assert decode([True, 1, False, 0], "BOOL", [2, 2]).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("wrong", [2, -1, 256, "true", None, [], {}])
def test_nothing_else_is_a_boolean(wrong):
    with pytest.raises(InvalidInput, match="is no BOOL"):
        decode([True, wrong], "BOOL", [2])


@pytest.mark.parametrize("wrong", [1, 1.5, None, True, [], {}])
def test_only_text_is_taken_where_text_belongs(wrong):
    with pytest.raises(InvalidInput, match=r"element 1 of 'data', .*, is no text"):
        decode(["a", wrong], "BYTES", [2])


@pytest.mark.parametrize("data", [None, 1, 1.5, "ab", {}, {"0": 1}, True])
@pytest.mark.parametrize("datatype", sorted(DATATYPES))
def test_data_that_is_no_list_is_refused(data, datatype):
    with pytest.raises(InvalidInput, match="'data' must be a list"):
        decode(data, datatype, [])


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ([1, 2, 3], [2, 2]),
        ([], [1]),
        ([1], [0]),
        ([[1, 2], [3]], [2, 2]),
        ([[1, 2, 3], [4]], [2, 2]),
        ([[1, 2]], [2, 1]),
        ([[1], 2], [2, 1]),
        ([[[1]]], [1, 1]),
        ([[1, 2], [3, 4]], [4]),
        ([[1]], []),
        ([1, [2]], [2]),
        ([[]], [0, 1]),
    ],
)
def test_data_that_disagrees_with_its_shape_is_refused(data, shape):
    with pytest.raises(InvalidInput, match=r"^'x': "):
        decode(data, "FP32", shape)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "'shape' must be a list of integers, got null"),
        ("14", "'shape' must be a list of integers, got '14'"),
        ([4], r"the shape has 1 dimensions, the model takes \[-1, 4\]"),
        ([1, 5], "dimension 1 of the shape is 5, the model takes 4"),
        ([-1, 4], "dimension 0 of the shape is -1, not a length"),
        ([True, 4], "dimension 0 of the shape is true, not a length"),
        ([1.0, 4], r"dimension 0 of the shape is 1\.0, not a length"),
        (["1", 4], "dimension 0 of the shape is '1', not a length"),
        ([[1], 4], "dimension 0 of the shape is a list, not a length"),
    ],
)
def test_a_shape_that_the_model_does_not_take_is_refused_by_dimension(shape, message):
    with pytest.raises(InvalidInput, match=message):
        count_elements(shape, TensorSpec("x", "FP32", (-1, 4)))


@pytest.mark.parametrize(("shape", "count"), [([], 1), ([3], 3), ([2, 0, 5], 0), ([1] * 64, 1)])
def test_a_model_of_any_rank_takes_a_shape_of_any_rank(shape, count):
    assert count_elements(shape, TensorSpec("x", "FP32", None)) == count


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (None, "'shape' must be a list of integers, got null"),
        ([-1, 4], "dimension 0 of the shape is -1, not a length"),
        ([True], "dimension 0 of the shape is true, not a length"),
        ([1] * 65, "the shape has 65 dimensions, 64 are the limit"),
    ],
)
def test_what_is_no_shape_is_refused_by_a_model_of_any_rank_too(shape, message):
    with pytest.raises(InvalidInput, match=message):
        count_elements(shape, TensorSpec("x", "FP32", None))


def test_a_shape_too_large_for_any_memory_is_refused_before_anything_is_made():
    with pytest.raises(InvalidInput, match="too large"):
        count_elements([0, 2**63], TensorSpec("x", "FP32", (-1, -1)))
    for datatype in ("FP32", "BYTES"):
        with pytest.raises(InvalidInput):
            decode([1.0], datatype, [2**63, 2**63])
        with pytest.raises(InvalidInput):
            decode_bytes(bytes(4), datatype, [2**63, 2**63])


@given(tensors(finite=False), st.integers(-5, 5).filter(bool))
def test_bytes_of_any_other_size_are_refused(tensor, difference):
    datatype, array = tensor
    body = b"".join([to_bytes(array)])
    changed = body + bytes(difference) if difference > 0 else body[:difference]
    if changed != body:
        with pytest.raises(InvalidInput, match=r"^'x': "):
            decode_bytes(changed, datatype, list(array.shape))


def test_a_boolean_byte_is_zero_or_one():
    with pytest.raises(InvalidInput, match="neither 0 nor 1"):
        decode_bytes(b"\0\1\2", "BOOL", [3])


def test_an_element_that_is_not_utf8_is_refused():
    with pytest.raises(InvalidInput, match="'x': element 1 is not UTF-8 text, and onnxruntime takes no"):
        decode_bytes(b"\0\0\0\0\1\0\0\0\xff", "BYTES", [2])


@given(st.lists(st.binary(max_size=6), max_size=4))
def test_any_bytes_are_elements_of_an_answer_and_come_back_as_they_are(elements):
    data = b"".join(len(element).to_bytes(4, "little") + element for element in elements)
    spec = spec_of("BYTES", (len(elements),))
    array = from_bytes(memoryview(data), spec, [len(elements)], len(elements), any_bytes=True)
    assert [each.encode() if isinstance(each, str) else each for each in array.tolist()] == elements
    assert bytes(to_bytes(array)) == data


# ---------------------------------------------------------------------- BF16


@given(npst.arrays(np.float32, st.integers(0, 5), elements=st.floats(width=32)))
def test_numbers_for_bf16_are_rounded_to_the_nearest_as_ml_dtypes_does(array):
    with np.errstate(all="ignore"):
        expected = array.astype(ml_dtypes.bfloat16)
    for got in (rounded(array), rounded(array[:, None])[:, 0]):
        assert np.array_equal(widened(got), expected.astype(np.float32), equal_nan=True)
        assert np.array_equal(np.signbit(widened(got)[~np.isnan(array)]), np.signbit(array[~np.isnan(array)]))


@given(npst.arrays(BF16, npst.array_shapes(min_dims=0, min_side=0)))
def test_bf16_is_widened_exactly(array):
    expected = np.ascontiguousarray(array).view(ml_dtypes.bfloat16).astype(np.float32).reshape(array.shape)
    assert np.array_equal(widened(array), expected, equal_nan=True)
    assert np.array_equal(widened(array.T), expected.T, equal_nan=True)


def test_bf16_is_taken_and_written_as_numbers_too():
    got = decode([1, 0.1, None, "-Infinity"], "BF16", [2, 2])
    text = with_infinities(orjson.dumps(to_json(got), option=orjson.OPT_SERIALIZE_NUMPY), got)
    assert text == b'[1.0,0.100097656,null,"-Infinity"]'
    assert not got.flags.writeable
    assert bytes(to_bytes(got))[:2] == b"\x80\x3f"


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e39])
def test_a_number_that_bf16_would_make_infinite_is_refused(value):
    with pytest.raises(InvalidInput, match=r"^'x': element 1 of 'data', -?\S+, is out of the range of BF16$"):
        decode([math.inf, value], "BF16", [2])
    assert np.isfinite(widened(decode([3.38e38], "BF16", [1]))).all()


def test_an_element_longer_than_the_data_is_refused():
    with pytest.raises(InvalidInput, match="5 bytes of data are not 1 elements"):
        decode_bytes(b"\xff\xff\xff\xffa", "BYTES", [1])


@given(st.binary(max_size=40), st.sampled_from(sorted(DATATYPES)), st.lists(st.integers(0, 5), max_size=3))
def test_any_bytes_are_a_tensor_or_invalid_input(data, datatype, shape):
    try:
        array = decode_bytes(data, datatype, shape)
    except InvalidInput:
        return
    assert bytes(b"".join([to_bytes(array)])) == data


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=8,
)


@given(values, st.sampled_from(sorted(DATATYPES)), values | st.lists(st.integers(0, 3), max_size=3))
def test_any_json_is_a_tensor_or_invalid_input(data, datatype, shape):
    spec = spec_of(datatype, tuple(shape) if isinstance(shape, list) else ())
    try:
        array = from_json(data, spec, shape, count_elements(shape, spec))  # type: ignore[arg-type]
    except InvalidInput:
        return
    assert array.dtype == DATATYPES[datatype]
    assert list(array.shape) == shape


# ---------------------------------------------------------------------- specs


@pytest.mark.parametrize("datatype", ["BF8", "float", "", "bool"])
def test_an_unsupported_datatype_is_refused_by_the_name_of_its_tensor(datatype):
    with pytest.raises(Unsupported, match=r"'x': datatype .* is not supported"):
        TensorSpec("x", datatype, (1,))


def test_a_signature_finds_tensors_by_name_and_compares_by_value():
    a, b = TensorSpec("a", "FP32", (-1, 4)), TensorSpec("b", "INT64", (-1,))
    signature = Signature((a,), (b,))
    assert signature.input_by_name == {"a": a}
    assert signature.output_by_name == {"b": b}
    assert signature == Signature((TensorSpec("a", "FP32", (-1, 4)),), (b,))
    assert signature != Signature((a,), (TensorSpec("b", "INT64", (1,)),))
    assert hash(signature) == hash(Signature((a,), (b,)))


@pytest.mark.parametrize(
    ("spec", "described"),
    [
        (TensorSpec("a", "FP32", (-1, 4)), {"shape": [-1, 4]}),
        (TensorSpec("a", "FP32", ()), {"shape": []}),
        (TensorSpec("a", "FP32", None), {"shape": [-1], "any_rank": True}),
        (TensorSpec("a", "FP32", (4,), optional=True), {"shape": [4], "optional": True}),
    ],
)
def test_a_tensor_of_the_metadata_says_what_varies_and_what_may_be_left_out(spec, described):
    assert spec_json(spec) == {"name": "a", "datatype": "FP32", **described}
    assert spec_from_json(json.loads(json.dumps(spec_json(spec)))) == spec


def test_errors_show_only_the_beginning_of_a_long_text():
    with pytest.raises(InvalidInput) as caught:
        decode(["y" * 10_000], "FP32", [1])
    assert len(str(caught.value)) < 200


def test_a_deeply_nested_value_is_refused_without_recursion():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInput):
        decode(deep, "FP32", [1, 1])
    while deep:  # or its own destruction would be the recursion
        deep = deep[0]


def test_negative_zero_keeps_its_sign():
    assert math.copysign(1, decode([-0.0], "FP32", [1]).item()) == -1
