import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry.cells import Family, FolderCollector, Metrics, clear, read

HITS = Family("understudy_hits", "counter", "Hits.", ("who",))
LEVEL = Family("understudy_level", "gauge", "Level.", ("who",))
HIGHEST = Family("understudy_highest", "gauge", "Highest.", merge="max")
LOWEST = Family("understudy_lowest", "gauge", "Lowest.", merge="min")
SECONDS = Family("understudy_wait_seconds", "histogram", "Waits.", ("who",), (0.1, 1.0))

WRITER = """
import sys
from pathlib import Path
from serving.telemetry.cells import Metrics
sys.path.insert(0, {here!r})
from test_cells import HITS, LEVEL, SECONDS
metrics = Metrics(Path(sys.argv[1]), "dead")
metrics.counter(HITS, "a").add(5)
metrics.gauge(LEVEL, "a").set(7)
metrics.histogram(SECONDS, "a").observe(0.5)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""

OPEN = []


def metrics_of(folder, process):
    OPEN.append(Metrics(folder, process))
    return OPEN[-1]


@pytest.fixture(autouse=True)
def _closed():
    """A process keeps its files for as long as it lives; a test does not."""
    yield
    while OPEN:
        OPEN.pop()._index.close()


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
amounts = st.lists(st.tuples(names, st.integers(0, 1000)), max_size=8)


def samples(folder):
    registry = CollectorRegistry()
    registry.register(FolderCollector(folder))
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@given(st.lists(amounts, min_size=1, max_size=4))
def test_readers_see_the_sum_over_all_processes(tmp_path_factory, processes):
    folder = tmp_path_factory.mktemp("cells")
    expected = {}
    for number, added in enumerate(processes):
        metrics = metrics_of(folder, f"worker-{number}")
        for who, amount in added:
            metrics.counter(HITS, who).add(amount)
            metrics.histogram(SECONDS, who).observe(amount)
            expected[who] = expected.get(who, 0) + amount
    totals = read(folder)
    counted = totals[HITS.name].series if expected else {}
    assert {who: cell for (who,), [cell] in counted.items()} == expected
    exposed = samples(folder)
    for who, amount in expected.items():
        assert exposed["understudy_hits_total", ("who", who)] == amount
        assert exposed["understudy_wait_seconds_sum", ("who", who)] == amount
        count = sum(1 for added in processes for other, _ in added if other == who)
        assert exposed["understudy_wait_seconds_count", ("who", who)] == count
        assert exposed["understudy_wait_seconds_bucket", ("le", "+Inf"), ("who", who)] == count


def test_a_histogram_counts_an_edge_in_its_own_bucket(tmp_path):
    histogram = metrics_of(tmp_path, "w").histogram(SECONDS, "a")
    for value in (0.1, 0.100001, 1.0, 5.0):
        histogram.observe(value)
    exposed = samples(tmp_path)
    buckets = [
        exposed["understudy_wait_seconds_bucket", ("le", le), ("who", "a")] for le in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [1, 3, 4]


def test_gauges_of_living_processes_are_merged_as_their_family_says(tmp_path):
    for name, level in (("a", 3.0), ("b", 5.0)):
        metrics = metrics_of(tmp_path, name)
        for family, labels in ((LEVEL, ("x",)), (HIGHEST, ()), (LOWEST, ())):
            metrics.gauge(family, *labels).set(level)
    exposed = samples(tmp_path)
    assert exposed["understudy_level", ("who", "x")] == 8
    assert exposed[("understudy_highest",)] == 5
    assert exposed[("understudy_lowest",)] == 3


def test_a_killed_process_keeps_its_counts_and_loses_its_gauges(tmp_path):
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    killed = subprocess.run([sys.executable, "-c", WRITER.format(here=here), str(tmp_path)], check=False)
    assert killed.returncode == -9
    metrics_of(tmp_path, "alive").counter(HITS, "a").add(2)
    exposed = samples(tmp_path)
    assert exposed["understudy_hits_total", ("who", "a")] == 7
    assert exposed["understudy_wait_seconds_count", ("who", "a")] == 1
    assert ("understudy_level", ("who", "a")) not in exposed


def test_a_line_that_is_being_written_is_left_for_the_next_reading(tmp_path):
    metrics = metrics_of(tmp_path, "w")
    metrics.counter(HITS, "a").add(3)
    [index] = tmp_path.glob("*.index")
    whole = index.read_bytes()
    for cut in range(len(whole)):
        index.write_bytes(whole[:cut])
        totals = read(tmp_path)
        assert all(not known.series for known in totals.values())
    index.write_bytes(whole)
    assert read(tmp_path)[HITS.name].series == {("a",): [3.0]}


def test_asking_twice_gives_the_same_cells(tmp_path):
    metrics = metrics_of(tmp_path, "w")
    metrics.counter(HITS, "a").add(1)
    metrics.counter(HITS, "a").add(1)
    assert read(tmp_path)[HITS.name].series == {("a",): [2.0]}


def test_labels_that_do_not_fit_the_family_are_refused(tmp_path):
    with pytest.raises(ValueError, match="has labels"):
        metrics_of(tmp_path, "w").counter(HITS)


def test_a_folder_can_be_cleared(tmp_path):
    metrics_of(tmp_path, "w").counter(HITS, "a").add(1)
    clear(tmp_path)
    assert read(tmp_path) == {}
    assert read(tmp_path / "never made") == {}


def test_a_withdrawn_gauge_is_not_shown_until_it_is_set_again(tmp_path):
    gauge = metrics_of(tmp_path, "one").gauge(LEVEL, "a")
    gauge.set(3)
    gauge.withdraw()
    assert not samples(tmp_path)
    gauge.set(0)
    assert list(samples(tmp_path).values()) == [0]


def test_a_process_whose_file_is_being_made_is_read_when_it_is_there(tmp_path):
    metrics_of(tmp_path, "early").counter(HITS, "a").add(5)
    (tmp_path / "late-1.index").touch()
    (tmp_path / "late-1.values").touch()
    assert read(tmp_path)[HITS.name].series == {("a",): [5.0]}
