"""Several candidates beside one stable: for each the counts are those of a canary that was alone with it."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import examples
from router.counting.abreast import Abreast
from router.counting.recorder import StageRecorder
from router.counting.segments import SegmentErrors
from router.counting.slices import UNTIMED, Slice, Timed
from router.counting.stage_counts import RoleCounts, Span

KEYS = ("m/2", "m/3", "m/4")
ALL = (1 << len(KEYS)) - 1
STABLE = len(KEYS)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def abreast(clock, timed=UNTIMED, segments=0):
    recorders = [
        StageRecorder("m", 1, 0.25, clock, candidate=key, segments=segments, timed=timed) for key in KEYS
    ]
    return Abreast(recorders, timed)


@dataclass
class Asked:
    """One request of the naive reference.

    Attributes:
        side: place of the candidate that it was drawn to, or `STABLE`.
        ready: who was, as bits.
        slice: of the real counts; None where it is nobody's evidence.
    """

    side: int
    ready: int
    slice: Slice | None
    outcome: str = ""


@dataclass
class Reference:
    """What is to be counted: every slice of time as a list of requests, settled while all have ended."""

    slices: list[list[Asked]] = field(default_factory=lambda: [[]])

    def settled(self) -> list[Asked]:
        found: list[Asked] = []
        for each in self.slices[:-1]:
            if not all(asked.outcome for asked in each):
                break
            found += each
        return found

    def counts(self, place: int) -> tuple[RoleCounts, RoleCounts]:
        """Stable's and the candidate's, of the requests that were drawn to either while it was ready."""
        mine = [each for each in self.settled() if each.ready >> place & 1]
        return tuple(
            RoleCounts(
                len(of), len(of), sum(each.outcome == "failed" for each in of),
                sum(each.outcome == "failed" for each in of), sum(each.outcome == "left" for each in of),
            )
            for of in ([each for each in mine if each.side == side] for side in (STABLE, place))
        )  # fmt: skip


def end(asked: Asked, outcome: str) -> None:
    asked.outcome = outcome
    assert asked.slice is not None
    asked.slice.pending -= 1
    tally = asked.slice.stable if asked.side == STABLE else asked.slice.canary
    if outcome == "left":
        tally.leave()
    elif outcome == "failed":
        tally.refuse(failed=True)
        tally.err(0, "failed", "")
    else:
        tally.add(1e-3, 1e-3)


ASK = st.tuples(st.just("ask"), st.integers(0, STABLE), st.integers(0, ALL))
END = st.tuples(st.just("end"), st.integers(0, 50), st.sampled_from(["good", "failed", "left"]))
STEPS = st.lists(st.one_of(ASK, ASK, END, st.tuples(st.just("rotate"), st.just(0), st.just(0))), max_size=60)


@settings(max_examples=examples(150))
@given(STEPS)
def test_whatever_the_order_each_candidate_has_the_counts_of_a_naive_reference(steps):
    clock = Clock()
    counts, reference = abreast(clock), Reference()

    def look() -> None:
        for place, recorder in enumerate(counts.recorders):
            found = recorder.settled
            assert (found.stable, found.canary) == reference.counts(place)

    for kind, number, what in steps:
        asked = [each for of in reference.slices for each in of if not each.outcome]
        if kind == "ask":
            if number == STABLE:
                slice_ = counts.of_stable(what)
            else:
                slice_ = counts.recorders[number].current if what >> number & 1 else None
            assert (slice_ is None) == (what == 0 if number == STABLE else not what >> number & 1)
            if slice_ is not None:
                slice_.pending += 1
                reference.slices[-1].append(Asked(number, what, slice_))
        elif kind == "end" and asked:
            end(asked[number % len(asked)], what)
        elif kind == "rotate":
            counts.rotate()
            clock.now += 0.1
            reference.slices.append([])
            look()
    for each in (each for of in reference.slices for each in of if not each.outcome):
        end(each, "good")
    counts.rotate()
    reference.slices.append([])
    look()
    everything = reference.settled()
    drawn = sum(recorder.settled.canary.requests for recorder in counts.recorders)
    assert drawn + sum(each.side == STABLE for each in everything) == len(everything)


def test_an_outcome_of_one_waits_for_what_arrived_before_it_at_any_other():
    clock = Clock()
    counts = abreast(clock)
    first, second, _ = counts.recorders
    slow = second.current
    slow.pending += 1
    counts.rotate()
    first.current.canary.refuse(failed=True)
    partly = counts.of_stable(0b110)
    partly.stable.leave()
    counts.rotate()
    assert first.settled.canary.requests == 0
    slow.pending -= 1
    slow.canary.leave()
    counts.rotate()
    assert [recorder.settled.canary.requests for recorder in counts.recorders] == [1, 1, 0]
    assert [recorder.settled.stable.requests for recorder in counts.recorders] == [0, 1, 1]


def test_settling_says_whether_any_candidate_failed():
    counts = abreast(Clock())
    counts.recorders[0].current.stable.err(0, "failed", "")
    counts.recorders[0].current.stable.refuse(failed=True)
    assert not counts.rotate()
    counts.recorders[2].current.canary.refuse(failed=True)
    counts.recorders[2].current.canary.err(0, "failed", "")
    assert counts.rotate()
    assert not counts.rotate()


def test_how_far_all_is_settled_is_one_time_for_all():
    clock = Clock()
    counts = abreast(clock)
    counts.recorders[1].current.pending += 1
    clock.now += 3.0
    counts.rotate()
    clock.now += 3.0
    counts.rotate()
    assert [recorder.settled.settled_until for recorder in counts.recorders] == [1000.0] * 3


@pytest.mark.parametrize("ready", [ALL, 0b011])
def test_spans_times_and_segments_of_stable_are_those_of_the_candidates_that_were_ready(ready):
    clock = Clock()
    counts = abreast(clock, Timed(compute=True, waits=True), segments=3)
    stable = counts.of_stable(ready).stable
    stable.add(1e-3, 2e-3)
    stable.refuse(failed=True)
    stable.err(0, "failed", "de")
    for recorder in counts.recorders:
        recorder.current.canary.leave()
    counts.rotate()
    for place, recorder in enumerate(counts.recorders):
        told, there = recorder.report(0), bool(ready >> place & 1)
        assert told.spans == {200: Span(1, 1, 2 * there, 0)}
        assert sum(sum(span.stable.values()) for span in told.times.values()) == there
        assert sum(sum(span.stable.values()) for span in told.waits.values()) == there
        assert told.segments == ({"de": SegmentErrors(0, 1, 1000)} if there else {})
