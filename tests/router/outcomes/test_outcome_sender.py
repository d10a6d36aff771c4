"""What is in the spool leaves it when control has answered, and only then."""

import asyncio
import contextlib

import pytest

from harness.receivers import hooking
from harness.system import eventually, free_port
from router.outcomes import sender as module
from router.outcomes.sender import FIRST_PAUSE, LONGEST_PAUSE, Sender, jittered_pauses
from router.outcomes.spool import Spool
from router.sync import Link
from router.wire.outcomes import Told, read_lines, written
from serving.telemetry.cells import Metrics

AT = 1_800_000_000.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(module, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)


def outcomes(*names):
    return written([Told(name, 1.0, "r" * 72) for name in names], AT)


def told(posted):
    return [each.name for one in posted for each in read_lines(one.body, from_node=True)]


@contextlib.asynccontextmanager
async def sending(folder, url, token="t"):
    metrics = Metrics(folder / "metrics", "w")
    spool = Spool(folder / "outcomes", "worker-0", 1 << 24, metrics)
    sender = Sender(Link(url, token), spool)
    task = asyncio.create_task(sender.run())
    try:
        yield spool
    finally:
        sender.end()
        await asyncio.wait([task])
        sender.close()
        await spool.close()
        metrics.close()


async def until(condition):
    await asyncio.to_thread(eventually, condition, "it is sent")


def files(folder):
    return list((folder / "outcomes").glob("*"))


def test_outcomes_go_to_control_with_the_token_and_leave_the_disk(tmp_path):
    async def go(hook):
        async with sending(tmp_path, hook.url) as spool:
            await spool.add(outcomes("a", "b"), 2)
            await until(lambda: hook.posted and not files(tmp_path))
            await spool.add(outcomes("c"), 1)
            await until(lambda: len(hook.posted) == 2 and not files(tmp_path))

    with hooking() as hook:
        asyncio.run(go(hook))
        assert told(hook.posted) == ["a", "b", "c"]
        assert {one.path for one in hook.posted} == {"/v1/sync/outcomes"}
        assert hook.posted[0].headers["authorization"] == "Bearer t"


def test_what_control_does_not_take_now_is_sent_until_it_does(tmp_path):
    async def go(hook):
        async with sending(tmp_path, hook.url) as spool:
            await spool.add(outcomes("a"), 1)
            await until(lambda: hook.posted and not files(tmp_path))

    with hooking() as hook:
        hook.statuses = [503, 404, 401, 500, 429]
        asyncio.run(go(hook))
        assert len(hook.refused) == 5
        assert told(hook.posted) == ["a"]


def test_without_control_nothing_leaves_the_disk_and_the_next_process_sends_it(tmp_path):
    async def away():
        async with sending(tmp_path, f"http://127.0.0.1:{free_port()}") as spool:
            await spool.add(outcomes("a"), 1)
            await until(lambda: len(files(tmp_path)) == 1)

    async def back(hook):
        async with sending(tmp_path, hook.url):
            await until(lambda: hook.posted and not files(tmp_path))

    asyncio.run(away())
    with hooking() as hook:
        asyncio.run(back(hook))
        assert told(hook.posted) == ["a"]


def test_a_process_that_ends_sends_what_it_has_and_does_not_wait_for_a_control_that_is_away(tmp_path):
    async def go(url, name):
        async with sending(tmp_path, url) as spool:
            await until(lambda: not spool.filled.is_set())
            await spool.add(outcomes(name), 1)

    asyncio.run(go(f"http://127.0.0.1:{free_port()}", "a"))
    assert len(files(tmp_path)) == 1
    with hooking() as hook:
        asyncio.run(go(hook.url, "b"))
        assert told(hook.posted) == ["a", "b"]
    assert files(tmp_path) == []


def test_what_a_crash_tore_is_left_out_and_the_rest_is_sent(tmp_path):
    async def go(hook):
        async with sending(tmp_path, hook.url):
            await until(lambda: hook.posted and not files(tmp_path))

    (tmp_path / "outcomes").mkdir()
    torn = outcomes("a") + b"\0" * 40 + b"\n" + outcomes("b") + b'{"receipt": "r'
    (tmp_path / "outcomes" / "worker-0-1-1.lines").write_bytes(torn)
    with hooking() as hook:
        hook.statuses = [400]  # as control answers what it cannot read
        asyncio.run(go(hook))
        assert told(hook.posted) == ["a", "b"]


def test_what_control_never_reads_stays_on_disk_and_does_not_keep_the_others(tmp_path):
    async def go(hook):
        async with sending(tmp_path, hook.url) as spool:
            await spool.add(outcomes("a"), 1)
            await until(lambda: hook.refused)
            await spool.add(outcomes("b"), 1)
            await until(lambda: hook.posted)
            await until(lambda: len(files(tmp_path)) == 1)

    with hooking() as hook:
        hook.statuses = [400]
        asyncio.run(go(hook))
        assert told(hook.posted) == ["b"]
        [left] = files(tmp_path)
        assert left.read_bytes() == outcomes("a")


def test_a_large_file_is_sent_in_batches_that_control_takes(tmp_path):
    count = 10_000

    async def go(hook):
        async with sending(tmp_path, hook.url) as spool:
            await spool.add(outcomes(*map(str, range(count))), count)
            await until(lambda: hook.posted and not files(tmp_path))

    with hooking() as hook:
        asyncio.run(go(hook))
        assert told(hook.posted) == list(map(str, range(count)))
        assert len(hook.posted) > 1


def test_pauses_grow_to_a_bound_and_differ():
    pauses = jittered_pauses()
    found = [next(pauses) for _ in range(20)]
    assert module.FIRST_PAUSE / 2 <= found[0] <= module.FIRST_PAUSE <= FIRST_PAUSE
    assert all(pause <= LONGEST_PAUSE for pause in found)
    assert found[-1] >= LONGEST_PAUSE / 2
    assert len(set(found)) == 20
