"""How full a process is: of each resource a law, and the greatest of all."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.admission.gate import REJECTED
from serving.admission.saturation import (
    OVERLOADED,
    RESOURCE_SATURATION,
    RESOURCES,
    SATURATION,
    Meter,
    Saturation,
)
from serving.telemetry.cells import Metrics, read

HELD = {"bodies": 0.0, "connections": 0.0, "streams": 0.0}


@dataclass(eq=False)
class Thread:
    """What of a scheduler is looked at."""

    work_seconds: float = 0.0
    queue_share: float = 0.0
    refused: int = 0


class Process:
    """A process whose every second is told."""

    def __init__(self, folder):
        self.folder, self.metrics = folder, Metrics(folder, "test")
        self.busy, self.used, self.now, self.threads = 0.0, 0.0, 0.0, [Thread(), Thread()]
        self.quota = 2.0
        self.saturation = Saturation(self.metrics, lambda: self.busy, lambda: (self.used, self.quota))

    def look(self, held=HELD, refused=0):
        self.now += 1.0
        return self.saturation.look(self.now, held, self.threads, refused)

    def settle(self, second, times=60):
        """The share after a minute of alike seconds."""
        return [self.look(**(second() or {})) for _ in range(times)][-1]

    def shown(self):
        found = read(self.folder)
        by_resource = {labels[0]: value for labels, [value] in found[RESOURCE_SATURATION.name].series.items()}
        return found[SATURATION.name].series[()][0], by_resource


@pytest.fixture
def process(tmp_path):
    made = Process(tmp_path)
    yield made
    made.metrics.close()


def test_an_idle_process_is_empty_and_shows_all_its_resources(process):
    assert process.settle(lambda: None) == 0.0
    total, shares = process.shown()
    assert total == 0.0
    assert shares == dict.fromkeys(RESOURCES, 0.0)


def test_each_resource_is_its_share_and_the_greatest_binds(process):
    def second():
        process.busy += 0.3
        process.used += 0.4
        process.threads[0].work_seconds += 0.1
        process.threads[1].work_seconds += 0.5
        process.threads[0].queue_share = 0.25
        return {"held": {"bodies": 0.1, "connections": 0.15, "streams": 0.05}}

    assert process.settle(second) == pytest.approx(0.5, abs=1e-3)
    total, shares = process.shown()
    assert total == max(shares.values())
    assert shares == pytest.approx(
        {
            "loop": 0.3, "cpu": 0.2, "model": 0.5, "queue": 0.25,
            "bodies": 0.1, "connections": 0.15, "streams": 0.05, "refusals": 0.0,
        },
        abs=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize("reason", OVERLOADED)
def test_who_is_refused_for_want_of_something_says_that_it_is_full_for_as_long_as_it_lasts(process, reason):
    process.look()
    process.metrics.counter(REJECTED, "public", reason).add()
    assert process.look() == 1.0
    assert process.look() == 0.0


@pytest.mark.parametrize("reason", ["rate", "key", "client_connections"])
def test_rules_for_one_client_say_nothing_of_the_process(process, reason):
    process.look()
    process.metrics.counter(REJECTED, "public", reason).add()
    assert process.look() == 0.0


def test_a_full_queue_and_memory_that_ran_out_count_as_refusals_too(process):
    process.look()
    process.threads[1].refused += 3
    assert process.look() == 1.0
    assert process.look(refused=1) == 1.0
    assert process.look(refused=1) == 0.0


def test_a_model_that_is_unloaded_and_one_that_is_loaded_are_no_load(process):
    process.settle(lambda: None, 3)
    process.threads = [Thread(work_seconds=1e6, refused=0)]
    assert process.look() == 0.0
    process.threads = []
    assert process.look() == 0.0


seconds = st.lists(st.tuples(st.floats(0.05, 3.0), st.floats(0, 1)), min_size=1, max_size=60)


@given(seconds, st.floats(0, 1))
def test_more_work_never_makes_a_share_less(looks, more):
    def read_all(extra):
        meter, now, total = Meter(), 0.0, 0.0
        meter.read(total, now)
        for passed, busy in looks:
            now += passed
            total += passed * (busy + (1.0 - busy) * extra)
            yield meter.read(total, now)

    for less, greater in zip(read_all(0.0), read_all(more), strict=True):
        assert 0.0 <= less <= greater + 1e-12 <= 1.0 + 1e-12


@given(st.floats(0, 1), st.floats(0.1, 5.0))
def test_what_is_used_steadily_is_the_share_however_often_it_is_looked_at(busy, every):
    meter = Meter()
    for look in itertools.count():
        share = meter.read(busy * look * every, look * every)
        if look * every > 60.0:
            break
    assert share == pytest.approx(busy, abs=1e-3)


def test_runs_that_are_told_when_they_end_are_a_mean():
    meter = Meter()
    shares = [meter.read(2.0 * (second // 4), float(second)) for second in range(120)]
    assert sum(shares[-20:]) / 20 == pytest.approx(0.5, abs=0.02)
