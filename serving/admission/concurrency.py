"""How many requests may be under way at a target at once, learned from its latency. Pure.

Law: more requests than a target can work on at once only wait in line, which shows as latency and earns no
throughput. So the limit follows the gradient between the latency with hardly any load and the latency now,
with some room to explore: limit = limit * gradient + sqrt(limit).
Source: the gradient controller of Envoy's adaptive concurrency filter. Two things are different here:

- The latency without load is taken from requests that met (nearly) nobody, at no cost, whenever there are
  some. Only when there were none for `STALE_SECONDS` is the limit lowered to its floor for a moment to get
  them, as Envoy does each time.
- The limit does not grow beyond twice of what was used, so that a sudden flood meets a tight one.

A request is let in by `enter`, which gives the token that `leave` takes back.
"""

from statistics import median

INTERVAL_SECONDS = 0.1
"""The least time between two changes of the limit."""
LEAST_SAMPLES = 10
MOST_SAMPLES = 1000
QUIET_SAMPLES = 50
STALE_SECONDS = 60.0
PROBE_SECONDS = 2.0
"""The longest that the limit is held at its floor, provided that `LEAST_SAMPLES` came."""
ROOM_RATIO = 0.25
ROOM_SECONDS = 0.001
"""Latency above the least by this ratio, or by this time, is taken for noise."""
FLOOR = 3
CEILING = 1000.0

Token = tuple[float, bool]


class GradientLimit:
    """The limit of one target in one process.

    Args:
        floor: requests that are always let in; a target that batches works best with two batches of them.

    Attributes:
        in_flight: requests that entered and did not leave.
        limit: how many may be.
        least_seconds: the median latency without load; None until it is known.
    """

    __slots__ = (
        "_floor", "_peak", "_probing_since", "_quiet", "_samples", "_since", "_stale_at",
        "in_flight", "least_seconds", "limit",
    )  # fmt: skip

    def __init__(self, floor: int = FLOOR) -> None:
        self.in_flight = 0
        self.limit = float(floor)
        self.least_seconds: float | None = None
        self._floor = floor
        self._samples: list[float] = []
        self._quiet: list[float] = []
        self._since = 0.0
        self._stale_at = 0.0
        self._probing_since: float | None = None
        self._peak = 0

    @property
    def full(self) -> bool:
        """Whether one more would be too many."""
        return self.in_flight >= (self.limit if self._probing_since is None else self._floor)

    def enter(self, now: float) -> Token:
        """Count a request in; whoever calls has looked at `full`. `now` is monotonic, in seconds."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        return now, self.in_flight <= self._floor

    def leave(self, token: Token, now: float, *, answered: bool) -> None:
        """Count it out.

        Args:
            token: what `enter` gave.
            now: monotonic, in seconds.
            answered: False for one whose client left: its time says nothing.
        """
        began, quiet = token
        quiet = quiet and self.in_flight <= self._floor
        self.in_flight -= 1
        if answered:
            if len(self._samples) < MOST_SAMPLES:
                self._samples.append(now - began)
            if quiet and len(self._quiet) < QUIET_SAMPLES:
                self._quiet.append(now - began)
        self._learn(now)
        if now - self._since >= INTERVAL_SECONDS and len(self._samples) >= LEAST_SAMPLES:
            self._adjust(now)

    def _learn(self, now: float) -> None:
        """Take the latency without load from the quiet requests, once there are enough."""
        quiet, probing = self._quiet, self._probing_since
        patience_over = probing is not None and now - probing > PROBE_SECONDS
        if len(quiet) >= QUIET_SAMPLES or (patience_over and len(quiet) >= LEAST_SAMPLES):
            self.least_seconds = median(quiet)
            quiet.clear()
            self._stale_at = now + STALE_SECONDS
            self._probing_since = None
        elif probing is None and now >= self._stale_at:
            self._probing_since = now
            quiet.clear()

    def _adjust(self, now: float) -> None:
        if self.least_seconds is not None and self._probing_since is None:
            room = max(self.least_seconds * ROOM_RATIO, ROOM_SECONDS)
            gradient = (self.least_seconds + room) / max(median(self._samples), 1e-9)
            wanted = self.limit * min(max(gradient, 0.5), 2.0) + self.limit**0.5
            most = min(CEILING, max(self.limit, 2.0 * self._peak))
            self.limit = max(float(self._floor), min(wanted, most))
        self._samples.clear()
        self._peak = self.in_flight
        self._since = now
