"""An outcome that is told becomes a row of the draw of its request, or is left out with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.outcomes.intake import AROUND_SECONDS, KEPT_SECONDS, Known, LeftOut, intake, names_of
from control.store.outcomes import Arm, Row, Stage, signed
from router.counting.receipt import Receipt, name_id
from router.counting.split import fresh_weight, key_hash, point, salt_of
from router.mirror.label_pairs import id_of
from router.rollout.parser import parse_one
from router.wire.outcomes import Told
from serving.errors import InvalidInput

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 50}
sticky: {header: x-user}
outcomes:
  label: {output: label, within: 1h}
  conversion: {kind: binary, within: 1h}
  revenue: {kind: number, range: [0, 500], within: 1h}
"""
ROLLOUTS = {"digits": parse_one("digits", DOCUMENT, "test")}
NOW = 1_795_786_369.0
STAGES = (
    Stage("digits", 1, NOW - 9000.0),
    Stage("digits", 2, NOW - 6000.0, 10.0, 0.0, 2, "digits/2", "x-user"),
    Stage("digits", 3, NOW - 3000.0, 10.0, 0.0, 2, "digits/2", "x-user"),
    Stage("digits", 4, NOW - 1000.0, 50.0, 10.0, 2, "digits/2", "x-user"),
)


def receipt(candidate=1, **said) -> Receipt:
    fields = {"stage": 4, "drawn": "canary", "arrived": NOW - 500.0, "key": 2**63 + 5, "anew": True, **said}
    return Receipt(
        1, name_id("digits"), role="stable", node=1, worker=0, counter=0, candidate=candidate, **fields
    )


def known(found: Receipt | None = None) -> Known:
    def read(_: str) -> Receipt:
        if found is None:
            raise InvalidInput("not a receipt")
        return found

    return Known(ROLLOUTS, names_of(ROLLOUTS), lambda _: {stage.stage: stage for stage in STAGES}, read)


def of_receipt(found: Receipt | None, name="conversion", value=1.0, at=None, now=NOW) -> Row | LeftOut:
    return intake(Told(name, value, "text", at=at), known(found), now)


def of_user(time, key="anna", name="conversion", value=1.0) -> Row | LeftOut:
    return intake(Told(name, value, "", "digits", key, time), known(), NOW)


def test_a_receipt_says_the_draw_whoever_answered():
    found = of_receipt(receipt(anew=False))
    assert isinstance(found, Row)
    assert (found.id, found.stage, found.arm, found.anew) == (id_of(b"text"), 4, 1, False)
    assert (found.value, found.label, found.at) == (1.0, None, NOW)
    assert found.key == 2**63 + 5 - 2**64 == signed(2**63 + 5)
    assert (found.matures, found.kept_until) == (NOW + 3100.0, NOW + 3100.0 + KEPT_SECONDS)


def test_a_label_is_looked_at_at_once_and_may_be_of_any_answer():
    found = of_receipt(receipt(drawn=None), "label", "cat")
    assert isinstance(found, Row)
    assert (found.label, found.value, found.matures) == ('"cat"', 0.0, NOW)


@pytest.mark.parametrize(
    ("said", "told", "reason"),
    [
        (None, {}, "receipt"),
        ({"stage": 9}, {}, "rollout"),
        ({}, {"name": "nothing"}, "outcome"),
        ({}, {"value": 2.0}, "value"),
        ({}, {"name": "revenue", "value": -1.0}, "value"),
        ({"drawn": None}, {}, "not_drawn"),
        ({"arrived": NOW - 3601.0}, {}, "late"),
        ({"arrived": NOW + 61.0}, {}, "early"),
        ({"arrived": NOW - 3600.0 - KEPT_SECONDS - 1.0}, {"at": NOW - KEPT_SECONDS - 2.0}, "late"),
    ],
)
def test_what_is_left_out_says_why(said, told, reason):
    found = of_receipt(None if said is None else receipt(**said), **told)
    assert isinstance(found, LeftOut)
    assert found.reason == reason
    assert found.words


