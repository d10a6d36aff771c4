import math
from contextlib import suppress
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.receipt import LENGTH, Receipt
from router.rollout.values import Outcome
from router.wire.outcomes import (
    MAX_ARRAY_BYTES,
    MAX_LINE_BYTES,
    MAX_LINES,
    REASONS,
    Told,
    drawn,
    each_of,
    read_lines,
    refusal,
    written,
)
from serving.errors import InvalidInput

RECEIPT = "r" * LENGTH
DAY = 86_400.0
LABEL = Outcome("label", "label", 7 * DAY, output="label")
CONVERSION = Outcome("conversion", "binary", DAY)
REVENUE = Outcome("revenue", "number", DAY, range=(0.0, 500.0))

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
moments = st.floats(0, 2**40, exclude_max=True, allow_nan=False)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), texts, st.just(""), st.booleans(), st.integers(-9, 9)
)
nothing = st.just("")
of_receipts = st.builds(
    Told, texts, values, st.just(RECEIPT), nothing, nothing, st.none() | moments, st.none() | moments
)
of_users = st.builds(Told, texts, values, nothing, texts, texts, moments, st.none() | moments)
told = st.lists(of_receipts | of_users, min_size=1, max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=7), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["receipt", "model", "key", "name", "value", "time", "at", "else"])


def line(**changes) -> dict:
    return {"receipt": RECEIPT, "name": "conversion", "value": 1, **changes}


def lines(*objects) -> bytes:
    return b"\n".join(map(orjson.dumps, objects))


@given(told, moments)
def test_what_a_node_writes_control_reads_with_the_time_at_which_it_was_taken(outcomes, at):
    read = read_lines(written(outcomes, at), from_node=True)
    assert read == [each._replace(at=at if each.at is None else each.at) for each in outcomes]
    assert [type(each.value) for each in read] == [
        float if type(each.value) is int else type(each.value) for each in outcomes
    ]


@given(told, st.sampled_from(["array", "lines", "spread"]))
def test_an_array_lines_and_an_object_say_the_same(outcomes, form):
    objects = [
        {key: value for key, value in each._asdict().items() if key != "at" and value is not None}
        for each in outcomes
    ]
    if form == "spread":
        outcomes, body = outcomes[:1], orjson.dumps(objects[0], option=orjson.OPT_INDENT_2)
    else:
        body = orjson.dumps(objects) if form == "array" else b"\r\n".join(map(orjson.dumps, objects)) + b"\n"
    assert read_lines(body) == [each._replace(at=None) for each in outcomes]


@given(st.binary(max_size=200) | st.lists(anything, max_size=4).map(lambda all_: lines(*all_)), st.booleans())
def test_any_bytes_are_understood_or_refused(body, from_node):
    with suppress(InvalidInput):
        for each in read_lines(body, from_node=from_node):
            assert isinstance(each.value, str | bool) or math.isfinite(each.value)


@given(st.dictionaries(keys, anything | st.just(RECEIPT), max_size=7), st.booleans())
def test_any_object_is_understood_or_refused_with_its_number(found, from_node):
    body = orjson.dumps([line(at=1.0) if from_node else line(), found])
    words, read = "", None
    try:
        _, read = read_lines(body, from_node=from_node)
    except InvalidInput as error:
        words = str(error)
    if read is None:
        assert words.startswith("outcome 2: ")
    else:
        assert read.name
        assert bool(read.receipt) != bool(read.key)
        assert (read.at is not None) == from_node


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"", "no outcome"),
        (b" \n ", "no outcome"),
        (b"[]", "the array is empty"),
        (b"[1, 2", "no array of outcomes"),
        (b"{", "outcome 1: no JSON"),
        (lines(line()) + b"\n\n" + lines(line()), "outcome 2: no JSON"),
        (lines(line(), 1), "outcome 2: expected an object"),
        (lines(line(at=3.0)), "outcome 1: 'at' is not known; known: key, model"),
        (lines(line(name="")), "name: which outcome"),
        (lines(line(name=7)), "name: expected text"),
        (lines(line(value=None)), "value: expected a finite number"),
        (lines(line(value={})), "value: expected a finite number"),
        (lines(line(value=2**60)), "value: 1152921504606846976 is beyond 2^53"),
        (b'{"receipt": "r", "name": "n", "value": 1e999}', "outcome 1: "),
        (lines(line(value="x" * 1001)), "value: expected text of at most 1,000 characters, got 1,001"),
        (lines(line(value="\0")), "value: text with a character of code 0"),
        (lines(line(receipt="")), "expected a receipt, or model, key and time"),
        (lines(line(model="m")), "expected a receipt, or model, key and time"),
        (lines(line(receipt="", model="m", key="k")), "by user it takes model, key and time"),
        (lines(line(time="yesterday")), "time: expected such as"),
        (lines(line(time="2026-01-31T12:00:00")), "time: expected such as"),
        (lines(line(time="0001-01-01T00:00:00Z")), "time: expected seconds since 1970"),
        (lines(line(time=-1)), "time: expected seconds since 1970"),
        (lines(line(time=1_800_000_000_000)), "time: expected seconds since 1970"),
        (lines(line(time=True)), "time: expected seconds since 1970"),
    ],
)
def test_what_is_wrong_is_said(wrong, words):
    with pytest.raises(InvalidInput) as refused:
        read_lines(wrong)
    assert words in str(refused.value)


