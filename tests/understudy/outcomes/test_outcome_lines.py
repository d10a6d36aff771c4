from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.outcomes import Told, read_lines
from serving.errors import InvalidInput
from understudy.outcomes.lines import COLUMNS, Missing, line_of, typed

RECEIPT = "r" * 72
NOBODY = Missing()


def told(row, missing=NOBODY) -> Told:
    [found] = read_lines(line_of(row, missing))
    return found


def test_a_row_by_receipt_and_one_by_user():
    assert told({"receipt": RECEIPT, "name": "paid", "value": True}) == Told("paid", True, RECEIPT)
    by_user = {"model": "digits", "key": "anna", "name": "paid", "value": 3, "time": 1_800_000_000}
    assert told(by_user) == Told("paid", 3.0, "", "digits", "anna", 1_800_000_000.0)


def test_what_a_person_adds_is_only_for_rows_that_do_not_say_it():
    missing = Missing("label", "digits")
    assert told({"receipt": RECEIPT, "value": 8}, missing) == Told("label", 8.0, RECEIPT)
    assert told({"receipt": RECEIPT, "name": "paid", "value": 1}, missing).name == "paid"
    assert told({"key": "anna", "value": 1, "time": 0}, missing).model == "digits"
    assert told({"key": "anna", "model": "iris", "value": 1, "time": 0}, missing).model == "iris"


def test_columns_that_nobody_reads_and_empty_ones_are_left_out():
    row = {"receipt": RECEIPT, "name": "paid", "value": 1, "country": "NZ", "model": None, "key": ""}
    assert told(row) == Told("paid", 1.0, RECEIPT)


def test_moments_and_decimals_of_parquet_are_told_as_json_has_them():
    at = datetime(2026, 1, 31, 12, tzinfo=UTC)
    found = told({"receipt": RECEIPT, "name": "paid", "value": Decimal("12.50"), "time": at})
    assert (found.value, found.time) == (12.5, at.timestamp())


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"receipt": RECEIPT, "value": 1}, "--name"),
        ({"receipt": RECEIPT, "name": "paid"}, "value"),
        ({"name": "paid", "value": 1}, "expected a receipt, or model, key and time"),
        ({"receipt": RECEIPT, "key": "anna", "name": "paid", "value": 1}, "expected a receipt, or model"),
        ({"model": "digits", "key": "anna", "name": "paid", "value": 1}, "when they were answered"),
        ({"receipt": RECEIPT, "name": "paid", "value": b"1"}, "not bytes"),
        ({"receipt": RECEIPT, "name": "paid", "value": [1]}, "not list"),
        ({"receipt": RECEIPT, "name": "paid", "value": float("nan")}, "finite"),
        ({"receipt": RECEIPT, "name": "paid", "value": 1, "time": "yesterday"}, "2026-01-31T12:00:00Z"),
        ({"receipt": RECEIPT, "name": "paid", "value": 1, "time": datetime(2026, 1, 31)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_what_no_door_would_understand_is_refused_with_the_reason(row, words):
    with pytest.raises(InvalidInput, match=words):
        line_of(row, NOBODY)


def ground_truth(data: str, encoding: str = "CSV"):
    return {
        "groundTruthData": {"data": data, "encoding": encoding},
        "eventMetadata": {"eventId": RECEIPT},
        "eventVersion": "0",
    }


def test_ground_truth_as_sagemaker_has_it():
    assert told(ground_truth("1"), Missing("label")) == Told("label", 1.0, RECEIPT)
    assert told(ground_truth(" cat\n"), Missing("label")).value == "cat"
    with pytest.raises(InvalidInput, match="encoding 'BASE64'"):
        line_of(ground_truth("MQ==", "BASE64"), Missing("label"))
    with pytest.raises(InvalidInput, match="eventId"):
        line_of({"groundTruthData": {"data": "1", "encoding": "CSV"}}, Missing("label"))


def test_cells_are_numbers_where_they_look_like_one():
    cells = {"1": 1.0, "-2.5e3": -2500.0, "0.5": 0.5, "TRUE": True, "false": False, "": None}
    assert {cell: typed("value", cell) for cell in cells} == cells
    for text in ("01067", "cat", "1_000", "nan", "inf", "0x10", "1 000", "٣"):
        assert typed("value", text) == text
    assert typed("receipt", "123") == "123"
    assert typed("key", "true") == "true"
    assert typed("time", "2026-01-31T12:00:00Z") == "2026-01-31T12:00:00Z"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_that_is_written_is_the_number_that_is_told(value):
    assert told({"receipt": RECEIPT, "name": "x", "value": typed("value", repr(value))}).value == value


@given(
    st.dictionaries(
        st.sampled_from(["receipt", "model", "key", "name", "value", "time"]), st.text() | st.floats()
    )
)
def test_a_row_is_one_line_that_doors_understand_or_is_refused(row):
    try:
        line = line_of(row, Missing("label"))
    except InvalidInput:
        return
    assert line.count(b"\n") == 1
    assert orjson.loads(line).keys() <= set(COLUMNS)
    assert len(read_lines(line)) == 1
