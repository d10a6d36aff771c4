"""A router follows control, and needs it only to change."""

import asyncio
import contextlib
import os
import time

import orjson
import pytest

from router import sync as module
from router.rollout.parser import parse_one
from router.rollout.snapshot import ServedRollout, Snapshot
from router.sync import KNOWN_SECONDS, Link, Sync, save, saved, trusting
from router.wire.report import Report
from router.wire.snapshot import Received, to_wire
from serving.errors import InvalidInput

ROLLOUT = parse_one("digits", "stable: digits/1", "test")


def snapshot(revision):
    return Snapshot(revision, {"digits": ServedRollout(ROLLOUT, 1, ROLLOUT.stable)})


class Control:
    """A raw HTTP server that answers each exchange from a list, then with nothing new."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.reports = []

    async def serve(self, reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.reports.append(orjson.loads(await reader.readexactly(length)))
            status, body = self.answers.pop(0) if self.answers else (200, b'{"snapshot":null}')
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))


@contextlib.asynccontextmanager
async def following(answers, cache=None, take_keys=None):
    """A sync that runs against the answers: it, what it applied, and control."""
    control, applied = Control(answers), []

    async def serve(reader, writer):
        try:
            await control.serve(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def report():
        return Report(instance="i", node="n", kind="worker", revision=0, wait=0)

    async def apply(new):
        applied.append(new)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sync = Sync(Link(f"http://127.0.0.1:{port}", "secret"), cache, report, apply, take_keys)
    task = asyncio.create_task(sync.run())
    try:
        async with asyncio.timeout(60):
            yield sync, applied, control
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        sync.close()
        server.close()
        await server.wait_closed()


async def follow(answers, cache, until, take_keys=None):
    """Run a sync against the answers until the condition on (applied, control) holds."""
    async with following(answers, cache, take_keys) as (_, applied, control):
        while not until(applied, control):  # noqa: ASYNC110  (what is waited for is inside the code)
            await asyncio.sleep(0)
        return applied, control


def kept(cache):
    received = Received()
    assert saved(cache, received)
    return received.snapshot


def answer(revision):
    return 200, orjson.dumps({"snapshot": to_wire(snapshot(revision))})


def test_a_newer_snapshot_is_applied_kept_and_reported(tmp_path):
    cache = tmp_path / "s" / "worker.json"
    applied, control = asyncio.run(follow([answer(7)], cache, lambda _, c: len(c.reports) > 1))
    assert applied == [snapshot(7)]
    assert [report["revision"] for report in control.reports[:2]] == [0, 7]
    assert kept(cache) == snapshot(7)


def test_keys_for_receipts_are_taken_and_asked_of_nobody_else():
    rows = [{"id": 7, "secret": "ab" * 32, "made": 1.0, "ofANewerVersion": 1}]
    said = 200, orjson.dumps({"snapshot": to_wire(snapshot(3)), "receipt_keys": rows})
    taken = []

    async def take(keys):
        taken.append([row.key.id for row in keys])

    for take_keys, told in ((take, [[7]]), (None, [])):
        taken.clear()
        applied, control = asyncio.run(follow([said], None, lambda a, _: a, take_keys))
        assert (applied, taken) == ([snapshot(3)], told)
        assert control.reports[0]["receipt_keys"] is None, "the one who reports says which it has"


def test_what_is_known_as_of_now_was_said_in_an_exchange_that_began_after_it():
    async def main():
        async with following([]) as (sync, _, control):
            for _ in range(3):
                asked = time.time()
                before = len(control.reports)
                assert await sync.known_as_of(asked)
                assert len(control.reports) > before
                assert await sync.known_as_of(asked), "at once"

    asyncio.run(main())


def test_without_control_it_is_soon_clear_that_nothing_is_known_as_of_now(monkeypatch):
    monkeypatch.setattr(module, "START_SECONDS", 0.0)

    async def main():
        async with following([(503, b"")] * 1000) as (sync, _, _):
            began = time.monotonic()
            assert not await sync.known_as_of(time.time())
            assert time.monotonic() - began < KNOWN_SECONDS

    asyncio.run(main())


def test_without_control_the_last_good_snapshot_serves(tmp_path):
    cache = tmp_path / "worker.json"
    save(cache, orjson.dumps(to_wire(snapshot(5))))
    applied, _ = asyncio.run(follow([(503, b"")], cache, lambda a, _: a))
    assert applied == [snapshot(5)]


def test_without_one_of_its_own_a_process_serves_the_latest_snapshot_of_its_node(tmp_path):
    for number, (name, revision) in enumerate([("worker-1", 4), ("node", 6), ("worker-2", 5)]):
        save(tmp_path / f"{name}.json", orjson.dumps(to_wire(snapshot(revision))))
        os.utime(tmp_path / f"{name}.json", (number, number))
    (tmp_path / "worker-3.json").write_bytes(b"{")  # the latest, and not whole
    applied, _ = asyncio.run(follow([(503, b"")], tmp_path / "worker-0.json", lambda a, _: a))
    assert applied == [snapshot(5)]


def test_an_answer_that_cannot_be_read_changes_nothing(tmp_path):
    bad = [(200, b"garbage"), (200, b'{"snapshot":{"revision":3}}'), (200, b"[]"), answer(4)]
    applied, _ = asyncio.run(follow(bad, None, lambda a, _: a))
    assert applied == [snapshot(4)]


def test_a_snapshot_on_disk_that_cannot_be_read_is_none(tmp_path):
    assert not saved(tmp_path / "nothing", Received())
    for content in (b"", b"{", b"[]", b'{"revision":1,"rollouts":{"a":{}}}'):
        (tmp_path / "bad").write_bytes(content)
        assert not saved(tmp_path / "bad", Received())


OF_TODAY = Snapshot(12, snapshot(12).rollouts, epoch=7, made=3.5)
NOTHING_FOR_YOU = 200, orjson.dumps({"snapshot": None, "refused": "it holds revision 12"})


def test_a_process_says_what_it_holds_before_it_is_given_anything(tmp_path):
    cache = tmp_path / "worker.json"
    said = {"epoch": 7, "revision": 12, "made": 3.5}
    first = 200, orjson.dumps({"snapshot": to_wire(OF_TODAY)})
    _, control = asyncio.run(follow([first], cache, lambda _, c: len(c.reports) > 1))
    assert [report["held"]["revision"] for report in control.reports[:2]] == [0, 12]
    assert control.reports[1]["held"] == said
    _, control = asyncio.run(follow([], cache, lambda _, c: c.reports))
    assert (control.reports[0]["held"], control.reports[0]["revision"]) == (said, 0), "after its restart"


def test_a_process_to_which_control_gives_nothing_serves_what_it_kept(tmp_path):
    cache = tmp_path / "worker.json"
    save(cache, orjson.dumps(to_wire(OF_TODAY)))
    applied, control = asyncio.run(follow([NOTHING_FOR_YOU] * 3, cache, lambda _, c: len(c.reports) > 3))
    assert applied == [OF_TODAY]
    assert control.reports[1]["revision"] == 12


def given(revision, epoch=7, **rollouts):
    return 200, orjson.dumps(
        {"snapshot": {**to_wire(Snapshot(revision, OF_TODAY.rollouts, epoch, 9.0)), "rollouts": rollouts}}
    )


BAD = to_wire(OF_TODAY)["rollouts"]["digits"] | {
    "document": {"stable": "digits/1", "compare": {"label": "of another release"}}
}


def test_a_process_that_cannot_use_a_snapshot_says_which_and_why_until_it_has_another():
    control_says = [(200, orjson.dumps({"snapshot": to_wire(OF_TODAY)})), given(13, digits=BAD)]
    answers = [*control_says, (200, b'{"snapshot":null}'), given(14)]
    applied, control = asyncio.run(follow(answers, None, lambda _, c: len(c.reports) > 4))
    assert [each.revision for each in applied] == [12, 14]
    told = [report["unusable"] for report in control.reports[:5]]
    assert told[:2] == [None, None]
    assert told[2] == told[3]
    assert told[2]["revision"] == 13
    assert "snapshot/digits" in told[2]["reason"]
    assert told[4] is None
    assert [report["revision"] for report in control.reports[:5]] == [0, 12, 12, 12, 14]


def test_a_process_goes_back_to_no_older_revision_of_the_same_epoch_or_one_before():
    first = 200, orjson.dumps({"snapshot": to_wire(OF_TODAY)})
    older = [given(11), given(99, epoch=6), given(12)]
    applied, control = asyncio.run(follow([first, *older, given(3, epoch=8)], None, lambda a, _: len(a) > 2))
    assert [(each.epoch, each.revision) for each in applied] == [(7, 12), (7, 12), (8, 3)]
    assert "revision 11 is older than 12" in control.reports[2]["unusable"]["reason"]


def test_what_fails_when_it_is_put_in_force_is_told_and_tried_again():
    failing = [OSError("no room"), RuntimeError("a fault")]

    async def main():
        first = 200, orjson.dumps({"snapshot": to_wire(OF_TODAY)})
        async with following([first, first, first]) as (sync, applied, control):
            real = sync._apply

            async def apply(new):
                if failing:
                    raise failing.pop(0)
                await real(new)

            sync._apply = apply
            while not applied:  # noqa: ASYNC110  (as in `follow`)
                await asyncio.sleep(0)
            while len(control.reports) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0)
            return [report["unusable"] for report in control.reports]

    told = asyncio.run(main())
    assert [each and (each["revision"], each["reason"]) for each in told[:4]] == [
        None, (0, "OSError: no room"), (0, "RuntimeError: a fault"), None,
    ]  # fmt: skip


def test_a_process_that_kept_nothing_that_can_be_used_says_so(tmp_path):
    cache = tmp_path / "worker.json"
    save(cache, b'{"epoch": 7, "revision": 12, "made": 3.5, "rollouts": {"a": {}}}')
    applied, control = asyncio.run(follow([NOTHING_FOR_YOU, answer(4)], cache, lambda a, _: a))
    assert [report["held"]["revision"] for report in control.reports[:2]] == [12, 0]
    assert applied == [snapshot(4)]


def test_a_file_without_certificates_is_refused_by_its_name(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    for name, reason in (("ca.pem", "it holds no certificate"), ("none.pem", "No such file")):
        with pytest.raises(InvalidInput, match=f"{name}: {reason}") as refused:
            trusting(tmp_path / name)
        assert str(tmp_path) not in str(refused.value)


def test_the_token_of_a_link_is_not_in_its_text():
    assert "5ecret" not in repr(Link("http://127.0.0.1:9000", "5ecret"))
