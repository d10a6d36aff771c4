"""The enforced guards share alpha, each by the part of its kind."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.judging.guards.lines import harm_lines, sharing
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import ClientsGuard, LatencyGuard
from router.rollout.guards.promql import PromQLGuard
from router.rollout.guards.segments import SegmentsGuard

MODES = st.sampled_from(["enforce", "observe"])
KINDS = st.one_of(
    st.builds(ErrorsGuard, max_ratio=st.just(1.5), mode=MODES),
    st.builds(LatencyGuard, st.just(1.25), mode=MODES),
    st.builds(ClientsGuard, mode=MODES),
    st.builds(AgreementGuard, st.just("label"), st.just(0.98), mode=MODES),
    st.builds(SegmentsGuard, mode=MODES),
    st.builds(PromQLGuard, st.just("p"), st.just("up"), max=st.just(1.0), mode=MODES),
)
ALPHAS = st.floats(1e-6, 0.5)


@given(st.lists(KINDS, max_size=8), ALPHAS)
def test_the_parts_of_those_that_can_take_a_canary_off_add_up_to_alpha(guards, alpha):
    lines = dict(zip(map(id, guards), harm_lines(guards, alpha), strict=True))
    parts = [exp(-lines[id(guard)]) for guard in sharing(guards)]
    assert not parts or sum(parts) == pytest.approx(alpha)
    assert all(line >= log(1 / alpha) - 1e-12 for line in lines.values())


def test_errors_have_twice_the_part_of_another_and_what_clients_see_half_of_one():
    guards = [ErrorsGuard(1.5, 0.01), LatencyGuard(1.25), ClientsGuard(), AgreementGuard("label", 0.98)]
    assert harm_lines(guards, 0.01) == pytest.approx([log(225), log(450), log(900), log(450)])


def test_one_that_observes_takes_nothing_from_the_others():
    enforced = [AgreementGuard("label", 0.98), AgreementGuard("score", 0.98)]
    alone = harm_lines(enforced, 0.01)
    watched = harm_lines([*enforced, ErrorsGuard(1.5, mode="observe")], 0.01)
    assert watched[:2] == pytest.approx(alone)
    assert watched[2] == pytest.approx(log(1 / 0.01))
