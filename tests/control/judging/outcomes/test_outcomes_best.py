"""The best of stable and several candidates: who is named, how often wrongly, and in which words."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.outcomes.best import best_of, better_than
from control.judging.outcomes.candidates import best_arm, best_line
from control.judging.outcomes.mean_bets import MeanBets
from control.judging.outcomes.paired_labels import PairedLabels
from control.judging.outcomes.side_sums import SideSums, matured_sides
from harness.search import examples
from router.rollout.values import Outcome

PAID = Outcome("paid", "binary", 60.0)
COMPLAINTS = Outcome("complaints", "binary", 60.0, better="lower")
REVENUE = Outcome("revenue", "number", 60.0, range=(0.0, 10.0))
COSTS = Outcome("costs", "number", 60.0, range=(0.0, 10.0), better="lower")
TRUTH = Outcome("truth", "label", 60.0, output="label")
TARGETS = ("digits/1", "digits/2", "digits/3")
ALL = {0, 1, 2}
THIRDS = (1 / 3, 1 / 3, 1 / 3)
ALPHA, RUNS = 0.05, examples(400)
CHANCE = ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def events(*numbers, weights=THIRDS, outcome=PAID) -> SideSums:
    sides = np.repeat(np.arange(len(numbers)), numbers)
    return matured_sides(outcome, weights, np.ones(len(sides)), sides)


def labels(**pairs) -> SideSums:
    found = {(int(two[1]), int(two[2])): PairedLabels(*map(float, kinds)) for two, kinds in pairs.items()}
    return SideSums(np.ones(3), np.zeros(3), np.zeros(3), labels=found)


# ------------------------------------------------------------------ how often another is named


def drawn(rng, weights, rates, most, looks) -> np.ndarray:
    """Events at each side, up to each look; shape (runs, looks, sides)."""
    chances = np.array(weights) * rates
    return rng.multinomial(most // looks, chances / chances.sum(), (RUNS, looks)).cumsum(axis=1)


@pytest.mark.parametrize("rates", [(1, 1, 1, 1), (1, 1.02, 1, 1), (1.05, 1, 1.04, 0.9)])
def test_another_than_the_best_is_named_with_a_chance_of_alpha_at_most(rates):
    """Over weights that change half-way, when the last candidate is taken off."""
    rng = np.random.default_rng(7)
    before, after = np.array([0.4, 0.2, 0.2, 0.2]), np.array([0.6, 0.2, 0.2, 0.0])
    first, second = (drawn(rng, each, rates, 2_000, 100) for each in (before, after))
    units = np.concatenate([first, np.repeat(first[:, -1:], 100, axis=1)], axis=1)
    stages = [
        SideSums(before, units, units),
        SideSums(after, later := np.concatenate([np.zeros_like(first), second], axis=1), later),
    ]
    log_e = better_than(PAID, 4, stages)
    named = np.concatenate(
        [best_arm(log_e[:, :100], ALPHA), best_arm(log_e[:, 100:], ALPHA, [True, True, True, False])], axis=1
    )
    best = np.argmax(rates) if np.unique(rates).size > 1 else -1
    assert ((named >= 0) & (named != best)).any(axis=1).mean() <= CHANCE


@pytest.mark.parametrize("outcome", [REVENUE, COSTS])
@pytest.mark.parametrize("better", [0.0, 0.03])
def test_of_amounts_another_is_named_with_a_chance_of_alpha_at_most(outcome, better):
    """One side brings 10 less often, the others 4 more often; the last a little more of either."""
    rng = np.random.default_rng(11)
    weights = np.array([0.5, 0.25, 0.25])
    kinds = [(side, value) for side in range(3) for value in (4.0, 10.0)]
    chances = weights.repeat(2) * np.array([5, 2, 10, 0, 5 * (1 + better), 2 * (1 + better)])
    counts = rng.multinomial(10, chances / chances.sum(), (RUNS, 200)).cumsum(axis=1)
    unit = [matured_sides(outcome, weights, [value], [side]) for side, value in kinds]
    bets = {}
    for two in combinations(range(3), 2):
        won = [each.bets.get(two, MeanBets()) for each in unit]
        sums = {
            name: np.einsum("rlk,kb->brl", counts, np.array([getattr(each, name) for each in won]))
            for name in ("harm", "safe")
        }
        bets[two] = MeanBets(**sums)
    log_e = better_than(outcome, 3, [SideSums(weights, counts[..., :3], counts[..., :3], bets)])
    named = best_arm(log_e, ALPHA)
    best = 2 if better and outcome is REVENUE else -1
    assert ((named >= 0) & (named != best)).any(axis=1).mean() <= CHANCE


@pytest.mark.parametrize("right", [(0.9, 0.9, 0.9), (0.9, 0.91, 0.905)])
def test_by_labels_another_is_named_with_a_chance_of_alpha_at_most(right):
    rng = np.random.default_rng(3)
    is_right = rng.random((RUNS, 2_000, 3)) < np.array(right)
    found = {}
    for first, second in combinations(range(3), 2):
        one, other = is_right[..., first], is_right[..., second]
        kinds = (other & ~one, one == other, one & ~other)
        found[first, second] = PairedLabels(*(kind.cumsum(axis=1)[:, 9::10] for kind in kinds))
    nothing = np.zeros((RUNS, 200, 3))
    named = best_arm(better_than(TRUTH, 3, [SideSums(np.ones(3), nothing, nothing, labels=found)]), ALPHA)
    best = 1 if right[1] > right[2] else -1
    assert ((named >= 0) & (named != best)).any(axis=1).mean() <= CHANCE


# ------------------------------------------------------------------ who is named


def test_the_best_is_named_in_words():
    found = best_of(PAID, TARGETS, ALL, [events(500, 900, 520)], 0.01)
    assert (found.found, found.leader) == (1, 1)
    assert found.line == pytest.approx(np.log(200))
    assert found.reason.startswith("by paid digits/2 is better than each of the others: the least of its")
    assert "(against digits/3), and 200 is asked of each" in found.reason
    assert [side.units for side in found.sides] == [500, 900, 520]
    assert [side.to_stable for side in found.sides] == pytest.approx([1.0, 1.8, 1.04])


def test_stable_may_be_the_best():
    assert best_of(PAID, TARGETS, ALL, [events(900, 500, 520)], 0.01).found == 0


def test_nothing_is_known_at_first():
    for stages in ([], [SideSums.nothing(THIRDS)]):
        found = best_of(PAID, TARGETS, ALL, stages, 0.01)
        assert (found.found, found.leader) == (None, None)
        assert found.reason == "nothing of paid that tells two sides apart has entered yet"


def test_of_those_that_are_near_one_is_ahead_and_none_is_named():
    found = best_of(PAID, TARGETS, ALL, [events(100, 120, 110)], 0.01)
    assert (found.found, found.leader) == (None, 1)
    assert found.reason.startswith(
        "by paid none is known to be better than each of the others: digits/2 is ahead, and the least of its"
        " e-values is "
    )


def test_who_was_taken_off_is_not_compared_and_still_counts_in_the_line():
    stages = [events(500, 900, 520), events(100, 300, 0, weights=(0.5, 0.5, 0.0))]
    stages[0] += events(0, 0, 400)
    assert best_of(PAID, TARGETS, ALL, stages, 0.01).found is None
    found = best_of(PAID, TARGETS, {0, 1}, stages, 0.01)
    assert (found.found, found.line) == (1, best_line(2, 0.01))
    assert [side.on for side in found.sides] == [True, True, False]
    assert best_of(PAID, TARGETS, {0}, stages, 0.01).found is None


def test_fewer_complaints_and_costs_are_better():
    assert best_of(COMPLAINTS, TARGETS, ALL, [events(500, 100, 520)], 0.01).found == 1
    costs = events(3_000, 500, 2_900, outcome=COSTS)
    assert best_of(COSTS, TARGETS, ALL, [costs], 0.01).found == 1
    assert best_of(REVENUE, TARGETS, ALL, [events(3_000, 500, 2_900, outcome=REVENUE)], 0.01).found is None


def test_labels_name_the_one_that_is_right_more_often_than_each():
    stage = labels(p01=(60, 800, 5), p02=(10, 900, 12), p12=(6, 800, 55))
    found = best_of(TRUTH, TARGETS, ALL, [stage], 0.01)
    assert found.found == 1
    assert [side.to_stable for side in found.sides] == pytest.approx([0.0, 55 / 865, -2 / 922])
    assert [side.units for side in found.sides] == [922, 865, 922]


def test_labels_with_a_loss_bet_on_its_mean():
    distance = Outcome("age", "label", 60.0, output="age", range=(0.0, 100.0))
    bets = MeanBets(50.0, 5.0, np.full(7, -9.0), np.full(7, 9.0))
    stage = SideSums(np.ones(3), np.zeros(3), np.zeros(3), {(0, 2): bets, (1, 2): bets})
    found = best_of(distance, TARGETS, ALL, [stage], 0.01)
    assert (found.found, found.sides[2].to_stable) == (2, pytest.approx(0.1))
    assert found.sides[1].to_stable is None


# ------------------------------------------------------------------ sums

some_events = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0, 2.5, 10.0]), st.integers(0, 2)), min_size=0, max_size=12
)


@given(some_events, some_events)
def test_sums_add_up_whatever_the_order(first, second):
    def of(these):
        return matured_sides(REVENUE, (0.5, 0.3, 0.2), [v for v, _ in these], [side for _, side in these])

    one, other = of(first) + of(second), of([*second, *first])
    assert one.units.tolist() == other.units.tolist()
    assert one.totals == pytest.approx(other.totals)
    assert better_than(REVENUE, 3, [one]) == pytest.approx(better_than(REVENUE, 3, [other]))
    again = SideSums.from_json(one.to_json())
    assert better_than(REVENUE, 3, [again]) == pytest.approx(better_than(REVENUE, 3, [one]))
    assert (again.units.tolist(), again.totals.tolist()) == (one.units.tolist(), one.totals.tolist())


def test_a_pair_that_comes_later_is_kept_beside_the_others():
    one, other = labels(p01=(1, 2, 3)), labels(p01=(1, 1, 1), p12=(4, 5, 6))
    both = SideSums.from_json((one + other).to_json())
    assert both.labels == {(0, 1): PairedLabels(2, 3, 4), (1, 2): PairedLabels(4, 5, 6)}


def test_a_side_without_weight_is_held_against_none():
    found = matured_sides(REVENUE, (0.6, 0.4, 0.0), [10.0, 5.0, 4.0], [0, 1, 2])
    assert set(found.bets) == {(0, 1)}
    assert best_of(REVENUE, TARGETS, ALL, [found], 0.01).sides[2].to_stable is None
