"""A node speaks for its processes: told together, answered apart, no earlier than control has answered."""

import asyncio
import contextlib

import orjson
import pytest

from control.fleet.nodes import Nodes
from control.fleet.sticky_keys import Place
from router.counting.stage_counts import RoleCounts, StageCounts
from router.rollout.parser import parse_one
from router.rollout.snapshot import ServedRollout, Snapshot
from router.sync import Link, Sync
from router.wire.report import WIRE, Exchange, Report, StageReport, TargetReport
from router.wire.snapshot import to_wire
from understudy.supervision.relay import Relay
from understudy.supervision.relay_door import RelayDoor

ROLLOUT = parse_one("digits", "stable: digits/1", "test")


def snapshot(revision, *stages):
    served = {
        f"m{number}": ServedRollout(ROLLOUT, stage, ROLLOUT.stable) for number, stage in enumerate(stages)
    }
    return Snapshot(revision, served)


class Control:
    """A control of real parts: what nodes say reaches `Nodes`, and the exchange for snapshots is held."""

    def __init__(self, wire=WIRE):
        self.wire, self.nodes = wire, Nodes()
        self.snapshot, self.base = snapshot(1, 1), None
        self.told = []  # what supervisors said of processes, by exchange
        self.alone = []  # who said something by itself
        self.in_part = set()  # whether targets were told in part
        self.lose = 0  # answers to what supervisors say
        self.refused = set()  # processes of which nothing is taken
        self.changed = asyncio.Condition()

    async def edit(self, new):
        async with self.changed:
            self.base, self.snapshot = self.snapshot, new
            self.changed.notify_all()

    def start_again(self):
        self.nodes = Nodes()

    async def serve(self, reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = orjson.dumps(await self.answer(orjson.loads(await reader.readexactly(length))))
            if self.lose and b'"processes":{"' in body:
                self.lose -= 1
                return
            writer.write(b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async def answer(self, said):
        report = Exchange.model_validate(said)
        answer = {"wire": self.wire, "revision": self.snapshot.revision, "snapshot": None}
        if report.processes is not None and self.wire >= 3:
            self.told.append([each["instance"] for each in report.processes])
            return {**answer, "processes": {each["instance"]: self.hear(each) for each in report.processes}}
        if report.kind != "node":
            self.alone.append(report.instance)
        if report.revision == self.snapshot.revision:
            async with self.changed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(report.wait):
                        await self.changed.wait()
        if report.revision == self.snapshot.revision:
            return answer
        known = self.base is not None and self.base.revision == report.revision
        base = self.base if known else None
        return {**answer, "revision": self.snapshot.revision, "snapshot": to_wire(self.snapshot, base)}

    def hear(self, said):
        report = Report.model_validate(said)
        if report.instance in self.refused:
            return {"problem": "not that one"}
        if self.nodes.lacks(report):
            return {"whole": True}
        self.in_part.add(report.partly)
        self.nodes.hear(report, 0.0)
        return {}

    def requests(self, stage=1):
        found = self.nodes.counts(Place("m0", stage), "digits/2")
        return 0 if found is None else found.stable.requests


class Process:
    """One process of a node, which counts and follows."""

    def __init__(self, link, name, kind="worker"):
        self.name, self.kind, self.requests = name, kind, 0
        self.applied, self.failures = [], 0
        self.target = TargetReport(model="m0", target="digits/1", role="stable", ready=True)
        self.sync = Sync(link, None, self.report, self.apply)

    async def report(self):
        role = RoleCounts(self.requests, self.requests)
        counts = StageCounts(0.0, role, RoleCounts(), open_span=2, settled_until=12.0)
        return Report(
            instance=self.name, node="n", kind=self.kind, revision=0, wait=0, targets=(self.target,),
            counts=(StageReport(model="m0", stage=1, counts=counts),),
        )  # fmt: skip

    async def apply(self, new):
        if self.failures:
            self.failures -= 1
            raise ValueError("not now")
        self.applied.append(new.revision)


@contextlib.asynccontextmanager
async def node(tmp_path, control, names=("w0", "w1")):
    """A node's relay between control and processes: the processes, and the exchange of the supervisor."""

    async def serve(reader, writer):
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await control.serve(reader, writer)
        finally:
            writer.close()

    async def report():
        return Exchange(instance="n/supervisor", node="n", kind="node", revision=0, wait=0)

    async def apply(_):
        pass

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = Link(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    sync = Sync(link, None, report, apply)
    relay = Relay(sync, link)
    door = RelayDoor(tmp_path / "relay.sock", relay)
    await door.open()
    processes = [Process(Link(f"unix:{tmp_path}/relay.sock"), name) for name in names]
    running = [sync.run(), relay.run(), *(each.sync.run() for each in processes)]
    tasks = [asyncio.create_task(each) for each in running]
    try:
        async with asyncio.timeout(60):
            yield processes, sync
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        relay.close()
        door.close()
        for each in (sync, *(process.sync for process in processes)):
            each.close()
        server.close()
        async with asyncio.timeout(60):
            await until(lambda: len(asyncio.all_tasks()) == 1)  # connections are closed by now
        await asyncio.sleep(0.01)


async def until(condition):
    while not condition():  # noqa: ASYNC110  (what is waited for is inside the code)
        await asyncio.sleep(0.001)


def test_processes_are_told_together_and_counted_apart(tmp_path):
    async def main():
        control = Control()
        async with node(tmp_path, control) as ([first, second], _):
            first.requests, second.requests = 3, 4
            await until(lambda: control.requests() == 7)
            assert ["w0", "w1"] in [sorted(told) for told in control.told]
            assert not control.alone
            first.requests = 10
            await until(lambda: control.requests() == 14)
            heard = {each.report.instance: each for each in control.nodes.alive(0.0)}
            assert {name: each.report.revision for name, each in heard.items()} == {"w0": 1, "w1": 1}
            await until(lambda: heard_now(control, "w0").report.unchanged)
            assert heard_now(control, "w0").targets.keys() == {("m0", "digits/1", "stable")}

    asyncio.run(main())


def heard_now(control, name):
    return next(each for each in control.nodes.alive(0.0) if each.report.instance == name)


@pytest.mark.parametrize("wire", [3, WIRE])
def test_a_target_that_changed_is_told_alone_where_control_knows_of_that(tmp_path, wire):
    async def main():
        control = Control(wire)
        async with node(tmp_path, control, ["w0"]) as ([worker], _):
            await until(lambda: worker.sync.exchanges > 1)
            worker.target = worker.target.model_copy(update={"ready": False, "problem": "gone"})
            await until(
                lambda: heard_now(control, "w0").targets["m0", "digits/1", "stable"].problem == "gone"
            )
            assert control.in_part == {wire == WIRE, False}

    asyncio.run(main())


def test_what_control_took_and_could_not_answer_is_told_again_and_counted_once(tmp_path):
    async def main():
        control = Control()
        async with node(tmp_path, control) as ([first, second], _):
            await until(lambda: first.sync.exchanges and second.sync.exchanges)
            answered, control.lose, first.requests = first.sync.exchanges, 2, 5
            await until(lambda: control.lose == 0)
            assert first.sync.exchanges <= answered + 1, "not answered for by the supervisor itself"
            await until(lambda: first.sync.exchanges > answered + 1)
            assert control.requests() == 5

    asyncio.run(main())


def test_a_control_that_started_again_is_told_everything(tmp_path):
    async def main():
        control = Control()
        async with node(tmp_path, control) as ([first, second], _):
            first.requests = second.requests = 2
            await until(lambda: control.requests() == 4 and first.sync.ledger.begun)
            control.start_again()
            await until(lambda: control.requests() == 4)

    asyncio.run(main())


def test_a_snapshot_reaches_all_without_waiting_for_the_next_report(tmp_path):
    async def main():
        control = Control()
        async with node(tmp_path, control) as (processes, sync):
            await until(lambda: all(each.applied == [1] for each in processes) and sync.wait_seconds > 1)
            for revision in range(2, 8):
                await control.edit(snapshot(revision, 1, revision))
                await until(lambda: all(each.applied[-1] == sync.revision for each in processes))
                await until(lambda: {each.report.revision for each in control.nodes.alive(0.0, "worker")} == {
                    control.snapshot.revision
                })  # fmt: skip
            assert [each.applied for each in processes] == [list(range(1, 8))] * 2
            assert all(each.sync.snapshot() == sync.snapshot() for each in processes)

    asyncio.run(main())


def test_a_process_that_ends_is_answered_once_control_has_its_last_counts(tmp_path):
    async def main():
        control = Control()
        async with node(tmp_path, control) as ([first, second], _):
            await until(lambda: first.sync.exchanges and second.sync.exchanges)
            last = Process(Link(f"unix:{tmp_path}/relay.sock"), "w2")
            last.requests = 8
            await last.sync.leave()
            assert control.requests() == 8
            assert last.applied == []

    asyncio.run(main())


def test_a_process_that_cannot_use_a_snapshot_is_heard_and_sent_it_again(tmp_path):
    async def main():
        control = Control()
        async with node(tmp_path, control) as ([first, second], _):
            await until(lambda: first.applied == second.applied == [1])
            first.failures, first.requests = 2, 9
            await control.edit(snapshot(2, 1, 2))
            await until(lambda: second.applied == [1, 2] and control.requests() == 9)
            await until(lambda: first.applied == [1, 2])

    asyncio.run(main())


def test_an_older_control_hears_each_process_by_itself_until_a_newer_one_is_there(tmp_path):
    async def main():
        control = Control(wire=2)
        async with node(tmp_path, control) as ([first, second], sync):
            await until(lambda: {"w0", "w1"} <= set(control.alone) and first.applied == second.applied == [1])
            assert not control.told
            assert sync.wait_seconds == 1
            control.wire, first.requests = 3, 6
            await until(lambda: control.requests() == 6)
            control.wire = 2
            control.alone.clear()
            await until(lambda: {"w0", "w1"} <= set(control.alone))

    asyncio.run(main())


def test_what_one_process_says_wrong_is_told_to_it_alone(tmp_path):
    async def main():
        control = Control()
        control.refused.add("w0")
        async with node(tmp_path, control) as ([first, second], _):
            second.requests = 5
            await until(lambda: control.requests() == 5 and second.sync.exchanges)
            assert first.sync.exchanges == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"POST /v1/sync HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}", b"HTTP/1.1 400"),
        (b"POST /v1/sync HTTP/1.1\r\ncontent-length: x\r\n\r\n{}", b""),
        (b"POST /v1/sync HTTP/1.1\r\n\r\n", b""),
        (b"POST /v1/sync HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n{}", b""),
        (b"x" * 100_000, b""),
    ],
)
def test_what_is_no_report_ends_its_own_connection_only(tmp_path, sent, answered):
    async def main():
        control = Control()
        async with node(tmp_path, control, ["w0"]) as ([worker], _):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "relay.sock")
            writer.write(sent)
            found = b""
            with contextlib.suppress(ConnectionResetError):  # it left some of it unread
                found = await reader.read(1000)
            assert found.startswith(answered)
            writer.close()
            worker.requests = 3
            await until(lambda: control.requests() == 3)

    asyncio.run(main())


def test_the_door_is_made_anew_where_its_socket_was_lost(tmp_path):
    async def main():
        door = RelayDoor(
            tmp_path / "relay.sock", Relay(Sync(Link("http://127.0.0.1:1"), None, None, None), None)
        )
        await door.open()
        (tmp_path / "relay.sock").unlink()
        await door.open()
        reader, writer = await asyncio.open_unix_connection(tmp_path / "relay.sock")
        writer.write(b"content-length: x\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        door.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())
