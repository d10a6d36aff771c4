"""Outcomes of an A/B/n test enter once, at the candidate that was drawn, with the shares of their stage."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.judging.outcomes.side_sums import SideSums, matured_sides
from control.judging.outcomes.stage_outcomes import StageOutcomes, matured_outcomes
from control.outcomes.book import Book
from control.outcomes.desk import InForce
from control.outcomes.entering import enter
from control.store.outcome_entries import Entries, best_place, guard_place
from control.store.outcome_tables import OUTCOME_SUMS, OUTCOMES
from control.store.outcomes import Arm, Row, Stage
from control.store.store import Change, Store
from harness.killed_entering import kill_while_entering
from harness.search import examples
from router.rollout.parser import parse_one

WITHIN = 60.0
DOCUMENT = """
stable: digits/1
candidates:
  - {model: digits/2, weight: 20}
  - {model: digits/3, weight: 30}
  - {model: digits/4, weight: 10}
outcomes:
  paid: {kind: binary, within: 60s}
  revenue: {kind: number, range: [0, 10], within: 60s}
guards:
  payers: {outcome: paid, maxDrop: 5%}
  revenue: {outcome: revenue, maxDrop: 5%}
best: {outcome: paid}
"""
BY_REVENUE = DOCUMENT.replace("best: {outcome: paid}", "best: {outcome: revenue}")
ROLLOUT = parse_one("digits", BY_REVENUE, "test")
IN_FORCE = {"digits": InForce(ROLLOUT, 2, 3)}
ALL = (Arm("digits/2", 20.0), Arm("digits/3", 30.0), Arm("digits/4", 10.0))
SHARES = {2: (0.4, 0.2, 0.3, 0.1), 3: (0.7, 0.2, 0.0, 0.1)}
STAGES = {
    "digits": {
        1: Stage("digits", 1, 0.0),
        2: Stage("digits", 2, 1000.0, arms=ALL),
        3: Stage("digits", 3, 2000.0, arms=(ALL[0], Arm("digits/3", 0.0), ALL[2])),
    }
}


@pytest.fixture
def store(url):
    opened = Store(url)
    yield opened
    opened.close()


def row(number, *, stage=2, arm=0, arrived=0.0, value=1.0, name="paid", anew=True) -> Row:
    id_, matures = number.to_bytes(16), arrived + WITHIN
    return Row(id_, name, "digits", stage, arm, anew, arrived, 0, value, None, arrived, matures, 1e9)


@st.composite
def told(draw):
    """What is told of one request is always the same, but for the time at which it is told."""
    number = draw(st.integers(0, 40))
    chance = random.Random(number)
    stage = chance.choice([1, 2, 3])
    arm = chance.choice([0, 1, 2, 3] if stage == 2 else [0, 1, 3])
    name = draw(st.sampled_from(["paid", "revenue"]))
    value = chance.choice([0.0, 1.0] if name == "paid" else [0.0, 2.5, 10.0])
    arrived, anew = float(chance.randrange(200)), chance.random() < 0.8  # not anew: one was not ready
    return row(number, stage=stage, arm=arm, arrived=arrived, value=value, name=name, anew=anew)


def check(store, rows) -> None:
    """The sums are those of all distinct rows at once."""
    distinct = {(each.id, each.name): each for each in rows}.values()
    sums = store.outcomes.sums()
    for stage, name in itertools.product((2, 3), ("paid", "revenue")):
        outcome, weights = ROLLOUT.outcome(name), SHARES[stage]
        of_both = [each for each in distinct if (each.stage, each.name) == (stage, name) and each.anew]
        guard = "payers" if name == "paid" else "revenue"
        for candidate in (1, 2, 3):
            rest = [each for each in of_both if each.arm in {0, candidate}]
            share = weights[candidate] / (weights[candidate] + weights[0])
            values, at = [each.value for each in rest], [each.arm == candidate for each in rest]
            expected = matured_outcomes(outcome, 0.05, share, values, at)
            place = guard_place("digits", stage, guard, candidate)
            state = sums.get(place)
            found = StageOutcomes(share) if state is None else StageOutcomes.from_json(state)
            assert (found.canary, found.stable) == (expected.canary, expected.stable)
            assert found.canary_total == pytest.approx(expected.canary_total)
            assert found.bets.events == expected.bets.events
            assert found.bets.harm == pytest.approx(expected.bets.harm)
        state = sums.get(best_place("digits", stage, name))
        if name == "paid" or state is None:
            assert name == "revenue" or state is None
            continue
        best = SideSums.from_json(state)
        expected = matured_sides(
            outcome, weights, [each.value for each in of_both], [each.arm for each in of_both]
        )
        assert best.weights == pytest.approx(expected.weights)
        assert best.units.tolist() == expected.units.tolist()
        for two, bets in expected.bets.items():
            assert best.bets[two].safe == pytest.approx(bets.safe)
    assert not any(stage == 1 and not place.startswith("told ") for _, stage, place in sums)


class Killed(Exception):
    """As if the process had ended there."""


class Dying(Entries):
    """A transaction that ends after so many steps."""

    def __init__(self, connection, steps):
        super().__init__(connection)
        self._steps = itertools.count(steps, -1)

    def __getattribute__(self, name):
        if name in {"due", "sums", "keep", "enter"} and not next(object.__getattribute__(self, "_steps")):
            raise Killed
        return object.__getattribute__(self, name)


def look(store, now, limit=2, dies=None) -> None:
    """Let enter what is mature; with `dies`, end in the middle of it."""
    while True:
        with store.outcomes.writing() as connection:
            entries = Entries(connection) if dies is None else Dying(connection, dies)
            if not enter(entries, now, limit, IN_FORCE, STAGES):
                return


@settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))
@given(
    st.lists(told(), max_size=25),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20)), max_size=5),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_sums_of_each_candidate_are_the_same_in_whatever_order_outcomes_come(
    store, rows, looks, limit, chance
):
    with store.outcomes.writing() as connection:
        for table in (OUTCOMES, OUTCOME_SUMS):
            connection.execute(table.delete())
    waiting = [*rows, *(chance.choice(rows) for _ in range(len(rows) // 3))]
    chance.shuffle(waiting)
    for at, dies in sorted(looks):
        some = chance.randrange(len(waiting) + 1)
        now_told, waiting = waiting[:some], waiting[some:]
        store.outcomes.take(now_told)
        with contextlib.suppress(Killed):
            look(store, float(at), limit, dies)
        look(store, float(at), limit)
    store.outcomes.take(waiting)
    look(store, 1000.0, limit)
    check(store, rows)
    assert not store.outcomes.is_due(1000.0)


def made() -> list[Row]:
    chance = np.random.default_rng(1)
    return [
        row(
            number,
            stage=2,
            arm=int(arm),
            arrived=float(chance.integers(0, 300)),
            value=float(chance.integers(0, 11)),
            name="revenue",
        )
        for number, arm in enumerate(chance.integers(0, 4, 400))
    ]


def test_a_control_that_is_killed_attributes_nothing_twice_and_loses_nothing(url):
    kill_while_entering(url, made(), IN_FORCE, STAGES, times=4)
    store = Store(url)
    check(store, made())
    store.close()


# ------------------------------------------------------------------ what a control knows of it

TEST = parse_one("digits", DOCUMENT, "test")


def begun(store, *offs, stage=1, expected=0):
    """The test is under way, without those that were taken off."""
    arms = [
        {"target": f"digits/{number + 1}", "off_reason": "errors" if number in offs else ""}
        for number in (1, 2, 3)
    ]
    document = {"candidates": [{"model": arm.target, "weight": arm.weight} for arm in ALL]}
    progress = {"stage": stage, "phase": "comparing", "candidate": None, "weight": 0.0, "arms": arms}
    store.change(Change("digits", expected, document, progress, "anna", "api", "because"))


def book_of(store, stage) -> tuple[Book, InForce]:
    found = InForce(TEST, 1, stage)
    return Book(store.outcomes, lambda: {"digits": found}, lambda: True, lambda: 1000.0), found


def paid(first, **by_arm) -> list[Row]:
    arms = Counter({int(arm[1:]): number for arm, number in by_arm.items()}).elements()
    return [row(number, stage=1, arm=arm) for number, arm in enumerate(arms, first)]


def test_the_best_is_found_and_is_known_to_the_control_that_takes_over(store):
    begun(store)
    book, found = book_of(store, 1)
    assert book.best(found).leader is None
    store.outcomes.take(paid(0, s0=160, s1=80, s2=240, s3=40))
    asyncio.run(book.look())
    best = book.best(found)
    assert (best.found, best.leader, best.best) == (2, 2, "digits/3")
    assert [side.units for side in best.sides] == [160, 80, 240, 40]
    assert [side.to_stable for side in best.sides] == pytest.approx([1, 1, 2, 1])
    other, _ = book_of(store, 1)
    asyncio.run(other.take_up())
    assert other.best(found).as_json() == best.as_json()


def test_who_is_taken_off_keeps_its_place_and_shares_are_those_of_each_stage(store):
    begun(store)
    store.outcomes.take(paid(0, s0=80, s1=40, s2=60, s3=20))
    begun(store, 2, stage=2, expected=1)
    later = [each._replace(stage=2) for each in paid(1000, s0=140, s1=90, s3=20)]
    store.outcomes.take(later)
    assert [stage.weights for stage in store.outcomes.stages("digits")] == [
        pytest.approx(SHARES[2]),
        pytest.approx(SHARES[3]),
    ]
    book, found = book_of(store, 2)
    asyncio.run(book.look())
    best = book.best(found)
    assert [side.on for side in best.sides] == [True, True, False, True]
    assert [side.units for side in best.sides] == [220, 130, 60, 40]
    store.outcomes.take([row(2000 + arm, stage=2, arm=arm, arrived=990.0) for arm in (0, 0, 1, 3, 3)])
    asyncio.run(book.look())
    waiting = [book.outcomes(found._replace(candidate=each))["payers"][1].waiting for each in (1, 2, 3)]
    assert (waiting, book.told("digits", 2, "paid").waiting) == ([2, 1, 2], 3)
    first = book.outcomes(found._replace(candidate=1))["payers"]
    assert [(each.weight, each.canary, each.stable) for each in first] == [
        (pytest.approx(1 / 3), 40, 80),
        (pytest.approx(2 / 9), 90, 140),
    ]
    second = book.outcomes(found._replace(candidate=2))["payers"]
    assert [(each.weight, each.canary) for each in second] == [(pytest.approx(3 / 7), 60), (0.0, 0.0)]


def test_nothing_is_sought_where_the_document_does_not_ask(store):
    begun(store)
    book, _ = book_of(store, 1)
    asked_by_nobody = parse_one("digits", DOCUMENT.replace("best: {outcome: paid}", ""), "test")
    assert book.best(InForce(asked_by_nobody, 1, 1)) is None
