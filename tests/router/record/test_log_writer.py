"""From a worker's sink through a socket into files, with accounts that add up whatever is away or slow."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pyarrow.parquet as pq
from structlog.testing import capture_logs

from router.answered import Answered
from router.mirror import channel as channels
from router.mirror import frame as frames
from router.record import log_writer
from router.record.account import Account
from router.record.accounts import Accounts, accounts_folder
from router.record.files.footers import footer_of
from router.record.files.partitions import Partitions
from router.record.files.stores import FolderStore
from router.record.log_writer import LogWriter, RecordServer
from router.record.sink import Recording, drawn_side, unrecorded
from router.rollout.parser import parse_one
from router.rollout.snapshot import Arm, ServedRollout
from router.rollout.values import Target
from serving.errors import TooMany
from serving.wire.message import Call, Reply

REQUEST = orjson.dumps(
    {"id": "c", "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}]}
)
ANSWER = orjson.dumps(
    {"model_name": "m", "outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "data": [7]}]}
)


def served(record="{}", canary="", weight=0.0):
    rollout = parse_one("m", f"{{stable: m/1, record: {record}{canary}}}", "f")
    target = None if rollout.canary is None else rollout.canary.target
    return ServedRollout(rollout, 3, rollout.stable, target, weight=weight, digests={"m/1": "ab" * 32})


def answered(key=0, outcome=None, body=REQUEST):
    call = Call({b"x-request-id": b"r-1"}, body, 100.0 + key)
    return Answered(call, outcome or Reply(200, ANSWER), "stable", "m/1", "stable", 3, key, 100.5 + key)


class Node:
    """A worker's recording and the log writer in one loop, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.accounts = Accounts(accounts_folder(folder))
        self.socket = folder / "w.sock"
        self.recording = Recording(self.socket, accounts_folder(folder), "here.worker-0.1", lambda: 12)
        self.store = FolderStore(folder / "log")

    @contextlib.asynccontextmanager
    async def writing(self, roll_bytes=1, store=None) -> AsyncIterator[LogWriter]:
        """A log writer that ends in order."""
        parts = Partitions(roll_bytes, roll_seconds=1e9)
        writer = LogWriter("here", self.folder, store or self.store, parts)
        self.socket.unlink(missing_ok=True)
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: RecordServer(writer), str(self.socket)
        )
        work = (writer.take(), writer.write(), writer.roll(0.005))
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield writer
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for connection in writer.connections:
                if connection._transport is not None:
                    connection._transport.abort()

    def account(self) -> Account:
        return self.accounts.by_model()["m"]

    def rows(self) -> list[dict]:
        files = [pq.read_table(self.store.open(name), partitioning=None) for name in self.store.names()]
        return [row for file in files for row in file.to_pylist()]


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (what is waited for is inside the code under test)
            await asyncio.sleep(0.002)


async def connected(node):
    await until(lambda: node.recording._channel.refusal() == "")


def test_an_answer_becomes_a_row_and_accounts_say_so(tmp_path):
    async def main():
        node = Node(tmp_path)
        async with node.writing():
            [sink] = node.recording.sinks(served())
            await connected(node)
            sink.offer(answered(key=255))
            sink.offer(answered(outcome=ValueError("x")))
            await until(lambda: node.account().written == 2)
            await node.recording.close()
        ok, failed = sorted(node.rows(), key=lambda row: row["status_code"])
        expected = {
            "kind": "request", "receipt": None, "request_id": "r-1", "client_request_id": "c",
            "role": "stable", "drawn": "stable", "drawn_target": "m/1", "forced": False,
            "target": "m/1", "version": "1", "digest": "ab" * 32,
            "revision": 12, "stage": 3, "status_code": 200, "error": None,
            "duration_us": 500_000, "sampling_fraction": 1.0, "propensity": 1.0,
            "sticky_key_hash": "00000000000000ff", "input_x": [1.5, 2.5], "input_x_shape": [2],
            "output_y": [7], "output_y_shape": [1],
        }  # fmt: skip
        assert {name: ok[name] for name in expected} == expected
        assert (failed["status_code"], failed["error"], failed["input_x"]) == (500, "failed", [1.5, 2.5])
        assert node.account() == Account(requests=2, written=2)
        footers = [footer_of(node.store.open(name)) for name in node.store.names()]
        assert {(footer.model, footer.node, *footer.rows) for footer in footers} == {
            ("m", "here", "here.worker-0.1")
        }
        assert sum(footer.rows["here.worker-0.1"] for footer in footers) == 2

    asyncio.run(main())


