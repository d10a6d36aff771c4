"""Sticky users over stages: only those whom no stage had drawn before are a draw (decision 40).

An adversary knows all that was ever seen, and chooses who errs next, when a stage ends, when a tick does, and
when to stop; weights rise, fall and repeat. Every point that users can have is tried, so that an expectation
is a sum and no estimate. Under the null it is at most 1.
"""

from itertools import pairwise, product
from math import exp, log, prod
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.judging.evidence import bets_test, label_ratios
from control.judging.guard_evidence import Past, Pooled, drawn_anew, pool
from control.judging.judge import judge, remembered
from control.judging.restarts import Remembered
from control.judging.verdicts import GuardVerdict
from harness.search import examples
from router.counting.split import decide, fresh_weight
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import ClientsGuard

RATIO = 1.0
"""At which the null is kept with nothing to spare."""
TEST = "errors/maxRatio"
GUARD = ErrorsGuard(max_ratio=RATIO)


class Seen:
    """What control sees of users whose points are known to us alone, as workers count it.

    Args:
        points: of the users, 0 to 1.
        weights: of the stages, in percent.
        fresh: whether only users count who are drawn anew.
    """

    def __init__(self, points: list[float], weights: list[float], *, fresh: bool = True) -> None:
        self.points, self.weights, self.fresh = points, weights, fresh
        self.past: dict[str, Remembered] = {}
        self.stages: list[StageCounts] = []
        self.erred: set[int] = set()
        self.next_stage()

    def next_stage(self) -> None:
        """The next weight is in force."""
        number = len(self.stages)
        weight, used = self.weights[number], max(self.weights[:number], default=0.0) if self.fresh else 0.0
        self.stages.append(StageCounts(fresh_weight(weight, used) / 100, beyond=used / 100))
        self.erred.clear()

    def err(self, user: int) -> str:
        """A user meets an error, which counts once a stage; who served them."""
        role = decide(self.weights[len(self.stages) - 1], self.points[user])
        now = self.stages[-1]
        if user not in self.erred and self.points[user] >= now.beyond:
            self.stages[-1] = now + StageCounts(
                now.weight, beyond=now.beyond, **{role: RoleCounts(errors=1, requests=1)}
            )
        self.erred.add(user)
        return role

    def tick(self) -> None:
        """The tests of harm lay down a part of their stake."""
        self.past[TEST] = self.past.get(TEST, Remembered()).ended(self._ratios())

    def log_e(self) -> float:
        """The evidence for harm."""
        return float(self.past.get(TEST, Remembered()).log_e(self._ratios()[:, None])[0])

    def _ratios(self):
        pooled = pool(self.stages, sticky=self.fresh)
        canary = [row.canary.errors for row in pooled.rows]
        return label_ratios(pooled.weight, canary, [row.stable.errors for row in pooled.rows], RATIO)


def places(weights: list[float]) -> list[tuple[float, float]]:
    """A point within each stretch of points that no weight tells apart, and the stretch's length."""
    edges = sorted({0.0, *(weight / 100 for weight in weights), 1.0})
    return [((low + high) / 2, high - low) for low, high in pairwise(edges)]


def play(seen: Seen, seed: int, moves: int) -> float:
    """The e-value with which the adversary stops, who is a function of what was seen."""
    history: list[str] = []
    for _ in range(moves):
        choice = Random(f"{seed} {history}")
        if seen.log_e() > log(1.0 + 20.0 * choice.random()):
            break
        match choice.choice(["err", "err", "err", "stage", "stage", "tick"]):
            case "stage" if len(seen.stages) < len(seen.weights):
                seen.next_stage()
                history.append("stage")
            case "tick":
                seen.tick()
                history.append("tick")
            case _:
                user = choice.randrange(len(seen.points))
                history.append(f"{user} at {seen.err(user)}")
    return exp(seen.log_e())


def expectation(weights: list[float], users: int, seed: int, *, fresh: bool = True) -> float:
    """Of the e-value, over all that the draw of the users can be."""
    total = 0.0
    for drawn in product(places(weights), repeat=users):
        seen = Seen([point for point, _ in drawn], weights, fresh=fresh)
        total += prod(length for _, length in drawn) * play(seen, seed, 16)
    return total


