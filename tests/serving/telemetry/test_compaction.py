"""What ended processes counted is kept, in one place, and read once."""

import threading
from pathlib import Path

from harness.warm import ran
from serving.telemetry.cells import Family, Metrics, locked, read
from serving.telemetry.compaction import FOLDED, fold

HITS = Family("understudy_hits", "counter", "Hits.", ("who",))
LEVEL = Family("understudy_level", "gauge", "Level.", ("who",))
SECONDS = Family("understudy_wait_seconds", "histogram", "Waits.", ("who",), (0.1, 1.0))

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_compaction import HITS, LEVEL, SECONDS
from serving.telemetry.cells import Metrics
for number in range(4):
    metrics = Metrics(Path(sys.argv[1]), f"sandbox{{number}}")
    metrics.counter(HITS, "a").add(5)
    metrics.counter(HITS, f"only {{number}}").add(1)
    metrics.gauge(LEVEL, "a").set(7)
    metrics.histogram(SECONDS, "a").observe(0.5)
"""


def four_ended(folder):
    """Four sets of files of a process that is gone."""
    here = str(Path(__file__).parent)
    assert ran("-c", WRITER.format(here=here), folder).returncode == 0


def counted(folder):
    return {name: total.series for name, total in read(folder).items() if total.family.kind != "gauge"}


def test_what_the_dead_counted_is_kept_however_often_it_is_folded(tmp_path):
    living = Metrics(tmp_path, "worker")
    living.counter(HITS, "a").add(2)
    living.gauge(LEVEL, "a").set(3)
    for times in (1, 2):
        four_ended(tmp_path)
        before = counted(tmp_path)
        assert before["understudy_hits"][("a",)] == [2 + 20 * times]
        assert fold(tmp_path) == 4
        assert counted(tmp_path) == before
        assert read(tmp_path)["understudy_level"].series == {("a",): [3.0]}, "of the living only"
    assert {path.stem for path in tmp_path.iterdir()} == {FOLDED, living._index.name.split("/")[-1][:-6]}
    living.close()


def test_a_few_dead_are_left_for_later(tmp_path):
    four_ended(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert fold(tmp_path, at_least=5) == 0
    assert {path.name for path in tmp_path.iterdir()} == names


def test_readers_beside_a_fold_never_see_a_count_twice_or_not_at_all(tmp_path):
    four_ended(tmp_path)
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(read(tmp_path)["understudy_hits"].series["a",][0])

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        fold(tmp_path, at_least=1)
        with locked(tmp_path, exclusive=True):  # as if they were of a process again
            (tmp_path / f"{FOLDED}.index").rename(tmp_path / "sandbox-0.index")
            (tmp_path / f"{FOLDED}.values").rename(tmp_path / "sandbox-0.values")
    done.set()
    for reader in readers:
        reader.join()
    assert seen == {20.0}


def test_a_disk_without_room_leaves_everything_as_it_was(tmp_path, monkeypatch):
    four_ended(tmp_path)
    before = counted(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.telemetry.compaction.os.fsync", full)
    assert fold(tmp_path) == 0
    assert counted(tmp_path) == before
    assert not list(tmp_path.glob("*.new"))