def test_what_was_refused_is_a_row_that_says_so(tmp_path):
    async def main():
        node = Node(tmp_path)
        async with node.writing():
            [sink] = node.recording.sinks(served())
            await connected(node)
            refused = answered(outcome=TooMany("too many requests", 1), body=b"")
            sink.offer(refused._replace(refused=True, drawn=None))
            await until(lambda: node.account().written == 1)
            await node.recording.close()
        [row] = node.rows()
        assert (row["refused"], row["drawn"], row["propensity"]) == (True, None, None)
        assert (row["status_code"], row["error"]) == (429, "too_many: too many requests")
        assert (row["request_id"], row["logging_error"]) == ("r-1", None)

    asyncio.run(main())


def test_every_answer_is_counted_once_by_why_it_is_not_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "MAX_BYTES", 2000)

    async def main():
        node = Node(tmp_path)
        [sink] = node.recording.sinks(served("{sample: 50%}"))
        for number in range(100):
            sink.offer(answered(key=number + 1))
        away = node.account()
        assert away.writer_gone + away.sampled_out == 100
        assert 20 < away.sampled_out < 80
        async with node.writing():
            await connected(node)
            sink.offer(answered(key=1, body=b"x" * 3000))
            sink.offer(answered(key=2, body=b"x" * 3000))
            for number in range(100):
                sink.offer(answered(key=number + 1))
            await node.recording.close()
            await until(lambda: node.account().pending == 0)
        account = node.account()
        assert account.writer_gone == account.written == away.writer_gone
        assert account.too_large + account.sampled_out - 2 * away.sampled_out == 2
        assert account.requests == 202

    asyncio.run(main())


def test_rows_lost_with_a_log_writer_are_counted_when_the_next_one_is_there(tmp_path):
    async def main():
        node = Node(tmp_path)
        [sink] = node.recording.sinks(served())
        async with node.writing(roll_bytes=10**9) as writer:
            await connected(node)
            for _ in range(5):
                sink.offer(answered())
            await until(lambda: writer._held.total() == 5)
        await until(lambda: node.recording._channel.refusal() == "away")
        assert node.account().pending == 5
        async with node.writing() as writer:
            await connected(node)
            sink.offer(answered())
            await until(lambda: node.account().written == 1)
            writer.settle()
            assert node.account() == Account(requests=6, written=1, writer_gone=5)
            await node.recording.close()

    asyncio.run(main())


class Away(FolderStore):
    """A store that cannot be reached for a while."""

    away = True

    def put(self, name, data):
        if self.away:
            raise OSError(28, "No space left on device")
        super().put(name, data)


def test_while_the_store_is_away_rows_wait_and_beyond_that_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "MAX_HELD_BYTES", 2000)
    monkeypatch.setattr(log_writer, "FIRST_PAUSE", 0.01)

    async def main():
        node = Node(tmp_path)
        node.store = Away(tmp_path / "log")
        [sink] = node.recording.sinks(served())
        async with node.writing(store=node.store) as writer:
            await connected(node)
            sink.offer(answered())
            await until(lambda: writer._away)
            for _ in range(9):
                sink.offer(answered())
            await until(lambda: node.account().store_away + writer._held.total() == 10)
            assert node.account().store_away > 0
            node.store.away = False
            await until(lambda: node.account().pending == 0)
            sink.offer(answered())
            await until(lambda: node.account().pending == 0)
            await node.recording.close()
        account = node.account()
        assert account.written == len(node.rows()) == 11 - account.store_away

    asyncio.run(main())


