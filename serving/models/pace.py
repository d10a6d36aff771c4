"""How much of what a model's thread can do a run took; less than its time where larger batches pay. Pure.

Law: a thread that is always busy with small batches is not full, as larger ones do more a second. So the time
of a run counts by how many rows a second it did, against what full batches do. One of as many rows as there
may be, or as were seen to do most, counts with all of its time; so a thread is full when nothing more could
be got out of it, and not before.
"""

from collections.abc import Mapping

NEWEST_WEIGHT = 0.05
"""Of the latest run in what is known of its size."""


class Pace:
    """Rows a second by size of a batch, sizes in powers of two.

    Args:
        max_rows: of the largest batch.
        rows_per_second: by rows, as measured while nothing else ran; empty where it was not. Then it is
            learned, and until larger batches were seen those that were count in full.
    """

    __slots__ = ("_known", "_max_rows", "_measured")

    def __init__(self, max_rows: int, rows_per_second: Mapping[int, float]) -> None:
        self._max_rows = max_rows
        self._known = {
            _size(rows): rate for rows, rate in sorted(rows_per_second.items()) if rows <= max_rows
        }
        self._measured = bool(self._known)

    def worth(self, rows: int, seconds: float) -> float:
        """The seconds of a thread that does nothing but full batches, for what a run of so many rows did.

        Args:
            rows: in it.
            seconds: that it took.
        """
        if rows >= self._max_rows or seconds <= 0.0:
            return seconds
        size = _size(rows)
        if not self._measured:
            rate, known = rows / seconds, self._known.get(size)
            self._known[size] = rate if known is None else known + NEWEST_WEIGHT * (rate - known)
        most = max(self._known.values())
        return seconds * (self._known.get(size, most) / most)


def _size(rows: int) -> int:
    return (rows - 1).bit_length()
