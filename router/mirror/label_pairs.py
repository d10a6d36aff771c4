"""Pairs for labels: what both sides answered to a mirrored request, kept until the truth is told. Pure.

Law: whether a pair is kept depends on the request alone, never on what the candidate answered to it: where
the rate allows no more, those go whose receipt's hash is highest. A candidate that failed, took too long or
gave no single value was wrong, and its pair is kept: left out, it would make the candidate look better than
it is. A request that the draw gave to the canary, and that came to stable since the canary failed, is left
out: it is here because of that failure. What is left out is counted, by reason.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from typing import Any, Final, Literal, get_args

from router.mirror.frame import Frame
from router.mirror.mirrored import Mirrored
from router.rollout.guards.outcomes import AccuracyGuard
from router.rollout.values import Rollout
from serving.wire.bf16 import BF16, widened
from serving.wire.tensors import Array

PER_SECOND: Final = 500.0
"""Pairs that one sandbox sends to control."""
MOST_GIVEN: Final = 1000
"""Of one report."""
MOST_WAITING: Final = 5000
"""Pairs of ten seconds: a control that starts again takes no longer."""
MAX_TEXT: Final = 1000
"""Characters of text; a label has no more, so a longer answer is no label."""
ID_BYTES: Final = 16

Value = bool | int | float | str | None
"""One answer; None is one that no label equals."""
LeftOut = Literal["no receipt", "recorded", "failed over", "no output", "not one value", "beyond the rate"]
"""Why a request that is compared has no pair. `no output`, `not one value`: stable's answer."""
LEFT_OUT: Final[tuple[LeftOut, ...]] = get_args(LeftOut)


@dataclass(frozen=True, slots=True)
class LabelPair:
    """Two answers to one request, for one output.

    Attributes:
        id: `id_of` the receipt, in hex.
        output: its name.
        stage: of the rollout.
        by: key of the target that answered the client.
        reference: what that was.
        candidate: what the candidate answered; None also where it failed or took too long.
        at: when it was compared, seconds since 1970.
    """

    id: str
    output: str
    stage: int
    by: str
    reference: Value
    candidate: Value
    at: float


def id_of(receipt: bytes) -> bytes:
    """By what a receipt is known to whoever keeps something of its answer; `ID_BYTES` bytes.

    Args:
        receipt: its text, as it was answered.
    """
    return blake2b(receipt, digest_size=ID_BYTES, person=b"receipt").digest()


def wanted_outputs(rollout: Rollout | None) -> frozenset[str]:
    """The outputs whose pairs guards need, or the search for the best; none of what is kept back."""
    if rollout is None:
        return frozenset()
    names = [guard.outcome for guard in rollout.guards_of(AccuracyGuard)]
    if rollout.best is not None:
        names.append(rollout.best.outcome)
    labels = (rollout.outcome(name) for name in names)
    return frozenset(each.output for each in labels if each is not None and each.output) - rollout.redacted


def single_value(array: Array | None) -> Value:
    """The one value of a tensor; None where it has none or several, or one that no label equals."""
    if array is None or array.size != 1:
        return None
    if array.dtype == BF16:
        array = widened(array)
    value: Any = array.item()
    match array.dtype.kind:
        case "b" | "i" | "u":
            return value if isinstance(value, bool | int) else None
        case "f":
            # As short as its own precision allows: so are labels written.
            number = value if array.dtype.itemsize == 8 else float(str(array.reshape(-1)[0]))
            return number if isinstance(number, float) and isfinite(number) else None
        case _:
            text = value if isinstance(value, str) else bytes(value).decode(errors="replace")
            return text if len(text) <= MAX_TEXT else None


class LabelPairs:
    """The pairs of one sandbox until control has them: a `ComparisonObserver`.

    Attributes:
        seen: mirrored requests that were looked at, once for each output with a label.
        left_out: those without a pair, by reason.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.left_out: Counter[LeftOut] = Counter()
        self._outputs: frozenset[str] = frozenset()
        self._waiting: list[LabelPair] = []
        self._given: tuple[LabelPair, ...] = ()
        self._answered = -1
        self._room = MOST_GIVEN * 1.0
        self._gave_at: float | None = None

    def follow(self, rollout: Rollout | None) -> None:
        """From now on this document is in force; pairs that no guard needs any more are forgotten at once."""
        outputs = wanted_outputs(rollout)
        if outputs != self._outputs:
            self._outputs = outputs
            self._waiting = [pair for pair in self._waiting if pair.output in outputs]
            self._given = tuple(pair for pair in self._given if pair.output in outputs)

    @property
    def wanted(self) -> bool:
        """Whether a guard needs pairs."""
        return bool(self._outputs)

    def publish(self, mirrored: Mirrored) -> None:
        """As `ComparisonObserver`."""
        outputs = self._outputs
        if not outputs:
            return
        frame = mirrored.frame
        self.seen += len(outputs)
        if reason := _unfit(frame):
            self.left_out[reason] += len(outputs)
            return
        id_ = id_of(frame.receipt).hex()
        for output in outputs:
            reference = mirrored.reference.get(output)
            if reference is None or reference.size != 1:
                self.left_out["no output" if reference is None else "not one value"] += 1
                continue
            self._waiting.append(
                LabelPair(
                    id_,
                    output,
                    frame.stage,
                    frame.target,
                    single_value(reference),
                    single_value(_output(mirrored.outputs, output)),
                    mirrored.at,
                )
            )
        if len(self._waiting) >= 2 * MOST_WAITING:
            self._thin()

    def give(self, now: float, answered: int) -> tuple[LabelPair, ...]:
        """What control is to be told: as many as the rate allows, the lowest hashes.

        Args:
            now: monotonic seconds.
            answered: how many reports control has answered; until that changes it is told the same again.
        """
        if answered == self._answered:
            return self._given
        self._answered = answered
        since = 0.0 if self._gave_at is None else now - self._gave_at
        self._room, self._gave_at = min(self._room + since * PER_SECOND, MOST_GIVEN * 1.0), now
        self._thin()
        number = int(self._room)
        self._given, self._waiting = tuple(self._waiting[:number]), self._waiting[number:]
        self._room -= len(self._given)
        return self._given

    def _thin(self) -> None:
        """Keep what may wait, the lowest hashes first."""
        self._waiting.sort(key=lambda pair: pair.id)
        if (beyond := len(self._waiting) - MOST_WAITING) > 0:
            self.left_out["beyond the rate"] += beyond
            del self._waiting[MOST_WAITING:]


def _unfit(frame: Frame) -> LeftOut | None:
    """Why a request can have no pair, whatever was answered; None where it can."""
    if frame.recorded:
        return "recorded"
    if not frame.receipt:
        return "no receipt"
    return "failed over" if frame.drawn == "canary" else None


def _output(outputs: Mapping[str, Array] | None, name: str) -> Array | None:
    return None if outputs is None else outputs.get(name)
