"""Who takes no snapshot: once for each node, with one of the reasons, and what to do."""

from control.fleet.nodes import Nodes
from control.fleet.sight import GONE_SECONDS
from control.views.refusing import MOST, Refusing, refusing
from router.wire.report import Held, Report, Unusable


def report(node, worker=1, **more):
    common = {"node": node, "kind": "worker", "wait": 0, "revision": 3, **more}
    return Report(instance=f"{node}/{worker}", **common)


def heard(*reports) -> Nodes:
    nodes = Nodes(lambda said: "it holds another" if said.held.revision == 9 else "")
    for each in reports:
        nodes.hear(each, 0.0)
    return nodes


def test_where_all_take_what_they_are_given_nobody_is_told_of():
    found = refusing(heard(report("n1"), report("n2")), 0.0)
    assert (found.nodes, found.needs(), found.problem) == (2, [], "")
    assert found.counts == {"older_database": 0, "unusable": 0}
    assert Refusing().problem == ""


def test_a_node_is_told_of_once_and_most_of_them_make_control_unready():
    held = Held(epoch=1, revision=9, made=1.0)
    nodes = heard(report("n2", held=held), report("n2", 2, held=held), report("n1", held=held), report("n3"))
    found = refusing(nodes, 0.0)
    assert found.counts["older_database"] == 2
    [need] = found.needs()
    assert need.kind == "older_database"
    assert need.sentence.startswith("2 of 3 nodes are given nothing and serve what they have: n1, it holds")
    assert need.sentence.endswith("so that nodes take what is stored")
    assert found.problem == need.sentence
    assert refusing(heard(report("n1", held=held), report("n2")), 0.0).problem == "", "not most of them"
    assert refusing(nodes, GONE_SECONDS).counts["older_database"] == 0, "nobody is heard of"


def test_who_cannot_use_a_snapshot_is_told_of_with_the_reason():
    why = Unusable(revision=13, reason="digits: " + "x" * 900)
    nodes = heard(
        report("n1", unusable=why), report("n2"), report("n3", unusable=Unusable(revision=0, reason="y"))
    )
    found = refusing(nodes, 0.0)
    assert found.counts == {"older_database": 0, "unusable": 2}
    [need] = found.needs()
    assert need.kind == "snapshot_refused"
    assert need.sentence.startswith(
        "2 of 3 nodes serve what they had before: n1, it cannot use revision 13: digits: xx"
    )
    assert len(need.sentence) < 2 * MOST
    assert found.problem == ""
    rows = {row["node"]: row["refused"] for row in nodes.rows(0.0)}
    assert rows["n2"] == ""
    assert rows["n1"].endswith(why.reason)
    assert rows["n3"] == "it cannot use what it is given: y"
