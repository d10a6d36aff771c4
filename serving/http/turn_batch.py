"""Micro-batching: requests that one turn of the event loop reads share a run of a model that runs on it.

Law: the first request of a turn is answered at once. Those read behind it in the same turn, whose answers
could not leave before the turn ends anyway, are handed to their handler together when it does. So nothing
waits for a batch, a lone request pays a callback, and batches grow with the load. That the first one runs by
itself keeps a single run's time known, whatever the load.
"""

import asyncio
from collections.abc import Callable

import structlog

from serving.wire.handler import Handler
from serving.wire.message import Call, Outcome

MAX_DEFERRED = 64
"""A turn that read so many ends at once: with the size of one read this bounds what waits."""

log = structlog.get_logger()

Answer = Callable[[Call, Outcome], None]


class Turn:
    """What was read since the event loop last came round; one for all connections of a process."""

    __slots__ = ("_begun", "_count", "_deferred")

    def __init__(self) -> None:
        self._begun = False
        self._count = 0
        self._deferred: dict[Handler, list[tuple[Call, Answer]]] = {}

    def defer(self, handler: Handler, call: Call, answer: Answer) -> bool:
        """Keep a call for the end of this turn; False if it is to be answered now.

        Args:
            handler: whose call it is; one that does not join calls never waits.
            call: what it will be given.
            answer: told of the call and what became of it, inside `end`.
        """
        if not handler.joins:
            return False
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_soon(self._come_round)
            return False
        self._deferred.setdefault(handler, []).append((call, answer))
        self._count += 1
        if self._count >= MAX_DEFERRED:
            self.end()
        return True

    def _come_round(self) -> None:
        self._begun = False
        if self._count:
            self.end()

    def end(self) -> None:
        """Answer what was deferred, now."""
        deferred, self._deferred = self._deferred, {}
        self._count = 0
        for handler, asked in deferred.items():
            outcomes: list[Outcome]
            try:
                if len(asked) == 1:
                    outcomes = [handler.one(asked[0][0])]
                else:
                    outcomes = handler.many([call for call, _ in asked])
            except Exception as error:  # noqa: BLE001  (told to each of them)
                outcomes = [error] * len(asked)
            for (call, answer), outcome in zip(asked, outcomes, strict=True):
                try:
                    answer(call, outcome)
                except Exception:  # the others are owed theirs
                    log.exception("answering failed")
