import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.key_units import Unit
from router.counting.latency import BUCKETS
from router.counting.pairs import NO_PAIRS, PairCounts
from router.counting.stage_counts import (
    MAX_KEYS_A_REPORT,
    RoleCounts,
    Second,
    Span,
    SpanTimes,
    StageCounts,
    from_json,
    to_json,
)
from serving.errors import InvalidInput

RATIOS = (*NO_PAIRS.ratios[:-2], 130, 10)
PAIRS = PairCounts((4, *(1,) * 10), ((3, 1), (2, 0), (0, 0)), 80, 60, RATIOS, (3, 2, *(1,) * 9))
histograms = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(0, 10**9), max_size=5)


@st.composite
def roles(draw):
    requests = draw(st.integers(0, 10**9))
    return RoleCounts(draw(st.integers(0, 10**9)), requests, draw(st.integers(0, requests)))


@st.composite
def stages(draw, weight=None):
    comparisons = draw(st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**9)))
    agreement = {output: (n, draw(st.integers(0, n))) for output, n in comparisons.items()}
    return StageCounts(
        draw(st.floats(0, 1)) if weight is None else weight,
        draw(roles()),
        draw(roles()),
        agreement,
        pairs=draw(st.sampled_from([NO_PAIRS, PAIRS])),
        farthest=draw(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e308))),
    )


@given(stages())
def test_counts_survive_json(counts):
    assert from_json(json.loads(json.dumps(to_json(counts)))) == counts


@given(histograms, histograms)
def test_compute_times_survive_json_and_add_up(canary, stable):
    counts = StageCounts(0.1, times={7: SpanTimes(canary, stable)})
    assert from_json(json.loads(json.dumps(to_json(counts)))) == counts
    both = counts.times[7] + SpanTimes(stable, canary)
    assert both.canary == both.stable
    assert sum(both.canary.values()) == sum(canary.values()) + sum(stable.values())