def test_what_a_node_took_in_time_is_taken_later():
    found = of_receipt(receipt(arrived=NOW - 7200.0), at=NOW - 3700.0)
    assert isinstance(found, Row)
    assert found.at == NOW - 3700.0


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0 \t"), min_size=1), st.booleans())
def test_a_user_is_attributed_as_a_router_draws_them(key, late):
    stage = STAGES[3 if late else 1]
    found = of_user(NOW - 500.0 if late else NOW - 3300.0, f" {key}\t")
    place = point(salt_of("digits", "digits/2", 2), key.encode())
    assert isinstance(found, Row)
    assert (found.stage, found.arm) == (stage.stage, int(place < stage.weight / 100))
    assert found.anew == (place >= stage.used / 100)
    assert found.key == signed(key_hash(key.encode()))
    assert fresh_weight(stage.weight, stage.used) / 100 == stage.fresh


def test_the_same_user_and_time_are_one_request():
    first, again, other = of_user(NOW - 500.0), of_user(NOW - 500.0, "anna "), of_user(NOW - 499.0)
    assert first == again
    assert isinstance(first, Row)
    assert isinstance(other, Row)
    assert other.id != first.id


@pytest.mark.parametrize("seconds", [-AROUND_SECONDS, -1.0, 0.0, 1.0, AROUND_SECONDS - 0.1])
def test_near_a_change_of_the_draw_nobody_is_attributed(seconds):
    found = of_user(NOW - 1000.0 + seconds)
    assert isinstance(found, LeftOut)
    assert found.reason == "ambiguous"
    same = of_user(NOW - 3000.0 + seconds)  # the third stage draws as the second does
    assert isinstance(same, Row)
    assert same.stage == (2 if seconds < 0.0 else 3)


@pytest.mark.parametrize(
    ("time", "key", "name", "reason"),
    [
        (NOW - 9001.0, "anna", "conversion", "rollout"),
        (NOW - 8000.0, "anna", "conversion", "ambiguous"),  # without `sticky`
        (NOW - 500.0, " \t", "conversion", "ambiguous"),
        (NOW - 500.0, "anna", "label", "receipt"),
        (NOW - 5000.0, "anna", "conversion", "late"),
    ],
)
def test_a_user_who_cannot_be_attributed_is_left_out(time, key, name, reason):
    found = of_user(time, key, name)
    assert isinstance(found, LeftOut)
    assert found.reason == reason


def test_nobody_is_attributed_to_a_rollout_that_is_not_in_force():
    found = intake(Told("conversion", 1.0, "", "iris", "anna", NOW), known(), NOW)
    assert isinstance(found, LeftOut)
    assert found.reason == "rollout"


# ------------------------------------------------------------------ several candidates

ARMS = (Arm("digits/2", 20.0), Arm("digits/3", 0.0))


def known_test(found: Receipt | None = None) -> Known:
    stage = Stage("digits", 4, NOW - 1000.0, arms=ARMS)
    return Known(ROLLOUTS, names_of(ROLLOUTS), lambda _: {4: stage}, lambda _: found)


@pytest.mark.parametrize(
    ("drawn", "candidate", "arm"), [("canary", 2, 2), ("canary", 1, 1), ("stable", 2, 0)]
)
def test_a_receipt_says_which_candidate_was_drawn(drawn, candidate, arm):
    """A draw to stable stays stable's, also where a candidate answered."""
    found = intake(Told("conversion", 1.0, "text"), known_test(receipt(candidate, drawn=drawn)), NOW)
    assert isinstance(found, Row)
    assert found.arm == arm


@pytest.mark.parametrize(("candidate", "test"), [(3, True), (2, False)])
def test_a_candidate_that_took_no_part_is_not_taken_for_another(candidate, test):
    said = receipt(candidate)
    found = intake(Told("conversion", 1.0, "text"), known_test(said) if test else known(said), NOW)
    assert found == LeftOut("rollout", f"candidate {candidate} took no part in stage 4 of 'digits'", "digits")


@pytest.mark.parametrize("drawn", ["canary", "stable"])
def test_a_draw_at_which_a_candidate_was_away_counts_for_nobody_but_labels(drawn):
    said = receipt(2, drawn=drawn, anew=False)
    found = intake(Told("conversion", 1.0, "text"), known_test(said), NOW)
    assert isinstance(found, LeftOut)
    assert (found.reason, found.words[:16]) == ("not_drawn", "a candidate was ")
    label = intake(Told("label", 7.0, "text"), known_test(said), NOW)
    assert isinstance(label, Row)


def test_users_are_not_drawn_among_several_candidates():
    found = intake(Told("conversion", 1.0, "", "digits", "anna", NOW - 500.0), known_test(), NOW)
    words = "the A/B/n test of 'digits' draws each request, and no users; tell its receipt"
    assert found == LeftOut("ambiguous", words, "digits")
