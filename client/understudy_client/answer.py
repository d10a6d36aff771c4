"""Answers of models."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from understudy_client.calls import RECEIPT, REQUEST_ID, TARGET, Inferred
from understudy_client.errors import NoReceipt, OutcomeLeftOut
from understudy_client.outcomes import Outcome, Time, Value
from understudy_client.taken import OutcomesTaken
from understudy_client.wire.tensors import Array


@dataclass(frozen=True, slots=True, eq=False)
class _Answered:
    """What both clients give.

    Attributes:
        outputs: by name, in the order of the answer. BYTES are objects of `str`, or of `bytes` where they are
            not UTF-8; BF16 is float32.
        model_name: as the server has it.
        model_version: that answered.
        target: the model that answered, as "digits/2"; None where the server does not say.
        receipt: what outcomes are told by, later; None where the rollout has none.
        request_id: as the server gave it back.
    """

    outputs: dict[str, Array]
    model_name: str
    model_version: str | None
    target: str | None
    receipt: str | None
    request_id: str | None

    def __getitem__(self, output: str) -> Array:
        """An output by its name."""
        return self.outputs[output]

    def _of(self, name: str, value: Value, time: Time | None) -> Outcome:
        if self.receipt is None:
            why = "its rollout has neither 'outcomes' nor 'record'"
            raise NoReceipt(f"the answer of {self.model_name!r} has no receipt: {why}")
        return Outcome(name, value, receipt=self.receipt, time=time)


@dataclass(frozen=True, slots=True, eq=False)
class Answer(_Answered):
    """What a model answered; `Client.infer` gives it."""

    _tell: Callable[[Outcome], None] = field(repr=False)

    def outcome(self, name: str, value: Value, time: Time | None = None) -> None:
        """Tell what became of it.

        Args:
            name: of the outcome, as the rollout has it.
            value: the truth for an output, whether it happened, or an amount.
            time: when it happened; seconds since 1970, or a datetime with its time zone.

        Raises:
            NoReceipt: the rollout takes no outcomes.
            OutcomeLeftOut: the server did not take it.
            UnderstudyError: as of `Client.outcomes`.
        """
        self._tell(self._of(name, value, time))


@dataclass(frozen=True, slots=True, eq=False)
class AsyncAnswer(_Answered):
    """What a model answered; `AsyncClient.infer` gives it."""

    _tell: Callable[[Outcome], Awaitable[None]] = field(repr=False)

    async def outcome(self, name: str, value: Value, time: Time | None = None) -> None:
        """As `Answer.outcome`."""
        await self._tell(self._of(name, value, time))


def parts_of(
    inferred: Inferred,
) -> tuple[dict[str, Array], str, str | None, str | None, str | None, str | None]:
    """What an answer of either client is made of."""
    decoded, headers = inferred
    return (
        decoded.outputs,
        decoded.model_name,
        decoded.model_version,
        headers.get(TARGET),
        headers.get(RECEIPT),
        headers.get(REQUEST_ID),
    )


def expect_taken(taken: OutcomesTaken) -> None:
    """Of one outcome.

    Raises:
        OutcomeLeftOut: it was not taken.
    """
    for reason in taken.left_out:
        raise OutcomeLeftOut(
            f"the outcome was left out: {reason} (docs/outcomes.md says what it means)", reason
        )
