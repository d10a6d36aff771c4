"""Frames arrive whole and in order; what cannot be sent is dropped and counted, never waited for."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.answered import Answered
from router.mirror.channel import MAX_BUFFERED_BYTES, MAX_WAITING, ShadowChannel, ShadowServer, Waiting
from router.mirror.frame import MAX_BYTES
from serving.wire.message import JSON_LENGTH_HEADER, Call, Reply
from serving.wire.trace_context import TRACEPARENT


class Count:
    value = 0.0

    def add(self, amount=1.0):
        self.value += amount


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (what is waited for is inside the code under test)
            await asyncio.sleep(0)


def call(body, json_length=None):
    headers = {} if json_length is None else {JSON_LENGTH_HEADER: str(json_length).encode()}
    return Call(headers, body, 0.0)


def answered(call, reply, stage=1, key=0):
    """As a stable target answered it."""
    return Answered(call, reply, "stable", "digits/1", "stable", stage, key, 0.0)


@asynccontextmanager
async def connected(path, name="digits", timed=None):
    """A sandbox's end and a worker's end, and what the one received and the other dropped.

    With a list for `timed`, what is sent is to be timed, and comes there.
    """
    waiting, wake, ends = Waiting(), asyncio.Event(), []
    taken = [] if timed is None else timed

    def accept():
        ends.append(ShadowServer(waiting, wake, taken.append))
        return ends[-1]

    server = await asyncio.get_running_loop().create_unix_server(accept, path)
    dropped = Count()
    channel = ShadowChannel(path, name, dropped, timed=timed is not None)
    await until(lambda: channel._transport is not None)
    try:
        yield channel, waiting, dropped
    finally:
        channel.close()
        server.close()
        for end in ends:
            if end._transport is not None:
                end._transport.abort()
        await until(lambda: all(end._transport is None for end in ends))
        await until(lambda: channel._transport is None)


def test_a_frame_carries_request_and_reference(tmp_path):
    async def main():
        async with connected(str(tmp_path / "s")) as (channel, waiting, dropped):
            channel.offer(answered(call(b"{}tail", 2), Reply(200, b"answer", 3), stage=7, key=2**64 - 1))
            await until(lambda: waiting)
            _, frame = waiting[0]
            assert (frame.model, frame.stage, frame.key) == ("digits", 7, 2**64 - 1)
            assert (frame.request, frame.request_json) == (b"{}tail", 2)
            assert (frame.reference, frame.reference_json) == (b"answer", 3)
            assert frame.trace == b""
            traced = Call({TRACEPARENT: b"00-trace"}, b"{}", 0.0)
            channel.offer(answered(traced, Reply(200, b"answer"), stage=7, key=0))
            await until(lambda: len(waiting) == 2)
            _, frame = waiting[1]
            assert (frame.trace, frame.request, frame.reference) == (b"00-trace", b"{}", b"answer")
            assert dropped.value == 0

    asyncio.run(main())


def test_what_is_to_be_timed_comes_without_a_reference_and_waits_for_no_comparison(tmp_path):
    async def main():
        timed = []
        async with connected(str(tmp_path / "s"), timed=timed) as (channel, waiting, dropped):
            channel.offer(answered(call(b"{}tail", 2), Reply(200, b"answer", 3), stage=7, key=0))
            await until(lambda: timed)
            [frame] = timed
            assert (frame.stage, frame.request, frame.request_json) == (7, b"{}tail", 2)
            assert (frame.timed, frame.reference) == (True, b"")
            assert not waiting
            await until(lambda: channel._done == 1)
            assert dropped.value == 0

    asyncio.run(main())


def test_without_a_sandbox_a_frame_is_dropped_at_the_next_try_and_counted(tmp_path):
    async def main():
        dropped = Count()
        channel = ShadowChannel(str(tmp_path / "nobody"), "digits", dropped)
        channel.offer(answered(call(b"x"), Reply(200, b"y")))
        await until(lambda: dropped.value == 1)
        channel.offer(answered(call(b"x"), Reply(200, b"y")))
        channel.close()
        assert dropped.value == 2
        channel.offer(answered(call(b"x"), Reply(200, b"y")))
        assert dropped.value == 3

    asyncio.run(main())


def test_of_a_sandbox_that_is_there_no_frame_is_dropped_before_the_worker_has_found_it(tmp_path):
    async def main():
        path, dropped = str(tmp_path / "s"), Count()
        channel = ShadowChannel(path, "digits", dropped)
        channel.offer(answered(call(b"nobody"), Reply(200, b"")))
        await until(lambda: dropped.value == 1)
        waiting = Waiting()
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: ShadowServer(waiting, asyncio.Event(), waiting.append), path
        )
        for number in range(3):
            channel.offer(answered(call(b"%d" % number), Reply(200, b"")))
        await until(lambda: len(waiting) == 3)
        channel.offer(answered(call(b"3"), Reply(200, b"")))
        await until(lambda: len(waiting) == 4)
        assert [frame.request for _, frame in waiting] == [b"0", b"1", b"2", b"3"]
        assert dropped.value == 1
        channel.close()
        server.close()
        await until(lambda: channel._transport is None)
        await until(lambda: all(end._transport is None for end, _ in waiting))

    asyncio.run(main())


def test_what_is_held_for_a_sandbox_that_is_away_has_a_bound(tmp_path):
    async def main():
        dropped = Count()
        channel = ShadowChannel(str(tmp_path / "nobody"), "digits", dropped)
        for _ in range(100):
            channel.offer(answered(call(b"x" * 100_000), Reply(200, b"")))
        held = 100 - dropped.value
        assert MAX_BUFFERED_BYTES < held * 100_000 < MAX_BUFFERED_BYTES + 200_000
        channel.close()
        assert dropped.value == 100

    asyncio.run(main())


def test_a_frame_over_the_limit_is_dropped_not_sent(tmp_path):
    async def main():
        async with connected(str(tmp_path / "s")) as (channel, _, dropped):
            channel.offer(answered(call(b"x" * (MAX_BYTES + 1)), Reply(200, b"")))
            assert dropped.value == 1

    asyncio.run(main())


def test_a_sandbox_that_reads_no_further_costs_drops_not_memory(tmp_path):
    async def main():
        async with connected(str(tmp_path / "s")) as (channel, waiting, dropped):
            offered = 0
            while dropped.value == 0:
                channel.offer(answered(call(b"x" * 100_000), Reply(200, b"")))
                offered += 1
                assert offered < 10_000, "the buffer has no bound"
                await asyncio.sleep(0)
            assert len(waiting) <= MAX_WAITING

    asyncio.run(main())


def test_a_connection_that_found_it_full_has_its_turn_though_nothing_of_it_waits(tmp_path):
    async def main():
        path = str(tmp_path / "s")
        async with connected(path) as (first, waiting, _):
            second = ShadowChannel(path, "digits", Count())
            await until(lambda: second._transport is not None)
            for _ in range(MAX_WAITING):
                first.offer(answered(call(b"first"), Reply(200, b"")))
            await until(lambda: len(waiting) == MAX_WAITING)
            for _ in range(2):
                second.offer(answered(call(b"second"), Reply(200, b"")))
            await until(lambda: len(waiting.kept_out) == 2)
            seen = []
            while len(seen) < MAX_WAITING + 2:
                await until(lambda: waiting)
                connection, frame = waiting.popleft()
                seen.append(frame.request)
                connection.finished()
            assert seen[-2:] == [b"second"] * 2
            assert not waiting.kept_out
            second.close()

    asyncio.run(main())


def test_frames_lost_with_a_sandbox_count_as_dropped(tmp_path):
    async def main():
        async with connected(str(tmp_path / "s")) as (channel, waiting, dropped):
            for _ in range(5):
                channel.offer(answered(call(b"x"), Reply(200, b"")))
            await until(lambda: len(waiting) == 5)
            for _ in range(2):
                connection, _ = waiting.popleft()
                connection.finished()
            await until(lambda: channel._done == 2)
            connection._transport.abort()
            await until(lambda: dropped.value)
            assert dropped.value == 3

    asyncio.run(main())


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=50)), max_size=8), st.data())
def test_frames_survive_any_slicing(bodies, data):
    sent = bytearray()

    class Transport:
        def get_write_buffer_size(self):
            return 0

        def write(self, chunk):
            sent.extend(chunk)

        def abort(self):
            pass

    async def main():
        channel = ShadowChannel("/nowhere/at/all", "m", Count())
        channel.connection_made(Transport())
        for request, reference in bodies:
            channel.offer(answered(call(request), Reply(200, reference)))
        channel.close()
        waiting = Waiting()
        server = ShadowServer(waiting, asyncio.Event(), print)
        rest = bytes(sent)
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            server.data_received(rest[:size])
            rest = rest[size:]
        assert [(frame.request, frame.reference) for _, frame in waiting] == bodies

    asyncio.run(main())


def test_frames_of_another_release_are_refused_and_counted_as_dropped(tmp_path):
    async def main():
        async with connected(str(tmp_path / "s")) as (channel, waiting, dropped):
            write = channel._transport.write
            channel._transport = Altered(
                channel._transport, lambda frame: write(frame[:4] + b"\xff" + frame[5:])
            )
            channel.offer(answered(call(b"x"), Reply(200, b"")))
            await until(lambda: dropped.value == 1)
            assert not waiting
            await until(lambda: channel._transport is not None)
            channel.offer(answered(call(b"x"), Reply(200, b"")))
            await until(lambda: waiting)
            assert dropped.value == 1

    asyncio.run(main())


class Altered:
    """A transport with another `write`."""

    def __init__(self, inner, write):
        self.write = write
        self.abort = inner.abort
        self.get_write_buffer_size = inner.get_write_buffer_size


@pytest.mark.parametrize("name", ["digits", "modèle"])
def test_public_names_travel_as_text(tmp_path, name):
    async def main():
        async with connected(str(tmp_path / "s"), name) as (channel, waiting, _):
            channel.offer(answered(call(b""), Reply(200, b"")))
            await until(lambda: waiting)
            assert waiting[0][1].model == name

    asyncio.run(main())
