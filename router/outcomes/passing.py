"""What a worker does with a request that tells outcomes: it goes, as it came, to the process that takes them.

Law: a worker reads nothing of it, not even its content coding, so inference waits only while bytes pass
through. What that process answers is the answer. Where it is away, the request waits for its successor, for
`AWAY_SECONDS`; then it is refused, and the client is to tell it again: what was told before counts once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from router.hop.client import Address, ClientReply, Pool
from router.rollout.snapshot import Snapshot, has_outcomes
from router.run_dir import RunDir
from router.wire.outcomes import MAX_BODY_BYTES, PATH, REVISION
from serving.clock import clock
from serving.errors import NotFound, ServingError, TooLarge, Unavailable
from serving.wire.message import Call, Reply

ANSWER_SECONDS: Final = 30.0
"""Most requests are answered within some milliseconds; where others keep all cores busy it takes longer."""
AWAY_SECONDS: Final = 3.0
"""To start that process takes one."""
PAUSE_SECONDS: Final = 0.1
_CODING: Final = b"content-encoding"
_RETRY: Final = b"retry-after"


class Passing:
    """Passes requests on to the process of the node that takes outcomes.

    Args:
        run_dir: where that process is met.
        snapshot: gives that in force here.
        told_by: waits until control's word as of a moment, seconds since 1970, is in force here; False where
            that cannot be known now.
        now: seconds since 1970.
        away_seconds: for which a request waits for that process.
    """

    def __init__(
        self,
        run_dir: RunDir,
        snapshot: Callable[[], Snapshot],
        told_by: Callable[[float], Awaitable[bool]],
        now: Callable[[], float],
        away_seconds: float = AWAY_SECONDS,
    ) -> None:
        self._socket = str(run_dir.outcome_taker.socket)
        self._snapshot = snapshot
        self._told_by = told_by
        self._now = now
        self._away_seconds = away_seconds
        self._pool: Pool | None = None

    async def tell(self, call: Call) -> Reply:
        """Pass a request on; its answer.

        Raises:
            TooLarge: no request with outcomes is as large.
            NotFound: no rollout has outcomes.
            Unavailable: they are not taken now.
        """
        if len(call.body) > MAX_BODY_BYTES:
            raise TooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes")
        if self._pool is None:
            self._pool = Pool(Address.of_socket(self._socket), label="outcomes")
        coding, until = call.headers.get(_CODING), clock() + self._away_seconds
        while True:
            lines = b"%b: %d\r\n" % (REVISION, self._snapshot().revision)
            if coding is not None:
                lines += b"%b: %b\r\n" % (_CODING, coding)
            try:
                reply = await self._pool.post(PATH, lines, call.body, clock() + ANSWER_SECONDS)
            except ServingError as error:
                await self._be_expected()
                if clock() >= until:
                    raise Unavailable("outcomes are not taken just now; tell them again") from error
            else:
                return _as_reply(reply)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _be_expected(self) -> None:
        """That nobody takes outcomes is no fault where no rollout has some; another worker may know first."""
        if has_outcomes(self._snapshot()):
            return
        known = await self._told_by(self._now())
        if known and not has_outcomes(self._snapshot()):
            raise NotFound("no rollout has outcomes")

    def close(self) -> None:
        """Drop the connections that idle."""
        if self._pool is not None:
            self._pool.close()


def _as_reply(reply: ClientReply) -> Reply:
    retry = reply.headers.get(_RETRY)
    lines = b"" if retry is None else b"%b: %b\r\n" % (_RETRY, retry)
    return Reply(reply.status, reply.body, None, lines)
