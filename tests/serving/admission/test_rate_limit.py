"""Token buckets: the law of the bucket, of several processes' sharing it, and of bounded memory."""

import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission import rate_limit
from serving.admission.rate_limit import WAYS, Rates, create


class Clock:
    """Time that a test advances."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(rate_limit, "clock", clock)
    return clock


def test_a_burst_passes_and_then_the_rate(clock):
    limit = Rates(10.0, 5)
    assert [limit.take(b"a") for _ in range(5)] == [0.0] * 5
    assert limit.take(b"a") == pytest.approx(0.1)
    assert limit.take(b"a") == pytest.approx(0.1)  # a refused request costs nothing
    assert limit.take(b"b") == 0.0
    clock.now += 0.1
    assert limit.take(b"a") == 0.0
    assert limit.take(b"a") == pytest.approx(0.1)
    clock.now += 3600.0
    assert [limit.take(b"a") > 0 for _ in range(6)] == [False] * 5 + [True]


@given(
    rate=st.floats(0.1, 1000.0),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0.0, 0.5), min_size=1, max_size=60),
)
def test_no_stretch_of_time_lets_in_more_than_the_law_and_whoever_waits_as_told_gets_in(rate, burst, gaps):
    limit, clock = Rates(rate, burst), Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_limit, "clock", clock)
        let_in = []
        for gap in gaps:
            clock.now += gap
            wait = limit.take(b"client")
            if wait == 0.0:
                let_in.append(clock.now)
        for first in range(len(let_in)):
            for last in range(first, len(let_in)):
                most = burst + rate * (let_in[last] - let_in[first])
                assert last - first + 1 <= most + 1e-6 * rate + 1e-3
        wait = limit.take(b"client")
        clock.now += wait + 1e-9
        assert wait == 0.0 or limit.take(b"client") == 0.0


def test_a_client_with_many_names_does_not_refill_the_bucket_of_one(clock):
    limit = Rates(1.0, 3)
    for _ in range(3):
        assert limit.take(b"greedy") == 0.0
    for number in range(200_000):
        limit.take(b"name %d" % number)
    assert limit.take(b"greedy") > 0.0


def test_memory_does_not_grow_with_the_names(clock):
    limit = Rates(1.0, 1)
    for number in range(2000):
        limit.take(b"%d" % number)
    assert len(limit._memory) == rate_limit._BYTES
    assert sum(1 for word in limit._ids[rate_limit._HEADER :: 2] if word) <= rate_limit.SETS * WAYS


def _take_many(path, count, let_in):
    limit = Rates(0.001, 1000, path)
    taken = sum(limit.take(b"client") == 0.0 for _ in range(count))
    with let_in.get_lock():
        let_in.value += taken


def test_processes_that_share_a_file_share_the_buckets(tmp_path):
    path = tmp_path / "buckets"
    create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    let_in = context.Value("i", 0)
    workers = [context.Process(target=_take_many, args=(path, 900, let_in)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert let_in.value == 1000, "of 2,700"
    assert Rates(0.001, 1000, path).take(b"client") > 0.0
    assert Rates(0.001, 1000, path).take(b"another") == 0.0


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_a_limit_that_lets_nobody_in_is_refused(rate, burst):
    with pytest.raises(ValueError, match="needed"):
        Rates(rate, burst)