@given(stages(0.1), stages(0.1), stages(0.1))
def test_counts_of_routers_add_up_in_any_order(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + StageCounts(0.1) == a


def test_older_and_newer_versions_are_read():
    """C19: what an older one does not send is not known, what only a newer one knows is left out."""
    counts = StageCounts(0.1, RoleCounts(3, 3, abandoned=1), spans={7: Span(1, 0, 3, 1)}, open_span=8)
    value = to_json(counts)
    assert from_json(value) == counts
    newer = value | {"more": 1, "stable": value["stable"] | {"more": 1}}
    assert from_json(newer) == counts
    older = {key: value[key] for key in ("weight", "agreement")}
    older |= {
        role: {k: v for k, v in value[role].items() if k != "abandoned"} for role in ("stable", "canary")
    }
    assert from_json(older) == StageCounts(0.1, RoleCounts(3, 3))
    timed = to_json(StageCounts(0.1, pairs=PAIRS))
    del timed["pairs"]["ratios"], timed["pairs"]["lagging"]
    assert from_json(timed).pairs == replace(PAIRS, ratios=NO_PAIRS.ratios, lagging=NO_PAIRS.lagging)


def test_beside_a_process_that_counts_users_drawn_anew_one_that_counts_all_has_no_draw():
    older = StageCounts(0.5, RoleCounts(9, 9), RoleCounts(9, 9, 1, 1), keyless={"canary": (4, 1)})
    newer = StageCounts(0.4, RoleCounts(3, 3), RoleCounts(2, 2), beyond=0.1, again=5)
    for total in (older + newer, newer + older):
        assert total == replace(newer, keyless={"canary": (4, 1)})


def test_counts_up_to_a_second_are_those_without_the_later_ones():
    ring = {7: Second(2, 1, 1, 1, 20, 2, 2, 0), 8: Second(3, 3, 3, 0, 30, 0, 0, 0)}
    both = StageCounts(
        0.1,
        RoleCounts(60, 60, 3, 3),
        RoleCounts(9, 9, 5, 5, 2),
        seconds=ring,
        settled_until=8.9,
        units=(Unit("canary", 5, 7, 3, 1),),
        keyless={"canary": (3, 1)},
        compared={7: {"label": (3, 1)}},
    )
    assert from_json(json.loads(json.dumps(to_json(both)))) == both
    assert both.until(8.9) is both
    assert both.until(8.2).canary == RoleCounts(6, 6, 2, 2, 2)
    assert both.until(7.0).stable == RoleCounts(10, 10, 1, 1)


def test_adding_leaves_both_sides_alone():
    a = StageCounts(0.1, RoleCounts(1, 1), agreement={"label": (2, 1)}, pairs=PAIRS)
    before = to_json(a)
    total = a + a
    assert to_json(a) == before
    assert total.stable == RoleCounts(2, 2)
    assert total.pairs.tails[0] == (6, 2)
    assert total.since(a).pairs == PAIRS
    assert total.agreement == {"label": (4, 2)}


def test_counts_of_different_weights_do_not_add_up():
    with pytest.raises(InvalidInput, match=r"0\.1 and 0\.2"):
        StageCounts(0.1) + StageCounts(0.2)


def broken(**changes):
    value = to_json(StageCounts(0.1, RoleCounts(3, 2, 1), agreement={"label": (3, 1)}))
    return value | changes


def broken_pairs(**changes):
    value = to_json(StageCounts(0.1, pairs=PAIRS))
    return value | {"pairs": value["pairs"] | changes}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (None, "counts"),
        ({"weight": 0.1}, "counts"),
        (broken(spans={}), "counts.spans"),
        (broken(spans=[[1, 2]]), "counts.spans"),
        (broken(spans=[[1, 2, 3, 0, 0]]), "counts.spans"),
        (broken(open_span=-1), "counts.open_span"),
        (broken(error_keys=[]), "counts.error_keys"),
        (broken(error_keys=[[], {}]), "counts.error_keys"),
        (broken(error_keys=[[0], []]), "counts.error_keys"),
        (broken(error_keys=[[2**64], []]), "counts.error_keys"),
        (broken(error_keys=[[], [1] * (MAX_KEYS_A_REPORT + 1)]), "counts.error_keys"),
        (broken(error_seconds=[[], [0.5]]), "counts.error_seconds"),
        (broken(settled_until=float("nan")), "counts.settled_until"),
        (broken(settled_until="1"), "counts.settled_until"),
        (broken(seconds={}), "counts.seconds"),
        (broken(seconds=[[1, 2]]), "counts.seconds"),
        (broken(seconds=[[1, -1, 0, 0, 0, 0, 0, 0, 0]]), "counts.seconds"),
        (broken(seconds_again=[[1, 2]]), "counts.seconds_again"),
        (broken(beyond=1.5), "counts.beyond"),
        (broken(again=-1), "counts.again"),
        (broken(failed_by={"timeout": -1}), "counts.failed_by.timeout"),
        (broken(pairs={"units": [1]}), "counts.pairs"),
        (broken_pairs(units=[1]), "counts.pairs.units"),
        (broken_pairs(units=[-1] * 11), "counts.pairs.units"),
        (broken_pairs(tails=[[1, 2]]), "counts.pairs.tails"),
        (broken_pairs(tails=[[1, 2], [1], [1, 2]]), "counts.pairs.tails"),
        (broken_pairs(tails=[[80, 1], [0, 0], [0, 0]]), "counts.pairs.tails"),
        (broken_pairs(ratios=[1]), "counts.pairs.ratios"),
        (broken_pairs(ratios=[-1] * len(RATIOS)), "counts.pairs.ratios"),
        (broken_pairs(lagging=[1]), "counts.pairs.lagging"),
        (broken(farthest={"label": float("nan")}), "counts.farthest.label"),
        (broken(farthest={"label": -1}), "counts.farthest.label"),
        (broken_pairs(tail_pairs="1"), "counts.pairs.tail_pairs"),
        (broken(times={}), "counts.times"),
        (broken(times=[[1, {}]]), "counts.times"),
        (broken(times=[[1, {"280": 1}, {}]]), "counts.times"),
        (broken(times=[[1, {"-1": 1}, {}]]), "counts.times"),
        (broken(times=[[1, {}, {"05": 1}]]), "counts.times"),
        (broken(times=[[1, {}, {"\u0665": 1}]]), "counts.times"),
        (broken(times=[[1, {"5": "1"}, {}]]), "counts.times.5"),
        (broken(units=[["canary", 0, 0, 1, 0]]), "counts.units"),
        (broken(units=[["canary", 1, 0, 11, 0]]), "counts.units"),
        (broken(units=[["canary", 1, 0, 3, 4]]), "counts.units"),
        (broken(keyless={"canary": [1, 2]}), "counts.keyless.canary"),
        (broken(compared=[[1]]), "counts.compared"),
        (broken(compared=[[1, {"y": [1, 2]}]]), "counts.compared.y"),
        (broken(weight=1.5), "counts.weight"),
        (broken(weight=float("nan")), "counts.weight"),
        (broken(weight=True), "counts.weight"),
        (broken(stable=[]), "counts.stable"),
        (broken(stable={"assigned": 1}), "counts.stable"),
        (broken(agreement={"label": [1]}), "counts.agreement.label"),
        (broken(agreement={"label": [1, 2]}), "counts.agreement.label"),
        (broken(agreement={"label": [-1, 0]}), "counts.agreement.label"),
        (broken(agreement={1: [1, 1]}), "counts.agreement"),
    ],
)
def test_impossible_counts_are_refused_with_their_place(value, place):
    with pytest.raises(InvalidInput) as caught:
        from_json(value)
    assert str(caught.value).startswith(f"{place}:")


@pytest.mark.parametrize(
    "changes",
    [
        {"errors": 3},
        {"abandoned": 3},
        {"requests": -1},
        {"requests": 2.0},
        {"requests": True},
        {"assigned": 2**53 + 1},
    ],
)
def test_impossible_numbers_of_a_role_are_refused(changes):
    value = broken()
    value["canary"] = to_json(StageCounts(0.1, canary=RoleCounts(3, 2, 1)))["canary"] | changes
    with pytest.raises(InvalidInput, match=r"^counts\.canary"):
        from_json(value)


def test_counts_are_values():
    counts = StageCounts(0.5)
    assert replace(counts) == counts
    with pytest.raises(AttributeError):
        counts.weight = 0.1
