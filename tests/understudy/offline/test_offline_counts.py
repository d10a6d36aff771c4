"""Rows are counted as live requests are, and what that says of errors is sound though nothing was drawn."""

import asyncio
from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.evidence import GRID, label_test
from control.judging.judge import judge
from harness.system import MODELS, ROOT
from router.counting.stage_counts import RoleCounts, StageCounts
from router.mirror.comparer import Comparer
from router.mirror.comparison_counts import ComparisonCounts
from router.mirror.frame import Frame
from router.mirror.runners import LocalRunner
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.parser import parse_one
from serving.models.files.repository import Repository
from serving.models.runtime import Runtime
from serving.telemetry.cells import Metrics
from serving.wire.message import Call
from serving.wire.tensors import Signature, TensorSpec
from understudy.offline.counts import Tally
from understudy.offline.data.reading import read
from understudy.offline.data.rows import rows_of
from understudy.offline.judging import document, verdict
from understudy.offline.running import Answer, open_model, run_both

GOOD = Answer({"y": np.array([1.0])})
OTHER = Answer({"y": np.array([2.0])})
FAILED = Answer(None, "it failed")
REFUSED = Answer(None, "wrong shape", refused=True)
ROLLOUT = parse_one("m", "{stable: m/1, guards: {agreement: {output: y, min: 95%, per: body}}}", "test")
EACH_ROW = replace(ROLLOUT, guards=(AgreementGuard("y", 0.95),))


def counted(*rows, rollout=EACH_ROW):
    tally = Tally(rollout)
    for number, (base, candidate) in enumerate(rows):
        tally.add({"x": np.array([number % 3])}, base, candidate)
    return tally


@pytest.mark.parametrize(
    ("base", "candidate", "failures", "agreement"),
    [
        (GOOD, GOOD, (0, 0), (1, 0)), (GOOD, OTHER, (0, 0), (1, 1)), (GOOD, FAILED, (0, 1), (1, 1)),
        (GOOD, REFUSED, (0, 1), (1, 1)), (REFUSED, REFUSED, (0, 0), None), (FAILED, GOOD, (1, 0), None),
        (FAILED, REFUSED, (1, 1), None), (FAILED, FAILED, (1, 1), None), (REFUSED, FAILED, (0, 1), None),
    ],
)  # fmt: skip
def test_a_row_counts_as_the_request_that_it_is(base, candidate, failures, agreement):
    counts = counted((base, candidate)).counts()
    assert (counts.stable.failures, counts.canary.failures) == failures
    assert (counts.stable.requests, counts.canary.requests) == (1, 1)
    assert counts.agreement.get("y") == agreement


def test_what_only_one_side_gives_is_told_with_the_reason():
    tally = counted((GOOD, FAILED), (REFUSED, GOOD), (FAILED, FAILED))
    assert tally.only_candidate == {0: "it failed"}
    assert tally.unanswered == {1: "wrong shape", 2: "it failed"}
    assert tally.answered == [False, False, False]


def test_rows_that_repeat_are_counted_and_left_out_where_bodies_are_the_unit():
    rows = [(GOOD, OTHER)] * 7
    each, by_body = counted(*rows).counts(), counted(*rows, rollout=ROLLOUT).counts()
    assert (each.agreement["y"], by_body.agreement["y"]) == ((7, 7), (3, 3))
    assert each.repeated == by_body.repeated == 4


