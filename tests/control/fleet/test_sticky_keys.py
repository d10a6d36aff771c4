"""A user counts once over all processes and, for harm, over all stages."""

from dataclasses import replace

from control.fleet.sticky_keys import Place, StickyKeys
from router.counting.key_units import Unit
from router.counting.stage_counts import StageCounts


def units(*told, settled_until=0.0):
    return StageCounts(0.1, units=tuple(Unit(*each) for each in told), settled_until=settled_until)


def test_of_a_key_the_first_unit_that_is_told_counts():
    keys = StickyKeys()
    keys.learn(Place("digits", 1), units(("canary", 7, 0, 10, 2), ("canary", 8, 0, 1, 0)), "")
    keys.learn(Place("digits", 1), units(("canary", 7, 0, 10, 9)), "")
    assert keys.shares(Place("digits", 1), "canary").all == {0.2: 1, 0.0: 1}
    keys.learn(Place("digits", 2), units(("canary", 7, 0, 4, 4), ("canary", 9, 0, 2, 1)), "")
    found = keys.shares(Place("digits", 2), "canary")
    assert (found.all, found.fresh) == ({1.0: 1, 0.5: 1}, {0.5: 1}), "harm has counted the user before"
    keys.learn(Place("other", 1), units(("canary", 7, 0, 1, 1)), "")
    assert keys.shares(Place("other", 1), "canary").fresh == {1.0: 1}
    keys.forget([Place("digits", 1)])
    assert keys.shares(Place("digits", 1), "canary").all == {}


def test_a_worker_that_tells_of_users_who_were_drawn_before_is_not_heard_beside_others():
    """One of an older version, which does not know who they are."""
    keys, place = StickyKeys(), Place("digits", 2)
    older = StageCounts(0.5, error_keys=((1, 2), (3,)), error_seconds=((1, 1), (1,)))
    newer = replace(older, weight=0.4, beyond=0.1, error_keys=((2,), ()), error_seconds=((1,), ()))
    for told in ([older, newer], [newer, older]):
        for counts in told:
            keys.learn(place, counts, "")
        keys.settle(place, 5.0)
        assert keys.erred(place) == (1, 0)
        keys.clear()


def test_comparisons_are_of_one_candidate():
    keys = StickyKeys()
    keys.learn(Place("digits", 1), units(("agreement:label", 7, 0, 10, 2)), "digits/2")
    assert keys.shares(Place("digits", 1), "agreement:label", "digits/2").all == {0.2: 1}
    assert keys.shares(Place("digits", 1), "agreement:label", "digits/3").all == {}


def test_first_requests_wait_for_what_arrived_before_them_and_count_once():
    keys, place = StickyKeys(), Place("digits", 1)
    first = units(("first/canary", 7, 8, 1, 1), ("first/stable", 9, 5, 1, 1), settled_until=8.5)
    keys.learn(place, first, "")
    keys.settle(place, 8.0)
    assert keys.first_failures(place) == (0, 1)
    keys.learn(place, units(("first/canary", 7, 9, 1, 0), settled_until=9.9), "")
    keys.settle(place, 9.9)
    assert keys.first_failures(place) == (1, 1)
    assert keys.first_failures(Place("digits", 2)) is None
    assert keys.drawn(place) == (1, 1)
    assert keys.drawn(Place("digits", 2)) == (0, 0)
