"""Metrics as numbers in shared memory: adding costs a tenth of a microsecond and survives a killed process.

Law: a series is written by one process only, in place, in a file of its own; readers add up the files of
all processes, living and dead. Each file describes itself, so a reader needs no declaration of a family.

A process has two files in the folder: `<process>.index`, a JSON line per family and series, appended to
when one is made; and `<process>.values`, float64 cells mapped into memory. Why not prometheus_client's
multiprocess mode: docs/decisions/0002-metrics-in-shared-memory.md.
"""

import fcntl
import json
import math
import mmap
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CAPACITY_CELLS = 1 << 17
"""Bound of one process: 1 MiB of cells, of which only the touched pages take memory."""


Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric's name (without the counter's `_total`), meaning and label names.

    `merge` says how a gauge of several living processes becomes one number; dead ones do not count.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Merge = "sum"


class Counter:
    """One number that only grows."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: "memoryview[float]", at: int) -> None:
        self._cells = cells
        self._at = at

    def add(self, amount: float = 1.0) -> None:
        """Add to it; only the owning thread may."""
        self._cells[self._at] += amount

    @property
    def value(self) -> float:
        """What it has come to in this process."""
        return self._cells[self._at]


class Gauge:
    """One number that is set."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: "memoryview[float]", at: int) -> None:
        self._cells = cells
        self._at = at

    def set(self, value: float) -> None:
        """Replace it."""
        self._cells[self._at] = value

    def add(self, amount: float) -> None:
        """Move it up or down; only the owning thread may."""
        self._cells[self._at] += amount

    def withdraw(self) -> None:
        """Show no value until it is set again: what it spoke of is no more."""
        self._cells[self._at] = math.nan


class Histogram:
    """Observations counted in buckets (upper edge included), and their sum."""

    __slots__ = ("_at", "_buckets", "_cells", "_sum")

    def __init__(self, cells: "memoryview[float]", at: int, buckets: Sequence[float]) -> None:
        self._cells = cells
        self._at = at
        self._buckets = buckets
        self._sum = at + len(buckets) + 1

    def observe(self, value: float) -> None:
        """Count one observation; only the owning thread may."""
        cells = self._cells
        cells[self._at + bisect_left(self._buckets, value)] += 1.0
        cells[self._sum] += value

    def quantile(self, fraction: float) -> float:
        """The upper edge of the bucket in which this fraction of the observations ends.

        The last edge for what lies beyond it; 0 without observations.
        """
        counts = self._cells[self._at : self._sum].tolist()
        wanted, below = fraction * sum(counts), 0.0
        for edge, count in zip(self._buckets, counts, strict=False):
            below += count
            if below >= wanted:
                return edge if wanted else 0.0
        return self._buckets[-1]

    def observe_times(self, value: float, times: int) -> None:
        """Count as many observations of the same value."""
        cells = self._cells
        cells[self._at + bisect_left(self._buckets, value)] += times
        cells[self._sum] += value * times