def test_a_log_writer_that_is_slow_costs_drops_and_not_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(log_writer, "MAX_HELD_BYTES", 10_000)
    monkeypatch.setattr(channels, "MAX_BUFFERED_BYTES", 10_000)

    async def main():
        node = Node(tmp_path)
        [sink] = node.recording.sinks(served())
        async with node.writing(roll_bytes=10**9) as writer:
            await connected(node)
            while node.account().full == 0:
                sink.offer(answered(body=b"x" * 9000))
                await asyncio.sleep(0)
            assert writer._held_bytes < 40_000
            writer._hand_on(writer._partitions.all())
            await until(lambda: node.account().written > 0)
            await node.recording.close()

    asyncio.run(main())


def test_an_orderly_end_writes_everything_and_closes_the_accounts(tmp_path):
    async def main():
        node = Node(tmp_path)
        [sink] = node.recording.sinks(served())
        async with node.writing(roll_bytes=10**9) as writer:
            await connected(node)
            for _ in range(300):
                sink.offer(answered())
            await node.recording.close()
            await writer.finish(10.0)
        assert node.account() == Account(requests=300, written=300)
        assert len(node.rows()) == 300

    asyncio.run(main())


def test_accounts_of_a_process_that_has_ended_are_closed_and_its_last_row_counts_first(tmp_path):
    async def main():
        node = Node(tmp_path)
        [sink] = node.recording.sinks(served())
        async with node.writing(roll_bytes=10**9) as writer:
            await connected(node)
            sink.offer(answered())
            await node.recording.close()
            os.close(node.recording._accounts._lock)
            await until(lambda: writer._held.total() == 1)
            writer._recovered = True
            closing = asyncio.create_task(writer.close_accounts())
            await asyncio.sleep(0)
            assert node.accounts.instances() == ["here.worker-0.1"], "a row of it waits"
            await writer.finish(10.0)
            closing.cancel()
        async with node.writing() as writer:
            closing = asyncio.create_task(writer.close_accounts())
            await until(lambda: node.accounts.instances() == [])
            closing.cancel()
        assert node.account() == Account(requests=1, written=1)
        assert Accounts(accounts_folder(tmp_path)).read() == {("here.worker-0.1", "m"): node.account()}

    asyncio.run(main())


def test_an_end_with_the_store_away_gives_up_and_says_so(tmp_path):
    async def main():
        node = Node(tmp_path)
        node.store = Away(tmp_path / "log")
        [sink] = node.recording.sinks(served())
        async with node.writing(store=node.store) as writer:
            await connected(node)
            sink.offer(answered())
            await node.recording.close()
            await writer.finish(0.1)
        assert node.account() == Account(requests=1, store_away=1)

    asyncio.run(main())


def test_the_propensity_is_the_probability_of_who_was_drawn():
    alone, split = served(), served(canary=", canary: {model: m/2, weight: 20}", weight=20.0)
    arms = tuple(Arm(number, Target(f"m/{number + 1}"), 10.0 * number) for number in (1, 3))
    test = replace(alone, arms=arms)

    def drawn(of, *side):
        return tuple(drawn_side(of, *side, *[1] * (2 - len(side))).values())

    assert [drawn(alone, "stable"), drawn(alone, None)] == [("m/1", 1.0), (None, None)]
    assert [drawn(split, "stable"), drawn(split, "canary")] == [("m/1", 0.8), ("m/2", 0.2)]
    assert drawn(test, "stable") == ("m/1", 0.6)
    assert [drawn(test, "canary", number) for number in (1, 3)] == [("m/2", 0.1), ("m/4", 0.3)]
    assert drawn(test, "canary", 2) == (None, None), "taken off"


def test_a_rollout_without_records_has_no_sink_and_a_node_without_them_says_so(tmp_path):
    plain = ServedRollout(parse_one("m", "stable: m/1", "f"), 1, served().stable)
    assert Node(tmp_path).recording.sinks(plain) == ()
    with capture_logs() as said:
        assert unrecorded(plain) == unrecorded(served()) == ()
    assert [(line["model"], "--records" in line["event"]) for line in said] == [("m", True)]
