"""An A/B/n test as it is served: each candidate beside stable, as if the others were not there."""

from dataclasses import replace
from math import fsum, isclose

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from router.rollout.parser import parse_one
from router.rollout.snapshot import Arm, ServedRollout, Snapshot, candidates, local_models
from router.rollout.values import Shadow, Target
from router.wire.snapshot import from_wire, to_wire

DOCUMENT = """
stable: digits/1
candidates:
  - {model: digits/2, weight: 20, mirror: 50}
  - {model: digits/3, weight: 10}
  - {model: digits/4, url: "http://elsewhere:8000", weight: 30}
guards: {errors: {max: 5%}, latency: {maxRatio: 2}}
"""
ROLLOUT = parse_one("digits", DOCUMENT, "test")
ARMS = tuple(
    Arm(number, each.target, each.weight or 0.0, each.mirror)
    for number, each in enumerate(ROLLOUT.candidates, 1)
)
SERVED = ServedRollout(
    ROLLOUT, 4, ROLLOUT.stable, arms=ARMS, shadows=(Shadow(Target("digits/5")),),
    digests={f"digits/{version}": f"{version}" * 64 for version in (1, 2, 3)},
)  # fmt: skip
WEIGHTS = st.lists(st.floats(1e-6, 99.9), min_size=1, max_size=6).filter(lambda all_: fsum(all_) < 99.99)


@settings(deadline=None)
@given(WEIGHTS)
def test_each_is_drawn_with_its_share_of_what_it_and_stable_are_drawn_with(weights):
    arms = tuple(Arm(n, Target(f"digits/{n + 1}"), weight) for n, weight in enumerate(weights, 1))
    views = replace(SERVED, arms=arms).each()
    left = 100.0 - fsum(weights)
    assert [view.canary for view in views] == [arm.target for arm in arms]
    for view, weight in zip(views, weights, strict=True):
        assert not view.arms
        assert isclose(view.weight / (100.0 - view.weight), weight / left, rel_tol=1e-6)


def test_without_a_test_a_rollout_is_seen_as_it_is():
    alone = replace(SERVED, arms=(), canary=Target("digits/2"), weight=5.0)
    assert alone.each() == (alone,)
    assert alone.seen_by(Target("digits/2")) is alone


def test_a_sandbox_sees_its_own_candidate_and_a_shadow_the_rollout():
    seen = SERVED.seen_by(Target("digits/3"))
    assert (seen.canary, seen.arms, seen.stage) == (Target("digits/3"), (), 4)
    assert seen.paired_for is not None, "its model is timed beside stable's"
    assert SERVED.seen_by(Target("digits/5")) is SERVED
    assert SERVED.paired_for is None


def test_each_candidate_has_a_sandbox_and_workers_load_none_of_them():
    found = {
        candidate.target.key: candidate.live for candidate in candidates(Snapshot(1, {"m": SERVED})).values()
    }
    assert found == {"digits/2": True, "digits/3": True, "digits/5": False}, "none for a URL nobody compares"
    assert [pin.model for pin in local_models(Snapshot(1, {"m": SERVED}))] == ["digits/1"]


def test_the_roles_of_a_test_name_each_candidate():
    roles = [(role, target.version) for role, target in SERVED.roles()]
    assert roles == [("stable", "1"), ("canary", "2"), ("canary", "3"), ("canary", "4"), ("shadow", "5")]


@settings(deadline=None)
@given(st.sets(st.integers(0, 2)))
def test_what_is_taken_off_travels_and_the_numbers_of_the_others_stay(off):
    left = replace(SERVED, arms=tuple(arm for place, arm in enumerate(ARMS) if place not in off))
    snapshot = Snapshot(9, {"digits": left})
    there = from_wire(orjson.loads(orjson.dumps(to_wire(snapshot))))
    assert there == snapshot
    assert [arm.number for arm in there.rollouts["digits"].arms] == [n for n in (1, 2, 3) if n - 1 not in off]
