import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.shadow_verdicts import as_json, shadow_verdict
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.rules import Exact
from router.rollout.values import Rollout, Shadow, Target

PLAIN = Rollout("m", Target("m/1"), shadows=(Shadow(Target("m/3"), 100.0),))
GUARDED = Rollout(
    "m",
    Target("m/1"),
    shadows=PLAIN.shadows,
    guards=(ErrorsGuard(max=0.5), AgreementGuard("label", 0.9, "observe")),
    alpha=0.01,
)


def test_many_good_comparisons_are_proof_and_many_bad_ones_harm_of_a_comparison_only():
    good = shadow_verdict(GUARDED, "m/3", [{"label": (2_000, 20)}])
    assert good.verdict == "proven"
    assert good.sentence.startswith("agrees as the guards demand (agreement:label: 20 of 2,000")
    bad = shadow_verdict(GUARDED, "m/3", [{"label": (1_000, 400)}, {"label": (1_000, 400)}])
    assert bad.verdict == "harmful"
    assert bad.sentence.startswith("differs more than is tolerated (agreement:label: 800 of 2,000")
    for found in (good, bad):
        assert "nothing follows from it" in found.sentence
        assert [(guard.guard, guard.mode) for guard in found.guards] == [("agreement:label", "observe")]


def test_without_comparisons_it_is_undecided_and_without_a_guard_nothing_is_judged():
    early = shadow_verdict(GUARDED, "m/3", [{}])
    assert early.verdict == "undecided"
    assert "no answer was compared in label yet" in early.sentence
    unguarded = shadow_verdict(PLAIN, "m/3", [{"label": (1_000, 400)}])
    assert unguarded.verdict is None
    assert "400 of 1,000 comparisons of label differed; no agreement guard" in unguarded.sentence
    assert shadow_verdict(PLAIN, "m/3", []).sentence.startswith("nothing was compared yet")


def test_only_outputs_that_are_ruled_are_counted():
    rollout = Rollout("m", Target("m/1"), shadows=PLAIN.shadows, compare={"label": Exact()})
    found = as_json(shadow_verdict(rollout, "m/3", [{"label": (10, 1), "scores": (10, 10)}]))
    assert found["comparisons"] == [{"output": "label", "comparisons": 10, "differences": 1}]


@given(st.lists(st.integers(0, 500).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=5))
def test_it_is_judged_on_the_sum_of_its_stages(pairs):
    split = shadow_verdict(GUARDED, "m/3", [{"label": pair} for pair in pairs])
    whole = shadow_verdict(
        GUARDED, "m/3", [{"label": (sum(n for n, _ in pairs), sum(d for _, d in pairs))}] if pairs else []
    )
    assert split.verdict == whole.verdict
    assert split.guards[0].log_harm == pytest.approx(whole.guards[0].log_harm)
