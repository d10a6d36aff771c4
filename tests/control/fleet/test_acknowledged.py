"""Enough nodes serve a revision when the share of them does, and not one sooner."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.fleet.acknowledged import Acknowledged
from control.fleet.nodes import Nodes
from control.fleet.sight import GONE_SECONDS
from router.wire.report import Report

SHARES = st.integers(1, 100).map(lambda percent: percent / 100)
WORKERS = st.lists(st.tuples(st.sampled_from([f"n{i}" for i in range(20)]), st.integers(0, 4)), max_size=60)


@given(WORKERS, SHARES, st.integers(1, 5))
def test_a_revision_is_served_where_all_workers_of_so_many_nodes_have_it(workers, share, revision):
    found = Acknowledged(workers, share)
    nodes = {node for node, _ in workers}
    serving = {node for node in nodes if all(has >= revision for of, has in workers if of == node)}
    wanted = Fraction(share).limit_denominator(100) * len(nodes)
    assert (found.nodes, found.serving(revision)) == (len(nodes), len(serving))
    assert found.enough(revision) == (bool(nodes) and len(serving) >= wanted)
    assert (found.words(revision) == "") == (found.enough(revision) or not nodes)


@pytest.mark.parametrize(("nodes", "needed"), [(1, 1), (3, 3), (19, 19), (20, 19), (40, 38), (300, 285)])
def test_how_many_are_needed_by_default(nodes, needed):
    behind = nodes - needed
    found = Acknowledged([(f"n{number}", int(number >= behind)) for number in range(nodes)])
    assert (found.needed, found.serving(1), found.enough(1)) == (needed, needed, True)
    late = Acknowledged([(f"n{number}", int(number > behind)) for number in range(nodes)])
    assert late.words(1) == f"{needed - 1} of {nodes} nodes serve it, and its time counts once {needed} do"


def report(node, worker, revision, **more):
    common = {"node": node, "kind": "worker", "wait": 0, **more}
    return Report(instance=f"{node}/{worker}", revision=revision, **common)


def test_who_ends_or_is_out_of_sight_is_not_waited_for():
    nodes = Nodes(share=1.0)
    nodes.hear(report("n1", 1, 7), 0.0)
    nodes.hear(report("n1", 2, 6), 0.0)
    nodes.hear(report("n2", 1, 7), 0.0)
    assert nodes.acknowledged(0.0).words(7) == "1 of 2 nodes serve it, and its time counts once 2 do"
    nodes.hear(report("n1", 2, 6, draining=True), 0.5)
    assert nodes.acknowledged(0.5).enough(7)
    nodes.hear(report("n2", 1, 6), 0.6)
    nodes.hear(report("n1", 1, 7), GONE_SECONDS + 0.6)
    assert nodes.acknowledged(GONE_SECONDS + 0.6).enough(7)
    assert not nodes.acknowledged(99.0).enough(0), "of nobody nobody serves anything"