def test_a_node_says_when_it_took_each():
    with pytest.raises(InvalidInput, match="at: when the node took it is not said"):
        read_lines(lines(line()), from_node=True)


def test_times_are_seconds_or_text_with_an_offset():
    found = read_lines(lines(line(time=0), line(time="1970-01-01T01:00:00+01:00"), line(time=1.5), line()))
    assert [each.time for each in found] == [0.0, 0.0, 1.5, None]


def test_a_request_is_bounded_before_it_is_parsed():
    most = lines(*[line()] * MAX_LINES)
    assert len(read_lines(most)) == MAX_LINES
    for more in (most + b"\n" + lines(line()), orjson.dumps([line()] * (MAX_LINES + 1))):
        with pytest.raises(InvalidInput, match=r"10,001 outcomes, of which a request has at most 10,000"):
            read_lines(more)
    with pytest.raises(InvalidInput, match="outcome 2: a line of more than"):
        read_lines(lines(line()) + b"\n" + b" " * MAX_LINE_BYTES + lines(line(), line()))
    with pytest.raises(InvalidInput, match=r"an array of more than 4,194,304 bytes"):
        read_lines(b"[" + b" " * MAX_ARRAY_BYTES + b"]")
    with pytest.raises(InvalidInput, match=r"67,108,863 outcomes"):
        read_lines(b"{" + b"\n" * (2**26 - 2) + b"}")


def test_the_longest_outcome_fits_into_a_line_however_it_is_escaped():
    wide = "\N{GRINNING FACE}"
    escaped = r"\ud83d\ude00"
    whole = {"model": wide * 128, "key": wide * 1000, "name": wide * 128, "value": wide * 1000, "time": 1.0}
    text = orjson.dumps(whole).decode().replace(wide, escaped).encode()
    assert len(text) < MAX_LINE_BYTES
    assert read_lines(text + b"\n" + text)[1].key == wide * 1000


def test_outcomes_can_be_read_one_by_one():
    found = each_of(lines(line(value=1), line(value=2), "wrong"))
    assert [next(found).value, next(found).value] == [1.0, 2.0]
    with pytest.raises(InvalidInput, match="outcome 3"):
        next(found)


@pytest.mark.parametrize(
    ("outcome", "value", "reason"),
    [
        (LABEL, "cat", None),
        (LABEL, 3.0, None),
        (LABEL, True, None),
        (replace(LABEL, tolerance=0.5), 3.0, None),
        (replace(LABEL, tolerance=0.5), "3", "value"),
        (replace(LABEL, range=(0.0, 1.0)), 2.0, "value"),
        (CONVERSION, 0.0, None),
        (CONVERSION, True, None),
        (CONVERSION, 0.5, "value"),
        (CONVERSION, "yes", "value"),
        (REVENUE, 500.0, None),
        (REVENUE, 500.5, "value"),
        (REVENUE, -0.5, "value"),
        (REVENUE, True, "value"),
        (replace(REVENUE, range=None), 1e300, None),
    ],
)
def test_only_values_that_the_outcome_can_have_are_taken(outcome, value, reason):
    assert refusal(outcome, value, 100.0, 100.0) == reason


def test_an_outcome_is_taken_from_its_request_until_its_within():
    def at(moment):
        return refusal(CONVERSION, 1.0, 1000.0, moment)

    assert (at(1000.0), at(1000.0 + DAY), at(1000.0 + DAY + 1)) == (None, None, "late")
    assert (at(940.0), at(939.0)) == (None, "early")


def test_what_nobody_was_drawn_for_says_nothing_of_either_side():
    receipt = Receipt(1, 2, 3, None, "stable", 4.0, 5, 6, 7, 0)
    assert drawn(receipt) == "not_drawn"
    assert drawn(receipt._replace(drawn="stable")) is None
    assert "not_drawn" in REASONS
