"""What a client was answered, told to whoever keeps it. Pure.

Law: every call for a route is offered once to each sink, when its answer has left: also one that fails, and
one that was refused before the route was asked. A rollout without sinks makes and keeps nothing for one.
"""

from typing import Literal, NamedTuple, Protocol

from serving.wire.message import Call, Reply

Role = Literal["stable", "canary"]


class Answered(NamedTuple):
    """A call that has ended, and how.

    Args:
        call: what was asked.
        outcome: the answer; the failure; or, no `Exception`, what ended a call whose client had left.
            `serving.wire.handler.status_of` has its status.
        role: who answered, or was asked last.
        target: its key.
        drawn: whom the draw chose, also where the other one answered for it; None where nothing was drawn:
            the client named a target, or the canary was not there to be drawn.
        stage: of the rollout.
        key: hash of the sticky key; 0 for none.
        ended: when the answer was there, on the clock of `call.arrived`.
        receipt: that the answer carries; empty for none.
        refused: whether nobody was asked: a key, a rate, a size, a name or too much load was in the way, and
            the outcome says which. Then role and target are stable's, and nothing is known but the call's
            head, and its body where that had come.
        forced: whether the client named who is to answer.
        number: as of `Choice` in `router.sides`: the candidate of an A/B/n test that was drawn, or answered.
    """

    call: Call
    outcome: Reply | BaseException
    role: Role
    target: str
    drawn: Role | None
    stage: int
    key: int
    ended: float
    receipt: bytes = b""
    refused: bool = False
    forced: bool = False
    number: int = 1


class Sink(Protocol):
    """Takes what was answered."""

    def offer(self, answered: Answered) -> None:
        """Take it or leave it. It must not wait and must not raise: requests wait for the event loop.

        What is left out for want of room is the sink's to count.
        """