class Metrics:
    """The series of this process. Asking twice for the same series gives the same cells."""

    def __init__(self, folder: Path, process: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{process}-{os.getpid()}"
        self._index = (folder / f"{stem}.index").open("a", encoding="utf-8")
        self._cells = memoryview(_mapped(folder / f"{stem}.values", CAPACITY_CELLS * 8)).cast("d")
        self._used = 0
        self._series: dict[tuple[str, tuple[str, ...]], int] = {}
        self._families: set[str] = set()

    def close(self) -> None:
        """Write no more series; the cells stay for whoever reads."""
        with suppress(OSError):
            self._index.close()

    def counter(self, family: Family, *labels: str) -> Counter:
        """The counter of these label values, in the order of the family's label names."""
        return Counter(self._cells, self._place(family, labels, 1))

    def gauge(self, family: Family, *labels: str) -> Gauge:
        """The gauge of these label values."""
        return Gauge(self._cells, self._place(family, labels, 1))

    def histogram(self, family: Family, *labels: str) -> Histogram:
        """The histogram of these label values."""
        return Histogram(self._cells, self._place(family, labels, len(family.buckets) + 2), family.buckets)

    def _place(self, family: Family, labels: tuple[str, ...], cells: int) -> int:
        if len(labels) != len(family.labels):
            raise ValueError(f"{family.name} has labels {family.labels}, got {labels}")
        place = self._series.get((family.name, labels))
        if place is not None:
            return place
        if self._used + cells > CAPACITY_CELLS:
            raise MemoryError(f"more metric series than {CAPACITY_CELLS} cells hold")
        place = self._series[family.name, labels] = self._used
        self._used += cells
        if family.name not in self._families:
            self._families.add(family.name)
            self._write([family.name, family.kind, family.help, family.labels, family.buckets, family.merge])
        self._write([family.name, labels, place])
        return place

    def _write(self, line: list[Any]) -> None:
        with suppress(OSError):  # on a full disk the line stays in the buffer, until there is room
            self._index.write(json.dumps(line) + "\n")
            self._index.flush()


Series = dict[tuple[str, ...], list[float]]


@dataclass(slots=True)
class Totals:
    """One family added up over processes: label values -> cells (a histogram's buckets, then its sum)."""

    family: Family
    series: Series


def _mapped(path: Path, size: int) -> mmap.mmap:
    """Zeros in a file, with room on the disk for all of it: touching a page that has none kills a process.

    On a disk that is full already, memory of our own: metrics that nobody reads are better than no service.
    """
    try:
        with path.open("w+b") as values:
            os.posix_fallocate(values.fileno(), 0, size)
            return mmap.mmap(values.fileno(), size)
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return mmap.mmap(-1, size)


def read(folder: Path) -> dict[str, Totals]:
    """Every family in the folder, counters and histograms of all processes added up."""
    with locked(folder):
        return read_files(sorted(folder.glob("*.index")))


@contextmanager
def locked(folder: Path, *, exclusive: bool = False) -> Iterator[None]:
    """Hold the folder's files still: many may read them, or one fold them (`compaction`)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # nobody has written yet
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def read_files(indexes: Iterable[Path]) -> dict[str, Totals]:
    """Every family of these processes, counters and histograms added up."""
    totals: dict[str, Totals] = {}
    for index in indexes:
        if not _has_cells(index.with_suffix(".values")):
            continue
        lives = alive(int(index.stem.rpartition("-")[2]))
        for family, labels, cells in _read_process(index):
            known = totals.setdefault(family.name, Totals(family, {}))
            if family.kind == "gauge" and (not lives or math.isnan(cells[0])):
                continue
            before = known.series.get(labels)
            known.series[labels] = cells if before is None else _merge(family, before, cells)
    return totals


def _has_cells(values: Path) -> bool:
    """Not where the disk had no room for them, nor while the file is being made, which is empty at first."""
    try:
        return values.stat().st_size > 0
    except FileNotFoundError:
        return False


def _read_process(index: Path) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
    families: dict[str, Family] = {}
    with index.with_suffix(".values").open("rb") as values:
        mapped = mmap.mmap(values.fileno(), 0, access=mmap.ACCESS_READ)
    with mapped, memoryview(mapped) as raw, raw.cast("d") as cells:
        for line in index.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break  # being written just now
            entry = json.loads(line)
            if len(entry) > 3:
                name, kind, text, labels, buckets, merge = entry
                families[name] = Family(name, kind, text, tuple(labels), tuple(buckets), merge)
            else:
                name, labels, at = entry
                family = families[name]
                size = len(family.buckets) + 2 if family.kind == "histogram" else 1
                yield family, tuple(labels), [float(cell) for cell in cells[at : at + size]]


def _merge(family: Family, before: list[float], cells: list[float]) -> list[float]:
    if family.kind != "gauge" or family.merge == "sum":
        return [a + b for a, b in zip(before, cells, strict=True)]
    return [max(before[0], cells[0]) if family.merge == "max" else min(before[0], cells[0])]


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not asked for its code does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


class FolderCollector(Collector):
    """What prometheus_client exposes: all processes of the folder as one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Read the folder and yield its families."""
        for totals in read(self._folder).values():
            yield exposed(totals.family, totals.series)


def exposed(family: Family, series: Mapping[tuple[str, ...], list[float]]) -> Metric:
    """A family as prometheus_client has it."""
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, cells in series.items():
            cumulative, buckets = 0.0, []
            for edge, count in zip([*family.buckets, float("inf")], cells, strict=False):
                cumulative += count
                buckets.append(("+Inf" if edge == float("inf") else repr(edge), cumulative))
            histogram.add_metric(labels, buckets, sum_value=cells[-1])
        return histogram
    simple = (CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily)(
        family.name, family.help, labels=family.labels
    )
    for labels, cells in series.items():
        simple.add_metric(labels, cells[0])
    return simple


def clear(folder: Path) -> None:
    """Remove what processes of an earlier start left; only while none of them lives."""
    for path in folder.glob("*"):
        if path.suffix in {".index", ".values"}:
            path.unlink(missing_ok=True)
