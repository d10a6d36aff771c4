"""A canary's answers beside stable's: as row by row, and stopped alike in whatever order chunks end."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harness.search import examples
from router.rollout.compare import compare
from router.rollout.rules import Argmax, Close, Cosine, Exact, JensenShannon, TopK
from router.rollout.values import Rollout, Target
from serving.wire.tensors import Signature, TensorSpec
from understudy.offline import judging
from understudy.offline.counts import Tally, stage_of
from understudy.offline.running import Answer
from understudy.scoring.canary import Trial, compared
from understudy.scoring.running import Answers

RULES = st.sampled_from([Exact(), Close(0.1, 0.1), Argmax(), TopK(2), Cosine(0.9), JensenShannon(0.1)])
NUMBERS = st.sampled_from([0.0, 1.0, 1.05, 2.0, -1.0, np.nan, np.inf])
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("label", "INT64", (-1,)),))
HARM = stage_of(100, (0, 0), {"label": (100, 60)}, {})
NONE = stage_of(100, (0, 0), {"label": (100, 0)}, {})


def answers(outputs, missing, *, refused):
    """Of rows whose places are those of `outputs`, some of which failed."""
    kept = [row for row in range(len(outputs["y"])) if row not in missing]
    pieces = [{name: array[part] for name, array in outputs.items()} for part in (kept[:3], kept[3:]) if part]
    failed = {row: Answer(None, "no", refused) for row in missing}
    return Answers(kept, pieces, failed)


@st.composite
def both(draw):
    rows = draw(st.integers(1, 9))
    width = draw(st.integers(1, 4))

    def side(before=None):
        y = draw(arrays.arrays("f4", (rows, width), elements=NUMBERS))
        label = draw(arrays.arrays("i8", (rows,), elements=st.integers(0, 2)))
        if before is not None:  # mostly the same
            keep = draw(arrays.arrays(bool, (rows,)))
            y, label = np.where(keep[:, None], before["y"], y), np.where(keep, before["label"], label)
        return {"y": y, "label": label}

    one = side()
    return one, side(one)


@settings(max_examples=examples(40))
@given(both(), st.sets(st.integers(0, 8)), st.sets(st.integers(0, 8)), RULES, st.booleans(), st.booleans())
def test_many_rows_are_counted_as_one_by_one(sides, fails, others, rule, refused, other_refused):
    stable, canary = sides
    rows = range(len(stable["y"]))
    rollout = Rollout("m", Target("m/1"), compare={"y": rule, "label": Exact()})
    ours = answers(stable, fails & set(rows), refused=refused)
    theirs = answers(canary, others & set(rows), refused=other_refused)
    found = compared(rows, ours, theirs, rollout)
    tally = Tally(rollout)
    for row in rows:
        one, other = (
            side.failed.get(row) or Answer({name: array[row : row + 1] for name, array in outputs.items()})
            for side, outputs in ((ours, stable), (theirs, canary))
        )
        tally.add({"x": np.array([row])}, one, other)
    expected = tally.counts()
    assert (found.counts.stable, found.counts.canary) == (expected.stable, expected.canary)
    assert found.counts.agreement == expected.agreement
    assert {name: far for name, far in found.counts.farthest.items() if far} == {
        name: far for name, far in expected.farthest.items() if far
    }
    differs = [row for row, agrees in found.agreed.items() if not agrees]
    assert sorted(differs) == [row for row, other in enumerate(tally.differs) if other]


def test_answers_of_several_shapes_are_compared_row_by_row():
    one = Answers([0, 1, 2], [{"y": np.zeros((1, 2), "f4")}, {"y": np.zeros((2, 3), "f4")}])
    other = Answers([0, 1, 2], [{"y": np.zeros((2, 2), "f4")}, {"y": np.ones((1, 3), "f4")}])
    found = compared([0, 1, 2], one, other, Rollout("m", Target("m/1")))
    assert dict(found.agreed) == {0: True, 1: False, 2: False}


def test_a_row_of_a_vector_is_compared_as_a_row():
    stable, canary = np.array([3.0, 9.0, 1.0], "f4"), np.array([9.0, 3.0, 1.0], "f4")
    [alone] = compare({"y": stable[:1]}, {"y": canary[:1]}, {"y": Argmax()})
    assert alone.same
    sides = [Answers([0, 1, 2], [{"y": side}]) for side in (stable, canary)]
    rollout = Rollout("m", Target("m/1"), compare={"y": Argmax()})
    assert all(compared([0, 1, 2], *sides, rollout).agreed.values())


def trial(window):
    document, _ = judging.document("m/1", "m/2", SIGNATURE)
    return Trial(document, window=window)


@settings(max_examples=examples(15))
@given(st.permutations(range(8)), st.integers(1, 4), st.integers(0, 7))
def test_who_is_drawn_follows_from_the_order_of_the_file(order, window, harmful_from):
    found = trial(window)
    counts = [HARM if chunk >= harmful_from else NONE for chunk in range(8)]
    for chunk in order:
        found.add(chunk, counts[chunk])
    stopped = [found.draws(chunk) for chunk in range(12)]
    straight = trial(window)
    for chunk in range(8):
        assert straight.draws(chunk) is (stopped[chunk] or False)
        straight.add(chunk, counts[chunk])
    assert straight.stopped == found.stopped
    assert found.judgement.verdict == straight.judgement.verdict


def test_harm_stops_it_after_the_window_and_not_where_nobody_wants():
    found = trial(2)
    assert (found.draws(0), found.draws(1), found.draws(2)) == (True, True, None)
    found.add(0, HARM)
    assert (found.stopped, found.draws(1), found.draws(2)) == (0, True, False)
    endless = trial(2)
    endless.stops = False
    endless.add(0, HARM)
    assert (endless.stopped, endless.draws(2)) == (None, True)
    assert endless.judgement.verdict == "harmful"
