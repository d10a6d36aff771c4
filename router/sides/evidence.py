"""How the end of a call enters the counts of its stage.

Law: of a sticky key the first request and the first error count; of some keys the first ten are a unit.
"""

from router.counting.recorder import StageRecorder
from router.counting.segments import segment_of
from router.counting.slices import Tally
from serving.wire.message import Call


class Evidence:
    """Enters what became of calls.

    Args:
        recorder: knows the keys of the stage.
        segment_header: the header that names the segment of an error, in lower case; None counts none.
        by_key: whether keys are units.
    """

    __slots__ = ("_by_key", "_recorder", "_segment")

    def __init__(self, recorder: StageRecorder, segment_header: bytes | None, *, by_key: bool) -> None:
        self._recorder = recorder
        self._segment = segment_header
        self._by_key = by_key

    def answer(self, tally: Tally, key: int, compute_seconds: float, wait_seconds: float) -> None:
        """Enter a good answer.

        Args:
            tally: of who gave it.
            key: the hash of the sticky key; 0 for none.
            compute_seconds: as of `Tally.add`.
            wait_seconds: likewise.
        """
        recorder = self._recorder
        if key == 0 or recorder.first_of_key(key):
            tally.add(compute_seconds, wait_seconds)
        if self._by_key and (key == 0 or recorder.sampled(key)):
            tally.of_keys.append((key, False))

    def refuse(self, tally: Tally, call: Call, key: int, *, failed: bool, kind: str = "failed") -> None:
        """Enter a call that was refused, or failed.

        Args:
            tally: of whose fault it is.
            call: what was asked.
            key: as of `answer`.
            failed: whether it is an error.
            kind: as of `Tally.err`.
        """
        recorder = self._recorder
        if key == 0 or recorder.first_of_key(key):
            tally.refuse(failed=failed)
        if self._by_key and (key == 0 or recorder.sampled(key)):
            tally.of_keys.append((key, failed))
        if failed and (key == 0 or recorder.first_error_of_key(key)):
            header = self._segment
            tally.err(key, kind, "" if header is None else segment_of(call.headers.get(header)))

    def leave(self, tally: Tally, key: int) -> None:
        """Enter a call whose client went away."""
        if key == 0 or self._recorder.first_of_key(key):
            tally.leave()


def failure_kind(status: int) -> str:
    """Of a candidate's failure with this status, as `FAILURE_KINDS` has it."""
    return {504: "timeout", 503: "unavailable"}.get(status, "failed" if status >= 500 else "refused")