@given(
    st.floats(0.5, 5.0),
    st.sampled_from([*GRID, *(1 / GRID)]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_no_joint_chance_of_failing_makes_a_row_a_winning_bet(ratio, alternative, both, one, other):
    """The factor of a row has an expectation of at most 1 under the null, whatever hangs together."""
    total = both + one + other + 1e-9
    both, one, other = both / total, one / total, other / total
    canary, stable = both + one, both + other
    harm = alternative > 1.0
    if (canary > ratio * stable) if harm else (canary < ratio * stable):
        return  # not the null of this side
    of_canary = alternative * (1 + ratio) / (1 + alternative * ratio)
    of_stable = (1 + ratio) / (1 + alternative * ratio)
    mean = both * of_canary * of_stable + one * of_canary + other * of_stable + (1 - both - one - other)
    assert mean <= 1 + 1e-9


def test_rows_on_which_both_fail_never_add_to_harm():
    alone = StageCounts(0.5, RoleCounts(100, 100, 1, 1), RoleCounts(100, 100, 9, 9))
    harms = [label_test(0.5, 9 + both, 1 + both, 1.5).harm for both in (0, 5, 20)]
    assert harms == sorted(harms, reverse=True)
    assert judge((ErrorsGuard(max_ratio=1.5),), [alone], 0.01).guards[0].log_harm > 0


@pytest.mark.parametrize(("guard", "rows"), [("agreement:y", 109), ("errors", 631)])
def test_the_defaults_are_proven_by_as_many_good_rows_as_the_page_says(guard, rows):
    signature = Signature((), (TensorSpec("y", "INT64", (-1,)),))
    judged_by, _ = document("m/1", "m/2", signature)
    said = []
    for count in (rows - 1, rows):
        counts = StageCounts(0.5, *[RoleCounts(count, count)] * 2, agreement={"y": (count, 0)})
        said += [found.verdict for found in verdict(judged_by, counts).guards if found.guard == guard]
    assert said == ["undecided", "proven"]
    assert f" {rows} " in (ROOT / "docs" / "offline-test.md").read_text()


def live(rows, target, folder):
    """What the live comparer of a canary's sandbox counts on these rows, and the rollout that it follows."""
    rollout = parse_one("digits", f"{{stable: digits/1, canary: {{model: {target}, weight: 50}}}}", "test")
    metrics = Metrics(folder / "metrics", "sandbox")
    counts = ComparisonCounts(target, metrics)

    async def compared():
        runtime = Runtime(Repository(MODELS), metrics, folder / "verified", 1)
        for key in ("digits/1", target):
            await runtime.load(*key.split("/"))
        comparer = Comparer(target, LocalRunner(lambda: runtime.ready.get(target)), [counts])
        comparer.follow(rollout)
        for feeds in rows.feeds:
            pixels = feeds["pixels"]
            tensor = {
                "name": "pixels",
                "datatype": "FP32",
                "shape": list(pixels.shape),
                "data": pixels.ravel().tolist(),
            }
            body = orjson.dumps({"inputs": [tensor]})
            reply = runtime.ready["digits/1"].one(Call({}, body, 0.0))
            await comparer.deal_with(Frame("digits", 1, 0, body, None, reply.body, reply.json_length))
        await runtime.close()

    asyncio.run(compared())
    metrics.close()
    return counts.report(0)[1], rollout


def test_the_live_comparer_counts_the_same_and_the_live_judge_says_the_same(tmp_path):
    """Of digits/3, which is harmful: by counts that the live path made, and by those of the rows."""
    base, candidate = (open_model(MODELS, key, 1) for key in ("digits/1", "digits/3"))
    rows = rows_of(read(MODELS / "digits" / "heldout.npz"), base.model.signature)
    of_sandbox, rollout = live(rows, "digits/3", tmp_path)
    guards = (AgreementGuard("label", 0.95), AgreementGuard("probabilities", 0.5))
    judged_by, _ = document("digits/1", "digits/3", base.model.signature, replace(rollout, guards=guards))
    tally = Tally(judged_by)
    for feeds, (ours, theirs) in zip(
        rows.feeds, run_both(base, candidate, rows.feeds, lambda: None), strict=True
    ):
        tally.add(feeds, ours, theirs)
    assert tally.counts().agreement == of_sandbox.agreement
    assert tally.counts().farthest == of_sandbox.farthest
    assert verdict(judged_by, tally.counts()) == judge(guards, [of_sandbox], rollout.alpha)
    assert verdict(judged_by, tally.counts()).verdict == "harmful"
