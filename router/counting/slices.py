"""What arrived in a stretch of time, until all of it has an outcome.

Law: adding is a handful of integer operations on the event loop; nothing here locks or allocates per request.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple, Self

from router.counting.latency import bucket


class Timed(NamedTuple):
    """Which times of answers are kept, span by span.

    Args:
        compute: what targets report, where no pairs can be timed.
        waits: from arrival to answer, where a guard asks how long clients wait.
    """

    compute: bool = False
    waits: bool = False


UNTIMED = Timed()


class Times:
    """Times of the good answers of one role in one slice, by bucket; None where they are not kept."""

    __slots__ = ("compute", "waits")

    def __init__(self, kept: Timed) -> None:
        self.compute: defaultdict[int, int] | None = defaultdict(int) if kept.compute else None
        self.waits: defaultdict[int, int] | None = defaultdict(int) if kept.waits else None

    def add(self, compute_seconds: float, wait_seconds: float) -> None:
        """Count one answer; `compute_seconds` of 0 (nothing ran) is no time."""
        if self.waits is not None:
            self.waits[bucket(wait_seconds)] += 1
        if self.compute is not None and compute_seconds > 0.0:
            self.compute[bucket(compute_seconds)] += 1

    def __iadd__(self, other: "Times") -> Self:
        """Count what the other one counted, too: of the same kinds."""
        for mine, its in ((self.compute, other.compute), (self.waits, other.waits)):
            if mine is not None and its is not None:
                for index, count in its.items():
                    mine[index] += count
        return self


class Tally:
    """What happened at one role in one slice."""

    __slots__ = (
        "abandoned",
        "error_keys",
        "errors",
        "failed_by",
        "failures",
        "of_keys",
        "requests",
        "segments",
        "segments_of_keys",
        "times",
    )

    def __init__(self, timed: Timed = UNTIMED) -> None:
        self.requests = 0
        self.abandoned = 0
        self.errors = 0
        self.failures = 0
        self.error_keys: list[int] = []  # of sticky keys that erred for the first time in this process
        self.of_keys: list[tuple[int, bool]] = []  # requests of sampled sticky keys, and whether each failed
        self.failed_by: dict[str, int] = {}  # of the errors, by `FAILURE_KINDS`
        self.segments: Counter[str] = Counter()  # of the errors, where segments are counted
        self.segments_of_keys: list[str] = []  # of each of the error keys, likewise
        self.times: Times | None = Times(timed) if timed != UNTIMED else None

    def add(self, compute_seconds: float, wait_seconds: float) -> None:
        """Count one request with a good answer.

        Args:
            compute_seconds: what the target took; 0 where nothing ran.
            wait_seconds: from arrival to answer.
        """
        self.requests += 1
        if self.times is not None:
            self.times.add(compute_seconds, wait_seconds)

    def refuse(self, *, failed: bool) -> None:
        """Count one request that was refused, or failed.

        Its error is entered by whoever knows whether the error of this key is a new one.
        """
        self.requests += 1
        self.failures += failed

    def err(self, key: int, kind: str, segment: str) -> None:
        """Count one error.

        Args:
            key: of which it is the first; 0 for none.
            kind: of `FAILURE_KINDS`.
            segment: that it is in; empty where segments are not counted.
        """
        self.failed_by[kind] = self.failed_by.get(kind, 0) + 1
        if key:
            self.error_keys.append(key)
            self.segments_of_keys.append(segment)
            return
        self.errors += 1
        if segment:
            self.segments[segment] += 1

    def leave(self) -> None:
        """Count one request whose client went away before the answer was there."""
        self.requests += 1
        self.abandoned += 1

    def __iadd__(self, other: "Tally") -> Self:
        """Count what the other one counted, too."""
        self.requests += other.requests
        self.abandoned += other.abandoned
        self.errors += other.errors
        self.failures += other.failures
        self.error_keys += other.error_keys
        self.of_keys += other.of_keys
        self.segments_of_keys += other.segments_of_keys
        self.segments.update(other.segments)
        for kind, count in other.failed_by.items():
            self.failed_by[kind] = self.failed_by.get(kind, 0) + count
        if self.times is not None and other.times is not None:
            self.times += other.times
        return self


class Slice:
    """A stretch of arrival time: what arrived in it, and how much of that is still under way.

    Args:
        began: seconds since 1970 when it did.
        timed: which times are kept.
        again: whether it has a slice of its own for what is not drawn anew.
        stable: what happened at stable, where slices of several candidates have that in common.
    """

    __slots__ = ("_again", "began", "canary", "pending", "stable")

    def __init__(
        self,
        began: float = 0.0,
        timed: Timed = UNTIMED,
        *,
        again: bool = False,
        stable: Tally | None = None,
    ) -> None:
        self.began = began
        self.pending = 0
        self.stable = Tally(timed) if stable is None else stable
        self.canary = Tally(timed)
        self._again = Slice(began) if again else None

    @property
    def again(self) -> "Slice":
        """What arrived in it of users who were drawn in an earlier stage; only where there are such."""
        assert self._again is not None
        return self._again

    @property
    def under_way(self) -> bool:
        """Whether something in it has no outcome yet."""
        return self.pending > 0 or (self._again is not None and self._again.pending > 0)

    def empty(self) -> bool:
        """Whether nothing that counts arrived in it."""
        if self._again is not None and not self._again.empty():
            return False
        return not (
            self.pending
            or self.stable.requests
            or self.canary.requests
            or self.stable.error_keys
            or self.canary.error_keys
            or self.stable.of_keys
            or self.canary.of_keys
        )


def together(timed: Timed, tallies: Iterable[Tally]) -> Tally:
    """What several counted, as one that leaves them as they are.

    Args:
        timed: which times they keep.
        tallies: of one role and one stretch.
    """
    found = Tally(timed)
    for tally in tallies:
        found += tally
    return found
