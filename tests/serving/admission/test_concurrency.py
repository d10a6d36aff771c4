"""The gradient limit against simulated servers: it settles near the knee, and follows when that moves."""

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import examples
from serving.admission.concurrency import CEILING, FLOOR, STALE_SECONDS, GradientLimit


class Server:
    """`width` requests are worked on at once, each for about `seconds`; the others wait in line."""

    def __init__(self, width, seconds, seed=1):
        self.width, self.seconds = width, seconds
        self.free_at = [0.0] * width
        self.random = random.Random(seed)

    def answer_at(self, now):
        began = max(now, heapq.heappop(self.free_at))
        done = began + self.seconds * self.random.uniform(0.8, 1.2)
        heapq.heappush(self.free_at, done)
        return done


def drive(limit, server, rate, seconds, now=0.0, seed=2):
    """Open-loop load. Returns the end, the answers a second, the refused, and the slowest answer."""
    rng, pending, answered, refused, slowest = random.Random(seed), [], 0, 0, 0.0
    at, end = now, now + seconds
    while at < end:
        while pending and pending[0][0] <= at:
            done, token = heapq.heappop(pending)
            limit.leave(token, done, answered=True)
            answered += 1
            slowest = max(slowest, done - token[0])
        if limit.full:
            refused += 1
        else:
            heapq.heappush(pending, (server.answer_at(at), limit.enter(at)))
        at += rng.expovariate(rate)
    for done, token in pending:
        limit.leave(token, done, answered=True)
    return end, answered / seconds, refused, slowest


@settings(max_examples=examples(15))
@given(
    width=st.sampled_from([1, 2, 4, 8, 16]),
    seconds=st.sampled_from([0.002, 0.01, 0.05]),
    seed=st.integers(0, 1000),
)
def test_at_twice_the_peak_it_keeps_the_throughput_and_bounds_the_latency(width, seconds, seed):
    limit, server = GradientLimit(), Server(width, seconds, seed)
    peak = width / seconds
    now, *_ = drive(limit, server, 2 * peak, max(10.0, 300 / peak), seed=seed)
    _, answered, refused, slowest = drive(limit, server, 2 * peak, max(5.0, 300 / peak), now, seed)
    assert answered >= 0.9 * peak
    assert refused > 0
    assert slowest <= (max(FLOOR, 3 * width) + 9) / width * seconds * 1.3


def test_below_the_peak_nothing_is_refused_once_it_has_learned():
    limit, server = GradientLimit(), Server(8, 0.01)
    now, *_ = drive(limit, server, 400.0, 5.0)
    _, answered, refused, _ = drive(limit, server, 400.0, 20.0, now)
    assert refused <= 0.001 * answered * 20.0


def test_when_the_load_goes_back_it_recovers_within_seconds():
    limit, server = GradientLimit(), Server(4, 0.01)
    now, *_ = drive(limit, server, 1200.0, 20.0)
    now, *_ = drive(limit, server, 200.0, 2.0, now)
    _, answered, refused, _ = drive(limit, server, 200.0, 10.0, now)
    assert answered == pytest.approx(200.0, rel=0.1)
    assert refused == 0


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_server_that_changes_its_pace_is_learned_anew(factor):
    limit, server = GradientLimit(), Server(4, 0.01)
    now, *_ = drive(limit, server, 800.0, 10.0)
    server.seconds *= factor
    peak = 4 / server.seconds
    now, *_ = drive(limit, server, 2 * peak, STALE_SECONDS + 10.0, now)
    _, answered, _, slowest = drive(limit, server, 2 * peak, 10.0, now)
    assert answered >= 0.9 * peak
    assert slowest <= 8 * server.seconds


def test_a_flood_after_silence_meets_a_limit_near_what_was_used():
    limit, server = GradientLimit(), Server(4, 0.01)
    drive(limit, server, 50.0, 60.0)
    assert limit.limit <= 20


def test_clients_that_leave_teach_nothing_and_their_places_come_back():
    limit = GradientLimit()
    for turn in range(1000):
        token = limit.enter(turn * 0.01)
        limit.leave(token, turn * 0.01 + 0.001, answered=False)
    assert limit.in_flight == 0
    assert limit.least_seconds is None
    assert not limit.full


@given(st.lists(st.tuples(st.floats(0.0, 0.1), st.floats(0.0, 5.0), st.booleans()), max_size=300))
def test_the_limit_stays_between_its_floor_and_its_ceiling_whatever_happens(steps):
    limit, now, inside = GradientLimit(), 0.0, []
    for gap, latency, answered in steps:
        now += gap
        if limit.full:
            assert limit.in_flight >= FLOOR
            limit.leave(inside.pop(0), now + latency, answered=answered)
        else:
            inside.append(limit.enter(now))
        assert FLOOR <= limit.limit <= CEILING
        assert limit.in_flight == len(inside)
