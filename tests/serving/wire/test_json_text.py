"""JSON and three literals more: as strict of all else as orjson is."""

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.wire.json_text import parse

texts = st.text(st.characters(codec="utf-8")) | st.sampled_from(["NaN", "-Infinity", 'a"NaN"\\'])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=8,
)


def alike(got, expected):
    """Equal with NaN equal to itself, by the one writer that has it."""
    return json.dumps(got) == json.dumps(expected)


@given(values)
def test_what_python_writes_is_read_as_it_was(value):
    assert alike(parse(json.dumps(value).encode()), value)
    assert alike(parse(json.dumps(value, ensure_ascii=False, indent=1).encode()), value)


@given(
    st.lists(
        st.sampled_from(
            [*'[]{},:-+1e.0 "\\aun\n', "NaN", "Infinity", "-Infinity", "\\u", "\\ud800", "1e999", "null"]
        )
    )
)
def test_only_the_literals_are_taken_beside_what_orjson_takes(pieces):
    text = "".join(pieces).encode()
    try:
        got = parse(text)
    except ValueError:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(text)
        return
    try:
        assert alike(got, orjson.loads(text))
    except orjson.JSONDecodeError:
        assert alike(got, json.loads(text))
        assert b"NaN" in text or b"Infinity" in text
        assert b"1e999" not in text or b'"' in text


@pytest.mark.parametrize(
    "text",
    [
        b"[-NaN]", b"[+Infinity]", b"[5NaN]", b"[NaN5]", b"[nan]", b"[Inf]", b"{NaN:1}", b"[NaN]x", b"[NaN,]",
        b'[NaN,"\\ud800"]', b'[NaN,"\xff"]', b"[NaN,1e999]", b"[NaN," + b"9" * 5000 + b"]",
        b"\xef\xbb\xbf[NaN]",
        b'[NaN,"\\NaN"]', b'[NaN,"\\u00NaN"]', b'[NaN,"\n"]', b"[" * 9 + b"NaN" + b"]" * 8,
        b"[" * 5000 + b"NaN" + b"]" * 5000, '["NaN"]'.encode("utf-16"), "[NaN]".encode("utf-16-le"),
    ],
)  # fmt: skip
def test_with_a_literal_all_else_is_as_strict(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_an_error_names_the_column_that_it_has_in_the_text():
    text = b'{"a": [NaN, -Infinity, Infinity, x]}'
    with pytest.raises(orjson.JSONDecodeError) as caught:
        parse(text)
    assert text[caught.value.pos :].startswith(b"x")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_text_may_be_any_kind_of_bytes(kind):
    assert math.isnan(parse(kind(b"[NaN]"))[0])
