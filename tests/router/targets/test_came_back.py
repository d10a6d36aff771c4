"""A target that was ejected, went away and came back: what failed before says nothing of it now."""

import asyncio
from contextlib import asynccontextmanager, suppress

import orjson
import pytest

from harness.hostile import DIGITS, reply
from harness.system import DEADLINE_SECONDS
from router.hop.client import Address
from router.metrics import EJECTIONS
from router.rollout.values import Ejection
from router.targets.targets import RemoteTarget
from serving.clock import clock
from serving.errors import ServingError
from serving.telemetry.cells import Metrics
from serving.wire.message import Call


class Process:
    """Serves on a socket until it is gone: ready, and failing at whatever it is asked, once it may go on."""

    def __init__(self, path):
        self.path = path
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.connections, self.idle = set(), set()  # of them those on which nothing is under way

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_unix_server(self._serve, self.path)
        try:
            yield self
        finally:
            self.path.unlink()
            server.close()
            for writer in set(self.idle):
                writer.transport.abort()

    async def _serve(self, reader, writer):
        self.connections.add(writer)
        self.idle.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if not head.startswith(b"POST"):
                    writer.write(reply(b"{}" if b"/ready" in head else orjson.dumps(DIGITS)))
                    continue
                self.idle.discard(writer)
                self.asked += 1
                await self.go_on.wait()
                writer.write(reply(b"{}", "500 Internal Server Error"))
                self.idle.add(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.idle.discard(writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.connections.discard(writer)


async def becomes(condition):
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110  (the probe's own turns are what counts)
            await asyncio.sleep(0.01)


async def ended(target, process):
    await target.close()
    await becomes(lambda: not process.connections)


async def fails(target):
    with pytest.raises(ServingError):
        await target.one(Call({}, b"", clock()))


@pytest.fixture
def metrics(tmp_path):
    found = Metrics(tmp_path, "worker")
    yield found
    found.close()


def test_a_target_that_came_back_is_not_ejected_though_nobody_asks_and_its_next_failure_ejects_it(
    tmp_path, metrics
):
    async def main():
        process = Process(tmp_path / "socket")
        ejections = metrics.counter(EJECTIONS, "digits/2")
        async with process.running():
            target = RemoteTarget(
                "digits/2", "digits/2", Address.of_socket(str(process.path)), ejections, trusted=True
            )
            await becomes(lambda: not target.problem)
            for _ in range(Ejection().after):
                assert not target.failing
                await fails(target)
            assert target.failing
            assert target.refusal(clock()) == "ejected"
        await becomes(lambda: target.problem)
        async with process.running():
            await becomes(lambda: not target.problem)
            assert not target.failing
            assert target.refusal(clock()) == ""
            await fails(target)
            assert target.failing
            assert target.refusal(clock()) == "ejected"
        await ended(target, process)

    asyncio.run(main())


def test_what_was_under_way_when_it_went_away_ejects_nobody_who_came_back(tmp_path, metrics):
    async def main():
        process, ejections = Process(tmp_path / "socket"), metrics.counter(EJECTIONS, "digits/2")
        async with process.running():
            target = RemoteTarget(
                "digits/2", "digits/2", Address.of_socket(str(process.path)), ejections, trusted=True
            )
            await becomes(lambda: not target.problem)
            process.go_on.clear()
            under_way = [asyncio.create_task(fails(target)) for _ in range(Ejection().after)]
            await becomes(lambda: process.asked == Ejection().after)
        await becomes(lambda: target.problem)
        async with process.running():
            await becomes(lambda: not target.problem)
            process.go_on.set()
            await asyncio.gather(*under_way)
            assert not target.failing
        await ended(target, process)

    asyncio.run(main())
