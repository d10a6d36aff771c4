"""How fast a job is, and how long it will take. Pure."""

from dataclasses import dataclass, field

from serving.clock import clock


@dataclass(slots=True)
class Pace:
    """Rows a second, of what is done now.

    Args:
        seconds: between two lines.

    Attributes:
        rate: rows a second; 0 before there were any.
    """

    seconds: float
    rate: float = 0.0
    _began: tuple[float, int] | None = None
    _told: float = field(default_factory=clock)

    def at(self, done: int, total: int) -> str:
        """Take note of how far it is; a line to be told, or nothing.

        Args:
            done: rows, also those that were done before.
            total: all rows.
        """
        now = clock()
        if self._began is None:
            self._began = now, done
        began, before = self._began
        self.rate = (done - before) / max(now - began, 1e-9) if done > before else 0.0
        if now - self._told < self.seconds:
            return ""
        self._told = now
        left = f", {(total - done) / self.rate:,.0f} s to go" if self.rate else ""
        return f"{done:,} of {total:,} rows, {self.rate:,.0f} rows/s{left}"
