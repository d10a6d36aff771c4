import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.hop.quick_check import is_plainly_good
from serving.wire.protocol import decode_response

NAMES = frozenset({"label", "probabilities"})
LABEL = {"name": "label", "datatype": "INT64", "shape": [2], "data": [7, 8]}
PROBABILITIES = {"name": "probabilities", "datatype": "FP32", "shape": [2, 1], "data": [0.5, 1]}
ANSWER = {"model_name": "digits", "model_version": "1", "id": "a", "outputs": [LABEL, PROBABILITIES]}


def test_the_usual_answer_is_plain():
    assert is_plainly_good(orjson.dumps(ANSWER), NAMES)
    assert is_plainly_good(orjson.dumps({"outputs": [LABEL]}), NAMES)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"name": ["label"]},
        {"datatype": "INT8", "data": [7, 128]},
        {"datatype": "TEXT"},
        {"datatype": "BYTES", "data": ["a", "b"]},
        {"datatype": ["INT64"]},
        {"shape": [3]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": []},
        {"shape": [-1, -2]},
        {"shape": "2"},
        {"data": [7, None]},
        {"data": [7, 8.5]},
        {"data": [7, 1 << 63]},
        {"data": [[7, 8]]},
        {"data": "78"},
        {"parameters": {"binary_data_size": 16}},
    ],
)
def test_anything_else_is_for_the_decoder(changed):
    assert not is_plainly_good(orjson.dumps({"outputs": [LABEL | changed]}), NAMES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"7",
        b'{"outputs":{}}',
        b'{"outputs":[7]}',
        b'{"outputs":[],"id":7}',
        b'{"outputs":[}',
    ],
)
def test_what_is_no_answer_is_for_the_decoder(body):
    assert not is_plainly_good(body, NAMES)


def test_an_output_named_twice_is_for_the_decoder():
    assert not is_plainly_good(orjson.dumps({"outputs": [LABEL, LABEL]}), NAMES)


values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=2)
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["label", "probabilities", "other", 7]),
        "datatype": st.sampled_from(
            ["INT64", "UINT8", "INT8", "FP16", "FP32", "FP64", "BOOL", "BYTES", "X", None]
        ),
        "shape": st.lists(st.one_of(st.integers(-1, 3), st.just(1.0), st.just(True)), max_size=3),
        "data": st.one_of(
            st.none(),
            st.lists(values, max_size=6),
            st.lists(st.integers(-200, 300), max_size=6),
            st.lists(st.floats()),
        ),
    },
    optional={"parameters": st.just({})},
)
near = st.sampled_from([LABEL, PROBABILITIES]).flatmap(
    lambda plain: tensors.flatmap(
        lambda other: st.sampled_from([{}, *({name: value} for name, value in other.items())]).map(
            lambda changed: plain | changed
        )
    )
)
answers = st.fixed_dictionaries(
    {"outputs": st.lists(st.one_of(near, tensors), max_size=3)}, optional={"model_name": values, "id": values}
)


@given(answers)
def test_a_yes_is_one_of_the_decoder_too(answer):
    body = orjson.dumps(answer)
    if is_plainly_good(body, NAMES):
        assert decode_response(body, None).outputs.keys() <= NAMES
