"""Outcomes in batches, checked before any is told, and understood by the server as they were meant."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.outcomes import MAX_BODY_BYTES, MAX_LINES, read_lines
from understudy_client import InvalidAnswer, InvalidData, LeftOut, Outcome, OutcomesTaken
from understudy_client import outcomes as ours
from understudy_client.outcomes import batches, read_taken

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
values = (
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
moments = st.none() | st.floats(0, 2**39)
by_receipt = st.builds(Outcome, name=texts, value=values, receipt=texts, time=moments)
by_user = st.builds(Outcome, name=texts, value=values, model=texts, key=texts, time=st.floats(0, 2**39))


@given(st.lists(by_receipt | by_user, max_size=20))
def test_the_server_understands_what_was_meant(outcomes):
    told = [each for batch in batches(outcomes) for each in read_lines(batch.body)]
    assert len(told) == len(outcomes)
    for outcome, each in zip(outcomes, told, strict=True):
        assert (each.name, each.time) == (outcome.name, outcome.time)
        assert (each.value, type(each.value) is bool) == (outcome.value, type(outcome.value) is bool)
        assert (each.receipt, each.model, each.key) == (
            outcome.receipt or "",
            outcome.model or "",
            outcome.key or "",
        )


def test_batches_are_of_the_size_that_a_server_takes():
    assert ours.MAX_LINES == MAX_LINES
    assert ours.MAX_BODY_BYTES <= MAX_BODY_BYTES
    many = [{"receipt": "r", "name": "n", "value": number} for number in range(MAX_LINES * 2 + 1)]
    assert [(batch.before, batch.count) for batch in batches(iter(many))] == [
        (0, MAX_LINES),
        (MAX_LINES, MAX_LINES),
        (2 * MAX_LINES, 1),
    ]
    long = [Outcome("n", "x" * 1000, receipt="r")] * MAX_LINES
    assert all(len(batch.body) <= ours.MAX_BODY_BYTES for batch in batches(long))
    assert sum(batch.count for batch in batches(long)) == MAX_LINES
    assert batches([]) == []


def test_elements_of_outputs_and_moments_are_told_as_what_they_are():
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    outcomes = [
        Outcome("label", np.array([8])[0], receipt="r", time=noon),
        Outcome("label", np.float32(0.5), receipt="r"),
        Outcome("label", np.bool_(True), receipt="r"),
        Outcome("label", np.str_("eight"), receipt="r"),
    ]
    [batch] = batches(outcomes)
    told = read_lines(batch.body)
    assert [each.value for each in told] == [8, 0.5, True, "eight"]
    assert told[0].time == noon.timestamp()


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome("n", float("nan"), receipt="r"), "no finite number"),
        (Outcome("n", 2**53 + 1, receipt="r"), "beyond 2\\^53"),
        (Outcome("n", [1], receipt="r"), "got a list"),
        (Outcome("n", None, receipt="r"), "got a NoneType"),
        (Outcome("", 1, receipt="r"), "name: expected text"),
        (Outcome("n", 1), "expected a receipt, or model, key and time"),
        (Outcome("n", 1, receipt="r", model="m"), "expected a receipt, or model, key and time"),
        (Outcome("n", 1, model="m", key="k"), "by user it takes model, key and time"),
        (Outcome("n", 1, receipt="r", time=datetime(2026, 1, 1)), "without its time zone"),  # noqa: DTZ001
        (Outcome("n", 1, receipt="r", time="noon"), "expected seconds since 1970"),
        ({"name": "n", "value": 1, "recipt": "r"}, "recipt is not known; known: key"),
        ({"receipt": "r"}, "a name and a value"),
        ("r", "expected an Outcome or a mapping, got a str"),
    ],
)
def test_what_cannot_be_told_is_named_by_its_number_before_anything_is_told(outcome, words):
    with pytest.raises(InvalidData, match=f"outcome 2: .*{words}.*; nothing was told"):
        batches([Outcome("n", 1, receipt="r"), outcome])


def test_one_outcome_is_no_list_of_them():
    with pytest.raises(InvalidData, match="give a list"):
        batches(Outcome("n", 1, receipt="r"))


def test_what_was_taken_adds_up_over_batches():
    [first, second] = batches([Outcome("n", number, receipt="r") for number in range(MAX_LINES + 2)])
    of_first = read_taken(
        b'{"accepted": 9999, "left_out": {"late": 1}, "examples": [{"line": 7, "reason": "late"}]}', first
    )
    of_second = read_taken(
        b'{"accepted": 0, "left_out": {"late": 1, "value": 1}, "examples": [{"line": 2, "reason": "value"}]}',
        second,
    )
    taken = of_first + of_second
    assert taken == OutcomesTaken(
        9999, {"late": 2, "value": 1}, (LeftOut(7, "late"), LeftOut(MAX_LINES + 2, "value"))
    )
    assert taken.told == MAX_LINES + 2
    assert str(taken) == "9,999 of 10,002 taken, left out: 2 late, 1 value"


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"no", b'{"accepted": 2, "left_out": {}, "examples": []}', b'{"accepted": 1}']
)
def test_an_answer_that_does_not_account_for_each_is_none(body):
    [batch] = batches([Outcome("n", 1, receipt="r")])
    with pytest.raises(InvalidAnswer):
        read_taken(body, batch)
