"""Mature outcomes enter the evidence once each: on real databases, in any order, cut and killed anywhere."""

import contextlib
import itertools
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.outcomes.desk import InForce
from control.outcomes.entering import enter
from control.outcomes.units import Event, unit_of
from control.store.outcome_entries import DueRow, Entries
from control.store.outcome_tables import OUTCOME_SUMS, OUTCOME_UNITS, OUTCOMES
from control.store.outcomes import Row, Stage
from control.store.store import Store
from harness.killed_entering import kill_while_entering
from harness.search import examples
from router.rollout.parser import parse_one

WITHIN = 60.0
DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 50}
sticky: {header: x-user}
outcomes:
  conversion: {kind: binary, within: 60s}
  revenue: {kind: number, range: [0, 10], within: 60s}
  spending: {kind: number, better: lower, within: 60s}
guards:
  conversions: {outcome: conversion, maxDrop: 5%}
  strict: {outcome: conversion, maxDrop: 0}
  revenue: {outcome: revenue, maxDrop: 5%}
  spending: {outcome: spending, maxRise: 5%}
"""
ROLLOUT = parse_one("digits", DOCUMENT, "test")
IN_FORCE = {"digits": InForce(ROLLOUT, 2, 3)}
STAGES = {
    "digits": {
        1: Stage("digits", 1, 0.0, sticky="x-user"),
        2: Stage("digits", 2, 1000.0, 10.0, 0.0, 0, "digits/2", "x-user"),
        3: Stage("digits", 3, 2000.0, 50.0, 10.0, 0, "digits/2", "x-user"),
    }
}


@pytest.fixture
def store(url):
    opened = Store(url)
    yield opened
    opened.close()


def row(
    number, *, stage=2, arm=0, key=0, arrived=0.0, at=None, value=1.0, name="conversion", anew=True
) -> Row:
    matures = arrived + WITHIN
    at = arrived if at is None else at
    return Row(
        number.to_bytes(16), name, "digits", stage, arm, anew, arrived, key, value, None, at, matures, 1e9
    )


@st.composite
def told(draw):
    """Outcomes as they are told: times are small whole numbers, so that many of them meet."""
    number = draw(st.integers(0, 30))
    chance = random.Random(number)  # of one request only the outcome, its value and its time differ
    arrived = float(chance.randrange(0, 200))
    name = draw(st.sampled_from(["conversion", "revenue"]))
    at = arrived + draw(st.integers(0, int(WITHIN)))
    # Of two values that were told at one moment the one that comes first stands, so there are none here.
    values = [0.0, 1.0] if name == "conversion" else [0.0, 2.5, 10.0]
    value = random.Random(f"{number} {name} {at}").choice(values)
    key = chance.choice([0, 0, 7, -5])
    stage = chance.choice([1, 2, 3])
    return row(
        number,
        stage=stage,
        arm=(key or number) % 2,
        key=key,
        anew=stage == 2 or key != 7,
        arrived=arrived,
        at=at,
        value=value,
        name=name,
    )


def expected(rows) -> dict[tuple[int, str], Counter]:
    """By stage and outcome: events by side and value, from all that was told at once."""
    first = {}
    for each in rows:
        place = each.id, each.name
        first[place] = min(first.get(place, each), each, key=lambda one: one.at)
    units = {}
    for each in first.values():
        if each.anew and each.stage >= 2:
            whose = each.key or each.id
            units.setdefault((each.stage, each.name, whose), []).append(each)
    found = {}
    for (stage, name, _), group in units.items():
        opened = min(each.arrived for each in group)
        inside = [each.value for each in group if max(each.arrived, each.at) <= opened + WITHIN]
        value = max(inside, default=0.0) if name == "conversion" else min(sum(inside), 10.0)
        if value:
            found.setdefault((stage, name), Counter())[group[0].arm, value] += 1
    return found


def sums(store, guard) -> dict[int, StageOutcomes]:
    found = store.outcomes.sums()
    return {
        stage: StageOutcomes.from_json(state) for (_, stage, name), state in found.items() if name == guard
    }


def check(store, rows) -> None:
    wanted = expected(rows)
    for guard, name in (("conversions", "conversion"), ("strict", "conversion"), ("revenue", "revenue")):
        found = sums(store, guard)
        for stage in (2, 3):
            counts = wanted.get((stage, name), Counter())
            is_ = found.get(stage, StageOutcomes(0.0))
            assert is_.canary == sum(n for (arm, _), n in counts.items() if arm)
            assert is_.stable == sum(n for (arm, _), n in counts.items() if not arm)
            assert is_.canary_total == sum(n * value for (arm, value), n in counts.items() if arm)
            if name == "revenue":
                assert is_.bets.events == counts.total()
        assert 1 not in found
    for (_, stage, place), state in store.outcomes.sums().items():
        if place.startswith("told "):
            distinct = {each.id for each in rows if (each.stage, f"told {each.name}") == (stage, place)}
            assert state["accepted"] == state["entered"] == len(distinct)


class Killed(Exception):
    """As if the process had ended there."""


class Dying(Entries):
    """A transaction that ends after so many steps."""

    def __init__(self, connection, steps):
        super().__init__(connection)
        self._steps = itertools.count(steps, -1)

    def __getattribute__(self, name):
        if name in {"due", "closed", "close", "of_users", "sums", "keep", "enter"} and not next(
            object.__getattribute__(self, "_steps")
        ):
            raise Killed
        return object.__getattribute__(self, name)


def clear(store) -> None:
    with store.outcomes.writing() as connection:
        for table in (OUTCOMES, OUTCOME_SUMS, OUTCOME_UNITS):
            connection.execute(table.delete())


def look(store, now, limit=2, dies=None) -> None:
    """Let enter what is mature; with `dies`, end in the middle of it."""
    while True:
        with store.outcomes.writing() as connection:
            entries = Entries(connection) if dies is None else Dying(connection, dies)
            if not enter(entries, now, limit, IN_FORCE, STAGES):
                return


@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(
    st.lists(told(), max_size=25),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 12)), max_size=6),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_sums_are_the_same_to_the_unit_however_outcomes_come_and_whatever_is_killed(
    store, rows, looks, limit, chance
):
    clear(store)
    duplicates = [chance.choice(rows) for _ in range(len(rows) // 3)] if rows else []
    everything = [*rows, *duplicates]
    chance.shuffle(everything)
    waiting = sorted(everything, key=lambda each: each.at)  # a stable sort: those of one time as shuffled
    for at, dies in sorted(looks):
        now_told = [each for each in waiting if each.at <= at]
        waiting = waiting[len(now_told) :]
        store.outcomes.take(now_told)
        with contextlib.suppress(Killed):
            look(store, float(at), limit, dies)
        look(store, float(at), limit)
    store.outcomes.take(waiting)
    look(store, 1000.0, limit)
    check(store, rows)
    assert not store.outcomes.is_due(1000.0)


def test_what_is_not_mature_waits(store):
    store.outcomes.take([row(1, arrived=0.0), row(2, arrived=50.0, arm=1)])
    look(store, 59.0)
    assert sums(store, "conversions") == {}
    look(store, 60.0)
    assert (sums(store, "conversions")[2].stable, sums(store, "conversions")[2].canary) == (1.0, 0.0)
    look(store, 110.0)
    assert (sums(store, "conversions")[2].stable, sums(store, "conversions")[2].canary) == (1.0, 1.0)


def test_what_reaches_control_late_enters_then_but_not_into_the_unit_of_a_user_that_is_closed(store):
    store.outcomes.take([row(1, key=7, at=10.0, value=0.0)])
    look(store, 500.0)
    store.outcomes.take([row(2, at=10.0), row(3, key=7, arrived=5.0, at=10.0), row(4, key=8, at=11.0)])
    look(store, 501.0)
    assert sums(store, "conversions")[2].stable == 2.0


def amounts(first, number, stage, arm=0) -> list[Row]:
    return [
        row(first + n, stage=stage, arm=arm, arrived=float(n), value=float(n % 9 + 1), name="spending")
        for n in range(number)
    ]


@pytest.mark.parametrize("known", [49, 60])
def test_amounts_without_a_range_are_cut_at_what_stable_had_before_the_canary(store, known):
    store.outcomes.take(amounts(0, known, 1))
    store.outcomes.take([row(900, stage=2, arm=1, value=1e6, name="spending")])
    store.outcomes.take([row(901, stage=2, arm=0, value=3.0, name="spending", arrived=1.0)])
    look(store, 2000.0, 100)
    found = sums(store, "spending")[2]
    if known < 50:
        assert found.sums.events == 0.0
    else:
        assert found.sums.events == 2.0
        assert found.canary_total == pytest.approx(9.0)
    store.outcomes.take(amounts(2000, 200, 1))  # too late to change where amounts are cut
    store.outcomes.take([row(902, stage=3, arm=1, value=1e6, name="spending")])
    look(store, 3000.0, 100)
    assert sums(store, "spending")[3].sums.events == (0.0 if known < 50 else 1.0)


def test_sums_and_units_of_stages_that_are_judged_no_more_are_let_go(store):
    store.outcomes.take([row(1, key=7, stage=2), row(2, key=7, stage=3), row(3, key=9, stage=3)])
    look(store, 100.0)
    assert not store.outcomes.forget({"digits": 3})
    assert {stage for _, stage, _ in store.outcomes.sums()} == {3}
    with store.outcomes.entries() as entries:
        assert entries.closed(("digits", "conversion", 2), [7]) == set()
        assert entries.closed(("digits", "conversion", 3), [7, 9, 11]) == {7, 9}
    assert not store.outcomes.forget({})
    assert store.outcomes.sums() == {}


def test_outcomes_are_kept_as_long_as_somebody_may_tell_them_again(store):
    store.outcomes.take([row(number)._replace(kept_until=float(number)) for number in range(10)])
    assert not store.outcomes.prune(7.0)
    assert store.outcomes.take([row(number) for number in range(10)]) == [True] * 7 + [False] * 3
    store.outcomes.prune(2e9)
    assert not store.outcomes.any()


def test_the_unit_of_a_user_is_cut_at_the_ends_of_the_range():
    revenue, spending = ROLLOUT.outcome("revenue"), ROLLOUT.outcome("spending")
    rows = [row(number, key=7, arm=1, value=6.0, arrived=float(number)) for number in range(3)]
    due = [_due(each) for each in rows]
    assert unit_of(due, revenue) == Event(10.0, arm=1)
    assert unit_of(due, spending) == Event(18.0, arm=1)


def _due(each: Row):
    return DueRow(**{name: getattr(each, name) for name in DueRow._fields})


def made() -> list[Row]:
    chance = np.random.default_rng(1)
    return [
        row(
            number,
            stage=int(chance.integers(2, 4)),
            arm=int(key) % 2,
            key=int(key),
            arrived=float(chance.integers(0, 300)),
            value=float(chance.integers(0, 2)),
        )
        for number, key in enumerate(chance.integers(1, 200, 600))
    ]


def test_a_control_that_is_killed_at_any_moment_counts_nothing_twice_and_loses_nothing(url):
    kill_while_entering(url, made(), IN_FORCE, STAGES, times=6)
    store = Store(url)
    check(store, made())
    store.close()