WEIGHTS = st.lists(st.sampled_from([0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 90.0, 100.0]), min_size=1, max_size=5)


@settings(max_examples=examples(40))
@given(WEIGHTS, st.integers(1, 2), st.integers(0, 2**32))
def test_no_adversary_expects_more_than_the_stake(weights, users, seed):
    assert expectation(weights, users, seed) <= 1.0 + 1e-9


def test_without_the_rule_a_user_who_always_fails_counts_in_every_stage():
    """The attack finds what it is for: the same users held against each stage's whole weight."""
    ramp = [float(weight) for weight in range(5, 55, 5)]
    whole, fresh = (
        max(expectation(ramp, 1, seed, fresh=rule) for seed in range(examples(12))) for rule in (False, True)
    )
    assert whole > 1.05
    assert fresh <= 1.0 + 1e-9


def row(weight, beyond, canary, stable, again=0):
    roles = (RoleCounts(n, n, errors, errors) for n, errors in (stable, canary))
    return StageCounts(weight, *roles, beyond=beyond, again=again)


def one(guard, *stages, past=None, alpha=0.01) -> GuardVerdict:
    [found] = judge([guard], stages, alpha, past=past or Past(), sticky=True).guards
    return found


def test_what_stages_show_of_users_drawn_anew_multiplies():
    first = row(0.1, 0.0, (100, 5), (900, 5))
    second = row(fresh_weight(25, 10) / 100, 0.1, (150, 8), (750, 8))
    alone, both = one(GUARD, first), one(GUARD, first, second)
    assert both.log_harm > alone.log_harm
    ratios = [label_ratios([each.weight], [each.canary.errors], [each.stable.errors], RATIO)
              for each in (first, second)]  # fmt: skip
    kept = {TEST: Remembered().ended(ratios[0])}
    assert (
        one(GUARD, second, past=Past(tests={TEST: Remembered(kept[TEST].restarts)})).log_harm > alone.log_harm
    )
    assert float(bets_test(sum(ratios))) > float(bets_test(ratios[0]))


@pytest.mark.parametrize("order", [(0.05, 0.1), (0.1, 0.1), (0.1, 0.05)])
def test_a_stage_that_drew_the_users_of_one_before_has_no_draw(order):
    """As routers of an older version count it, which do not know what was drawn before."""
    stages = [row(weight, 0.0, (100, 9), (900, 1)) for weight in order]
    first, second = drawn_anew(stages)
    assert first == stages[0]
    assert (second.canary, second.stable, second.weight) == (RoleCounts(), RoleCounts(), order[1])
    assert one(GUARD, *stages).log_harm == one(GUARD, stages[0]).log_harm


def test_a_weight_that_is_not_above_those_before_says_so_and_proves_nothing():
    said = "no user is drawn anew in this stage: 50% were drawn to the canary before"
    before, now = row(0.5, 0.0, (500, 5), (500, 5)), row(0.0, 0.5, (0, 0), (500, 5), again=400)
    both = ErrorsGuard(max_ratio=1.5)
    for stages in ((now,), (before, now)):
        found = one(both, *stages)
        assert found.verdict == "undecided"
        assert said in found.reason
        assert said in found.doubt
    assert "400 more at the canary are of users who were drawn in an earlier stage" in found.reason
    assert one(both, before).doubt == ""
    assert one(both, replace_again(now, 0)).reason.startswith(f"undecided: {said}")
    assert said in one(ClientsGuard(1.5, 0.005, 5.0), now).reason


def replace_again(stage: StageCounts, again: int) -> StageCounts:
    return StageCounts(stage.weight, RoleCounts(), RoleCounts(), beyond=stage.beyond, again=again)


def test_the_past_of_a_test_goes_on_in_the_next_stage():
    dead = row(0.1, 0.0, (50, 9), (450, 2))
    past = Past(tests=remembered([GUARD], [dead], Past(), sticky=True))
    later = row(fresh_weight(25, 10) / 100, 0.1, (60, 9), (300, 2))
    assert one(GUARD, dead, later, past=past).log_harm > one(GUARD, dead, past=past).log_harm


def test_where_nothing_was_counted_there_is_one_row_without_counts():
    assert pool([], sticky=True) == Pooled((StageCounts(0.0),), pool([]).weight, 0.0, sticky=True)
