"""What steady load and a burst tell: how long recovery took, what drifted. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from understudy.bench.steps import Window, together

RECOVERED_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class Spike:
    """A burst between two stretches of the same steady load.

    Args:
        before, during, after: what was seen in each.
        recovery_seconds: from the end of the burst until a window's p95 was within 1.5 times that of before
            and no request failed; None when that did not happen.
    """

    before: Window
    during: Window
    after: Window
    recovery_seconds: float | None


def spike(before: Sequence[Window], during: Sequence[Window], after: Sequence[Window]) -> Spike:
    """Put the three stretches together."""
    calm = together(before)
    elapsed, recovery = 0.0, None
    for window in after:
        well = window.requests and not window.errors
        if well and window.percentile(95) <= max(calm.percentile(95), 1e-6) * RECOVERED_RATIO:
            recovery = elapsed
            break
        elapsed += window.seconds
    return Spike(calm, together(during), together(after), recovery)


@dataclass(frozen=True, slots=True)
class Drift:
    """What a soak changed: its first quarter against its last.

    Args:
        first, last: what was seen.
        memory_bytes_an_hour: growth, from the least squares line; None when unknown.
    """

    first: Window
    last: Window
    memory_bytes_an_hour: float | None


def drift(windows: Sequence[Window], memory: Sequence[tuple[float, int]]) -> Drift:
    """Of a soak.

    Args:
        windows: in order.
        memory: (seconds since the start, resident bytes), any number of them.
    """
    quarter = max(1, len(windows) // 4)
    return Drift(together(windows[:quarter]), together(windows[-quarter:]), _slope(memory))


def _slope(points: Sequence[tuple[float, int]]) -> float | None:
    if len(points) < 3:
        return None
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    return 3600.0 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
