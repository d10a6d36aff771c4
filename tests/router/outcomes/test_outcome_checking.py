"""What a node takes of what it is told, by its keys and its documents."""

import pytest

from router.counting.receipt import LENGTH, SECRET_BYTES, ReceiptKey, Receipts
from router.outcomes.checking import Checked, Checks
from router.rollout.snapshot import ServedRollout
from router.rollout.values import Outcome, Rollout, Target
from router.wire.outcomes import Told

NOW = 1_800_000_000.0
KEY, OTHER = ReceiptKey(7, b"s" * SECRET_BYTES, 1000.0), ReceiptKey(8, b"t" * SECRET_BYTES, 1000.0)
KEYS = {7: KEY}
CONVERSION = Outcome("conversion", "binary", 3600.0)
LABEL = Outcome("label", "label", 86_400.0, output="label")


def served(model, **more):
    return ServedRollout(Rollout(model, Target("digits/1"), **more), 1, Target("digits/1"))


CHECKS = Checks(
    {
        "shop": served("shop", outcomes=(CONVERSION, LABEL), sticky_header="x-user"),
        "drawn": served("drawn", outcomes=(CONVERSION,)),
        "bare": served("bare"),
    }
)


def receipt(model="shop", drawn="canary", at=NOW - 60, key=KEY):
    receipts = Receipts("local", 0)
    receipts.key = key
    return receipts.of(model, 3).make(drawn, "stable", 0, at).decode()


def of(told, at=NOW):
    return CHECKS.of(told, KEYS, at)


def reason(told, at=NOW):
    return of(told, at).reason


def test_the_outcome_of_a_receipt_is_taken():
    assert of(Told("conversion", 1.0, receipt())) == Checked("shop", "conversion", None)
    assert of(Told("label", "7", receipt())) == Checked("shop", "label", None)


@pytest.mark.parametrize("place", range(LENGTH))
def test_a_receipt_of_which_any_character_was_altered_is_not_taken(place):
    right = receipt()
    wrong = right[:place] + ("A" if right[place] != "A" else "B") + right[place + 1 :]
    assert of(Told("conversion", 1.0, wrong))[:3] == ("", "", "receipt")


def test_a_receipt_of_a_key_that_is_not_known_is_not_taken():
    found = of(Told("conversion", 1.0, receipt(key=OTHER)))
    assert found == Checked("", "", "receipt", unknown=NOW - 60)


def test_what_no_document_has_is_not_taken():
    assert of(Told("conversion", 1.0, receipt("gone"))) == Checked("", "", "rollout")
    assert of(Told("conversion", 1.0, receipt("bare"))) == Checked("bare", "", "outcome")
    assert of(Told("revenue", 1.0, receipt())) == Checked("shop", "", "outcome")
    assert reason(Told("conversion", 1.0, "", "gone", "u", NOW)) == "rollout"
    assert reason(Told("revenue", 1.0, "", "shop", "u", NOW)) == "outcome"


def test_the_time_of_a_receipt_is_when_its_request_came():
    told = Told("conversion", 1.0, receipt(at=NOW - 3601), time=NOW)
    assert (reason(told), reason(told, NOW - 2)) == ("late", None)
    assert reason(Told("conversion", 1.0, receipt(at=NOW + 90))) == "early"


def test_a_value_that_the_outcome_cannot_have_is_not_taken():
    assert of(Told("conversion", 0.5, receipt())) == Checked("shop", "conversion", "value")


def test_an_answer_that_nobody_was_drawn_for_says_nothing_but_by_its_label():
    forced = receipt(drawn=None)
    assert reason(Told("conversion", 1.0, forced)) == "not_drawn"
    assert reason(Told("label", "7", forced)) is None


def test_a_user_is_taken_where_the_rollout_draws_by_users():
    assert of(Told("conversion", 1.0, "", "shop", "u", NOW - 60)) == Checked("shop", "conversion", None)
    assert reason(Told("conversion", 1.0, "", "shop", "u", NOW - 7200)) == "late"
    assert of(Told("conversion", 1.0, "", "drawn", "u", NOW)) == Checked("drawn", "conversion", "ambiguous")
    assert reason(Told("conversion", 1.0, "", "shop", " \t", NOW)) == "ambiguous"
    assert reason(Told("label", "7", "", "shop", "u", NOW)) == "receipt"
