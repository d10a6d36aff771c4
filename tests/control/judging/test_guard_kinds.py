"""A kind of guard has both its sides, and nothing else is asked which kind it is."""

import pytest

from control.judging.guard_evidence import Past, pool
from control.judging.guards.registry import JUDGED, judged
from control.judging.guards.simulation import Behaviour, Least, Traffic
from router.rollout.guards.registry import KINDS
from router.rollout.parser import parse_one
from router.rollout.values import Setting

DOCUMENT = """
stable: digits/1
segments: {header: x-country}
outcomes:
  label: {output: label, within: 7d}
  conversion: {kind: binary, within: 1h}
guards:
  errors: {maxRatio: 1.5, max: 1%}
  latency: {maxRatio: 1.25}
  speed: {min: 1.3}
  agreement: {output: label, min: 98%}
  drift: {output: label, max: 2%}
  orders: {promql: up, min: 1}
  accuracy: {outcome: label, margin: 1%}
  conversions: {outcome: conversion, maxDrop: 5%}
  segments: {guard: errors}
"""
GUARDS = {guard.name: guard for guard in parse_one("digits", DOCUMENT, "test").guards}


def test_what_the_router_reads_control_judges():
    assert {value for kind in KINDS for value in kind.write} == JUDGED.keys()
    assert {type(guard) for guard in GUARDS.values()} == JUDGED.keys(), "a kind is missing in this test"


@pytest.mark.parametrize("guard", GUARDS.values(), ids=[*GUARDS])
def test_without_counts_there_is_a_reason_in_words_or_an_undecided_verdict(guard):
    found = judged(guard).weigh(guard, pool([]), Past())
    assert found if isinstance(found, str) else found.verdict == "undecided"


@pytest.mark.parametrize("guard", GUARDS.values(), ids=[*GUARDS])
def test_what_cannot_be_simulated_says_why(guard):
    quiet = Traffic(1.0, 0.0)
    kind = judged(guard)
    assert bool(kind.untold(guard, quiet)) == (guard.name not in {"errors", "agreement:label"})
    if kind.harm is not None:
        words, behaviour = kind.harm(Least(0.05, 1.5, 0.95), quiet)
        assert words
        assert behaviour != Behaviour(quiet.error_rate)


@pytest.mark.parametrize(
    ("name", "weight", "mirror", "here", "can"),
    [
        ("errors", 0, 100, True, False),
        ("errors", 1, 0, False, True),
        ("latency", 0, 0, True, True),
        ("latency", 0, 100, False, False),
        ("latency", 1, 0, False, True),
        ("latency:clients", 50, 100, True, False),
        ("speed", 0, 0, True, True),
        ("speed", 50, 100, False, False),
        ("agreement:label", 50, 0, True, False),
        ("agreement:label", 0, 1, True, True),
        ("drift", 50, 0, True, False),
        ("drift", 0, 1, True, True),
        ("orders", 50, 100, True, False),
        ("accuracy", 50, 0, True, False),
        ("accuracy", 0, 1, True, True),
        ("conversions", 0, 100, True, False),
        ("conversions", 1, 0, False, True),
        ("conversions", 100, 0, True, False),
        ("segments", 50, 100, True, False),
    ],
)
def test_a_guard_knows_where_it_can_be_proven(name, weight, mirror, here, can):
    assert GUARDS[name].can_prove(Setting(weight, mirror, here)) == can
