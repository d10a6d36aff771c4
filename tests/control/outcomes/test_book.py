"""What outcomes have come to is at hand, as the database has it, whatever became of the control before."""

import asyncio

import pytest

from control.outcomes.book import Book
from control.outcomes.desk import InForce
from control.store.outcomes import Row
from control.store.store import Change, Store
from router.rollout.parser import parse_one

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 50}
outcomes:
  conversion: {kind: binary, within: 60s}
guards:
  conversions: {outcome: conversion, maxDrop: 5%}
"""
ROLLOUT = parse_one("digits", DOCUMENT, "test")
IN_FORCE = InForce(ROLLOUT, 1, 1)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path):
    opened = Store(f"sqlite:///{tmp_path}/state.db")
    progress = {"stage": 1, "phase": "idle", "candidate": "digits/2", "weight": 50.0}
    opened.change(Change("digits", 0, {}, progress, "anna", "api", "because"))
    yield opened
    opened.close()


def book_of(store, clock, in_force=None, *, leads=True) -> Book:
    rollouts = {"digits": IN_FORCE} if in_force is None else in_force
    return Book(store.outcomes, lambda: rollouts, lambda: leads, clock)


def rows(number, first=0, arrived=0.0) -> list[Row]:
    return [
        Row(
            n.to_bytes(16), "conversion", "digits", 1, n % 2, True, arrived, 0, 1.0, None, arrived,
            arrived + 60.0, arrived + 60.0 + 86_400.0,
        )
        for n in range(first, first + number)
    ]  # fmt: skip


def known(book) -> tuple[float, float, int, float | None]:
    [found] = book.outcomes(IN_FORCE)["conversions"]
    assert found.weight == 0.5
    return found.canary, found.stable, found.waiting, found.matures_in


def test_what_is_told_waits_and_enters_when_it_is_mature(store, clock):
    book = book_of(store, clock)
    store.outcomes.take(rows(6))
    asyncio.run(book.look())
    assert known(book) == (0.0, 0.0, 6, 60.0)
    assert book.told("digits", 1, "conversion") == (6, 6, 60.0)
    clock.now = 60.0
    store.outcomes.take(rows(2, 6, arrived=30.0))
    asyncio.run(book.look())
    assert known(book) == (3.0, 3.0, 2, None)


def test_a_control_that_takes_over_knows_what_the_one_before_knew(store, clock):
    store.outcomes.take(rows(6))
    clock.now = 100.0
    before, after = book_of(store, clock), book_of(store, clock)
    asyncio.run(before.look())
    asyncio.run(after.take_up())
    assert known(after) == known(before) == (3.0, 3.0, 0, None)


def test_a_control_that_does_not_lead_looks_at_nothing(store, clock):
    store.outcomes.take(rows(6))
    clock.now = 100.0
    asyncio.run(book_of(store, clock, leads=False).look())
    assert store.outcomes.is_due(100.0)


def test_without_outcomes_in_force_what_was_kept_is_let_go_and_then_the_database_is_left_alone(store, clock):
    store.outcomes.take(rows(6))
    clock.now = 1e6
    book = book_of(store, clock, {})
    asyncio.run(book.look())
    assert not store.outcomes.any()
    assert store.outcomes.sums() == {}
    asyncio.run(book.look())
    clock.now += 100.0
    asyncio.run(book.look())
    store.close()
    (found,) = [book.outcomes(IN_FORCE)["conversions"][0].canary]
    assert found == 0.0


def test_more_than_one_batch_is_pruned_at_once_and_nothing_that_may_still_be_told(store, clock):
    store.outcomes.take(rows(6000) + rows(10, 6000, arrived=50_000.0))
    clock.now = 60.0 + 86_400.0 + 1.0
    book = book_of(store, clock)
    asyncio.run(book.look())
    assert store.outcomes.take(rows(1) + rows(10, 6000, arrived=50_000.0)) == [True] + [False] * 10


def test_a_store_that_does_not_answer_leaves_what_is_known_and_is_tried_again(store, clock, tmp_path):
    store.outcomes.take(rows(6))
    clock.now = 100.0
    book = book_of(store, clock)
    asyncio.run(book.look())
    file = tmp_path / "state.db"
    file.rename(tmp_path / "away")
    asyncio.run(book.look())
    assert known(book) == (3.0, 3.0, 0, None)
    (tmp_path / "away").rename(file)
    store.outcomes.take(rows(2, 6, arrived=1.0))
    asyncio.run(book.look())
    assert known(book) == (4.0, 4.0, 0, None)


def test_outcomes_that_were_lost_with_the_database_are_said_to_be(store, clock, tmp_path):
    told = []
    book = book_of(store, clock)
    book.lost = lambda: told.append("lost")
    store.outcomes.take(rows(6))
    clock.now = 100.0
    asyncio.run(book.look())
    state = store.load()
    (tmp_path / "state.db").unlink()
    store.restore(state)
    asyncio.run(book.look())
    assert told == ["lost"]
    assert known(book) == (0.0, 0.0, 0, None)
    store.outcomes.take(rows(2))
    asyncio.run(book.look())
    assert known(book) == (1.0, 1.0, 0, None)
    assert told == ["lost"]
