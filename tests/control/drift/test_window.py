"""Control adds what nodes have seen: each slice of each process once, for an hour."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from control.drift.window import CLOSED_SECONDS, Sum, Window
from router.drift.histograms import Moments
from router.drift.tally import Tally
from router.drift.watch import KEPT_SLICES, SLICE_SECONDS
from router.wire.drift_report import DriftReport, SliceReport, TallyReport

BEGIN = 1_000_000 * SLICE_SECONDS
PLACE = ("m", "m/1")


def of_slice(begins, answers):
    feature = TallyReport(counts=(answers, 0), finite=answers, mean=1.0, least=1.0, greatest=1.0)
    return SliceReport(begins=begins, answers=answers, of=2.0 * answers, features={"x": feature})


def report(*slices, profile="ab", target="m/1", problem=""):
    return DriftReport(model="m", target=target, profile=profile, problem=problem, slices=slices)


told = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 3), st.integers(1, 9))


@given(st.lists(told, max_size=20))
def test_what_is_told_again_replaces_and_what_others_tell_adds(reports):
    window, last = Window(), {}
    for instance, number, answers in reports:
        begins = BEGIN + number * SLICE_SECONDS
        window.hear(instance, [report(of_slice(begins, answers))], BEGIN + 3 * SLICE_SECONDS)
        last[instance, number] = answers
    found = window.sum(PLACE, "ab", BEGIN + 3 * SLICE_SECONDS)
    assert found.answers == sum(last.values())
    assert found.of == 2 * found.answers
    if last:
        assert found.tallies["x"].counts == (found.answers, 0)
        assert found.since == BEGIN + min(number for _, number in last) * SLICE_SECONDS


def test_a_slice_that_is_closed_takes_nothing_more_and_after_an_hour_is_gone():
    window = Window()
    window.hear("a", [report(of_slice(BEGIN, 5))], BEGIN)
    late = BEGIN + SLICE_SECONDS + CLOSED_SECONDS + 1
    window.hear("b", [report(of_slice(late, 2))], late)
    window.hear("a", [report(of_slice(BEGIN, 7))], late)
    assert window.sum(PLACE, "ab", late).answers == 5 + 2, "the first is closed"
    assert window.sum(PLACE, "ab", BEGIN + KEPT_SLICES * SLICE_SECONDS).answers == 2
    later = BEGIN + KEPT_SLICES * SLICE_SECONDS
    window.hear("a", [report(of_slice(BEGIN, 9), of_slice(later + 2 * SLICE_SECONDS, 9))], later)
    assert window.sum(PLACE, "ab", later).answers == 2, "neither long ago nor of the future"


def test_other_bins_are_never_added_and_two_profiles_are_kept():
    window = Window()
    for number, profile in enumerate(["ab", "cd", "ef"]):
        window.hear("a", [report(of_slice(BEGIN, 1 + number), profile=profile)], BEGIN)
    assert window.digests(PLACE) == ("cd", "ef")
    assert [window.sum(PLACE, each, BEGIN).answers for each in ("ab", "cd", "ef")] == [0, 2, 3]
    assert window.sum(("m", "m/9"), "ab", BEGIN) == Sum()


def test_why_a_process_does_not_count_is_told_until_it_does():
    window = Window()
    window.hear("a", [report(problem="why")], BEGIN)
    assert window.problem(PLACE, "ab") == "why"
    window.hear("a", [report(of_slice(BEGIN, 1))], BEGIN)
    assert window.problem(PLACE, "ab") == ""


def test_targets_that_nobody_tells_of_go_first(monkeypatch):
    monkeypatch.setattr("control.drift.window.MOST_TARGETS", 2)
    window = Window()
    for target in ("m/1", "m/2", "m/1", "m/3"):
        window.hear("a", [report(of_slice(BEGIN, 1), target=target)], BEGIN)
    assert list(window.targets("m")) == [("m", "m/1"), ("m", "m/3")]
    assert list(window.targets("other")) == []


def test_sums_of_any_order_are_the_same():
    one, two, three = (
        Sum(at, at, 1, 2.0, {"x": Tally((at,), 1, Moments(1, 2.0), 0.0, at)}) for at in (1, 2, 3)
    )
    assert len({repr(sum(each, Sum())) for each in itertools.permutations((one, two, three))}) == 1
