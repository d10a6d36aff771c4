from control.fleet.sight import GONE_SECONDS, KEPT_SECONDS, Sight, Unseen
from router.wire.report import Report


def said(node="n1", kind="worker", revision=3, *, draining=False):
    return Report(instance=f"{node}/1", node=node, kind=kind, revision=revision, wait=0, draining=draining)


def test_a_node_that_is_heard_no_more_is_out_of_sight_with_what_it_had_in_force():
    sight = Sight()
    sight.hear(said("n2"), 0.0)
    sight.hear(said("n1", revision=4), 2.0)
    assert sight.out(GONE_SECONDS - 0.1) == []
    assert sight.out(GONE_SECONDS) == [Unseen("n2", GONE_SECONDS, 3)]
    assert [each.node for each in sight.out(GONE_SECONDS + 2.0)] == ["n1", "n2"]
    sight.hear(said("n2", revision=5), GONE_SECONDS + 2.0)
    assert [each.node for each in sight.out(GONE_SECONDS + 2.0)] == ["n1"]


def test_one_that_says_that_it_ends_is_not_missed():
    sight = Sight()
    sight.hear(said(), 0.0)
    sight.hear(said(draining=True), 1.0)
    assert sight.out(100.0) == []


def test_whoever_is_gone_for_an_hour_is_forgotten_and_others_than_workers_are_not_asked():
    sight = Sight()
    sight.hear(said(), 0.0)
    sight.hear(said("n2", kind="sandbox"), 0.0)
    assert [each.node for each in sight.out(KEPT_SECONDS)] == ["n1"]
    assert sight.out(KEPT_SECONDS + 1.0) == []
    assert sight.out(GONE_SECONDS) == []
