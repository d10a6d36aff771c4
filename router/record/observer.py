"""What a sandbox does for the prediction log: one row for each comparison of a request that is drawn.

Law: a comparison is drawn as its request is, so where there is one row there is the other, and the receipt or
the request id joins them; one of a recorded request has none. What the document keeps back does not leave
this process.
"""

from typing import Any

import orjson

from router.answered import Answered
from router.mirror.frame import packed
from router.mirror.mirrored import Mirrored, Tensors
from router.record.eligible import encoded
from router.record.sink import Outlet, Recording
from router.rollout.compare import Comparison
from router.rollout.snapshot import Candidate
from router.rollout.values import Record, Rollout
from serving.wire.message import Call, Reply


class ComparisonRecorder:
    """Records the comparisons of one candidate: a `ComparisonObserver`.

    Args:
        candidate: the one that this process runs.
        recording: of this process.
    """

    def __init__(self, candidate: Candidate, recording: Recording) -> None:
        self._candidate = candidate
        self._recording = recording
        self._outlet: tuple[Record, Outlet] | None = None

    def follow(self, rollout: Rollout | None) -> None:
        """From now on this document is in force: be connected before there is something to send."""
        if rollout is not None and rollout.record is not None:
            self._outlet_of(rollout.record)

    def publish(self, mirrored: Mirrored) -> None:
        """As `ComparisonObserver`."""
        record, frame = mirrored.rollout.record, mirrored.frame
        if record is None or frame.recorded or not self._outlet_of(record).takes(frame.key, frame.arrived):
            return
        call = Call({b"x-request-id": frame.id}, b"", frame.arrived)
        redact = mirrored.rollout.redacted
        body, length = body_of(mirrored.outputs or {}, redact)
        target = self._candidate.target.key
        answered = Answered(
            call, Reply(200, body, length), "canary", target, None, frame.stage, frame.key, frame.arrived,
            frame.receipt,
        )  # fmt: skip
        said = orjson.dumps(self._said(mirrored, record))
        self._outlet_of(record).send(packed(frame.model.encode(), answered, said=said))

    def _outlet_of(self, record: Record) -> Outlet:
        if self._outlet is None or self._outlet[0] != record:
            self._outlet = record, self._recording.outlet(self._candidate.model, record)
        return self._outlet[1]

    def _said(self, mirrored: Mirrored, record: Record) -> dict[str, Any]:
        failed = mirrored.outputs is None
        return {
            "instance": self._outlet_of(record).instance,
            "kind": "comparison",
            "digest": self._candidate.sha256 or None,
            "sampling_fraction": record.sample / 100,
            "role": "canary" if self._candidate.live else "shadow",
            "status_code": None,
            "duration_us": None,
            "error": "the candidate failed or took too long" if failed else None,
            "agreed": None if failed else agreed(mirrored.comparisons, mirrored.rollout),
            "differences": differences(mirrored.comparisons, mirrored.rollout.redacted),
        }


def agreed(comparisons: tuple[Comparison, ...], rollout: Rollout) -> bool:
    """Whether no output that is judged differs."""
    return all(each.same for each in comparisons if rollout.rules_on(each.output))


def differences(comparisons: tuple[Comparison, ...], redact: frozenset[str]) -> list[dict[str, Any]]:
    """Each output that differs, how, and by how much; of one that is redacted not by how much."""
    return [
        {
            "output": each.output,
            "kind": each.kind,
            "distance": None if each.output in redact else each.distance,
        }
        for each in comparisons
        if not each.same
    ]


def body_of(outputs: Tensors, redact: frozenset[str]) -> tuple[bytes, int]:
    """Outputs as the body of an answer, all in binary, and how many bytes of it are JSON."""
    kept = {name: array for name, array in outputs.items() if name not in redact}
    return encoded("outputs", kept)
