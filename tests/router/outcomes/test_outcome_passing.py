"""What a worker does with a request that tells outcomes: it passes it on, and says when nobody is there."""

import asyncio
import contextlib
import gzip

import pytest

from router.outcomes.passing import Passing
from router.rollout.snapshot import ServedRollout, Snapshot
from router.rollout.values import Outcome, Rollout, Target
from router.run_dir import RunDir
from router.wire.outcomes import MAX_BODY_BYTES
from serving.clock import clock
from serving.errors import NotFound, TooLarge, Unavailable
from serving.wire.message import Call

STABLE = Target("digits/1")
SHOP = Rollout("shop", STABLE, outcomes=(Outcome("conversion", "binary", 3600.0),))
WITH = Snapshot(7, {"shop": ServedRollout(SHOP, 1, STABLE)})
WITHOUT = Snapshot(6, {"shop": ServedRollout(Rollout("shop", STABLE), 1, STABLE)})
AWAY_SECONDS = 0.3
FULL = b"HTTP/1.1 503 x\r\nretry-after: 10\r\ncontent-length: 4\r\n\r\nfull"


@contextlib.asynccontextmanager
async def taker(folder, answer, seen):
    """A process that takes outcomes, as far as a worker sees of it."""

    ended = asyncio.Event()

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                seen.append((head, await reader.readexactly(size)))
                writer.write(answer)
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_unix_server(serve, RunDir(folder).outcome_taker.socket)
    async with server:
        yield
        await ended.wait()


def passing(folder, snapshots=(WITH,), *, known=True):
    """To a process in this folder; of the snapshots the last is in force once control was asked."""
    in_force = [snapshots[0]]

    async def told_by(_):
        in_force.append(snapshots[-1])
        return known

    return Passing(RunDir(folder), lambda: in_force[-1], told_by, lambda: 0.0, AWAY_SECONDS)


def told(folder, body=b"x", headers=None, **how):
    async def go():
        return await passing(folder, **how).tell(Call(headers or {}, body, clock()))

    return asyncio.run(go())


def test_a_request_is_passed_on_as_it_came_with_the_revision_and_so_is_the_answer(tmp_path):
    body, seen = gzip.compress(b"y" * 3_000_000, 0), []

    async def go():
        async with taker(tmp_path, FULL, seen):
            door = passing(tmp_path)
            coded = await door.tell(Call({b"content-encoding": b"gzip", b"x-api-key": b"k"}, body, clock()))
            await door.tell(Call({}, bytearray(b"plain"), clock()))
            door.close()
            return coded

    reply = asyncio.run(go())
    assert (reply.status, reply.body, reply.headers) == (503, b"full", b"retry-after: 10\r\n")
    (coded, first), (plain, second) = seen
    assert coded.startswith(b"POST /v1/outcomes HTTP/1.1\r\n")
    assert b"content-encoding: gzip\r\n" in coded
    assert b"x-understudy-revision: 7\r\n" in coded
    assert b"x-api-key" not in coded
    assert b"content-encoding" not in plain
    assert (first, second) == (body, b"plain")


def test_who_comes_while_the_process_is_started_again_is_answered_when_it_is_there(tmp_path):
    async def go():
        door = passing(tmp_path)
        telling = asyncio.create_task(door.tell(Call({}, b"x", clock())))
        await asyncio.wait([telling], timeout=AWAY_SECONDS / 3)
        async with taker(tmp_path, b"HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\n{}", []):
            await telling
            door.close()
        return telling.result()

    assert asyncio.run(go()).status == 200


@pytest.mark.parametrize(
    "how", [{}, {"snapshots": (WITHOUT, WITH)}, {"snapshots": (WITHOUT,), "known": False}]
)
def test_where_it_stays_away_the_client_is_to_tell_again(tmp_path, how):
    with pytest.raises(Unavailable, match="tell them again") as refused:
        told(tmp_path, **how)
    assert refused.value.retry_after_seconds == 1


def test_a_node_of_which_no_rollout_has_outcomes_says_so_once_control_has(tmp_path):
    with pytest.raises(NotFound, match="no rollout has outcomes"):
        told(tmp_path, snapshots=(WITHOUT,))


def test_what_is_larger_than_any_request_is_refused(tmp_path):
    with pytest.raises(TooLarge):
        told(tmp_path, bytes(MAX_BODY_BYTES + 1))
