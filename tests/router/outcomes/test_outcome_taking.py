"""What becomes of the outcomes of a request: whole or not at all, and nothing of it is lost."""

import asyncio
import contextlib
import resource

import orjson
import pytest

from harness.system import free_port
from router.counting.receipt import SECRET_BYTES, ReceiptKey, Receipts
from router.outcomes.door import EXAMPLES, UNVERIFIED_BYTES, OutcomesDoor
from router.outcomes.sender import Sender
from router.outcomes.spool import Spool
from router.rollout.snapshot import ServedRollout, Snapshot
from router.rollout.values import Outcome, Rollout, Target
from router.sync import Link
from router.wire.outcomes import SKEW_SECONDS
from serving.errors import InvalidInput, TooLarge, Unavailable
from serving.telemetry.cells import Metrics, read

NOW = 1_800_000_000.0
KEY = ReceiptKey(7, b"s" * SECRET_BYTES, 1000.0)
SHOP = Rollout("shop", Target("digits/1"), outcomes=(Outcome("conversion", "binary", 3600.0),))
SNAPSHOT = Snapshot(1, {"shop": ServedRollout(SHOP, 1, Target("digits/1"))})


@contextlib.asynccontextmanager
async def opened(folder, keys=(KEY,), snapshot=SNAPSHOT, most=16 << 20, known=None):
    """A door whose control is away; `known` says if keys are those of a moment, and may change them."""
    metrics = Metrics(folder / "metrics", "w")
    spool = Spool(folder / "outcomes", "worker-0", most, metrics)
    sender = Sender(Link(f"http://127.0.0.1:{free_port()}"), spool)
    told = [{key.id: key for key in keys}]

    async def known_as_of(moment):
        assert known is not None, "nobody asks for what is known"
        return known(told, moment)

    door = OutcomesDoor(spool, sender, lambda: told[-1], known_as_of, lambda: snapshot, metrics, lambda: NOW)
    door.start()
    try:
        yield door
    finally:
        await door.close()
        metrics.close()


def body(count, value=1, key=KEY, at=NOW - 9):
    receipts = Receipts("local", 0)
    receipts.key = key
    stamp = receipts.of("shop", 1)
    made = (stamp.make("canary", "canary", 0, at).decode() for _ in range(count))
    return b"\n".join(orjson.dumps({"receipt": each, "name": "conversion", "value": value}) for each in made)


def counted(folder):
    totals = read(folder / "metrics")["understudy_outcomes_received"]
    return {labels[2]: cells[0] for labels, cells in totals.series.items()}


def on_disk(folder):
    return b"".join(path.read_bytes() for path in sorted((folder / "outcomes").glob("*"))).splitlines()


def test_what_is_accepted_is_on_disk_with_its_time_and_what_is_left_out_is_not(tmp_path):
    async def go():
        async with opened(tmp_path) as door:
            return await door.take(body(3) + b"\n" + body(20, value=7))

    taken = asyncio.run(go())
    assert (taken.accepted, dict(taken.left_out)) == (3, {"value": 20})
    assert [example.line for example in taken.examples] == list(range(4, 4 + EXAMPLES))
    assert [orjson.loads(line)["at"] for line in on_disk(tmp_path)] == [NOW] * 3
    assert counted(tmp_path) == {"accepted": 3, "value": 20}


def test_a_request_with_one_line_that_is_not_understood_leaves_nothing(tmp_path):
    async def go():
        async with opened(tmp_path) as door:
            with pytest.raises(InvalidInput, match="outcome 3"):
                await door.take(body(2) + b"\nnone")

    asyncio.run(go())
    assert on_disk(tmp_path) == []
    assert "understudy_outcomes_received" not in read(tmp_path / "metrics")


@pytest.mark.parametrize("lacks", [{"keys": ()}, {"snapshot": Snapshot()}])
def test_without_keys_or_documents_it_is_too_early(tmp_path, lacks):
    async def go():
        async with opened(tmp_path, **lacks) as door:
            with pytest.raises(Unavailable, match="control has not told any") as refused:
                await door.take(body(1))
            return refused.value.retry_after_seconds

    assert asyncio.run(go()) == 1


def test_what_the_disk_does_not_take_is_counted_as_refused_and_not_as_accepted(tmp_path):
    async def go():
        async with opened(tmp_path) as door:
            limit = resource.prlimit(0, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            try:
                with pytest.raises(Unavailable, match="outcomes cannot be written"):
                    await door.take(body(5) + b"\n" + body(2, value=7))
            finally:
                resource.prlimit(0, resource.RLIMIT_FSIZE, limit)
            await door.take(body(1))

    asyncio.run(go())
    assert counted(tmp_path) == {"refused": 5, "accepted": 1}
    assert len(on_disk(tmp_path)) == 1


def test_what_never_fits_is_refused_for_good(tmp_path):
    async def go():
        async with opened(tmp_path, most=1000) as door:
            with pytest.raises(TooLarge):
                await door.take(body(100))

    asyncio.run(go())


def test_whenever_a_client_leaves_what_is_on_disk_is_counted(tmp_path):
    async def go():
        async with opened(tmp_path) as door:
            for turns in range(60):
                taking = asyncio.create_task(door.take(body(3)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                taking.cancel()
                await asyncio.wait([taking])

    asyncio.run(go())
    assert 0 < len(on_disk(tmp_path)) == counted(tmp_path)["accepted"] < 180


@pytest.mark.parametrize(("revision", "asks"), [(1, []), (2, [NOW])])
def test_what_a_worker_knows_already_is_asked_for_before_outcomes_are_understood(tmp_path, revision, asks):
    asked = []

    async def go():
        async with opened(tmp_path, known=lambda _, moment: asked.append(moment)) as door:
            return (await door.take(body(1), revision)).accepted

    assert asyncio.run(go()) == 1, "where control is away, the documents at hand hold"
    assert asked == asks


# ------------------------------------------------------------------ keys that others know first

NEW = ReceiptKey(8, b"t" * SECRET_BYTES, NOW - 10)


def told_of(folder, known, outcomes):
    """What becomes of outcomes at a door that knows `KEY`; whether it asks what is known as of when."""
    asked = []

    async def go():
        def notes(told, moment):
            asked.append(moment)
            return known(told)

        async with opened(folder, known=notes) as door:
            return await door.take(outcomes)

    return asyncio.run(go()), asked


def test_the_receipt_of_a_key_that_comes_only_now_is_taken(tmp_path):
    def comes(told):
        told.append({7: KEY, 8: NEW})
        return True

    taken, asked = told_of(tmp_path, comes, body(3) + b"\n" + body(2, key=NEW))
    assert (taken.accepted, dict(taken.left_out), asked) == (5, {}, [NOW])
    assert len(on_disk(tmp_path)) == 5
    assert counted(tmp_path) == {"accepted": 5}


def test_the_receipt_of_a_key_that_control_does_not_know_is_left_out(tmp_path):
    taken, asked = told_of(tmp_path, lambda _: True, body(3) + b"\n" + body(20, key=NEW))
    assert (taken.accepted, dict(taken.left_out), asked) == (3, {"receipt": 20}, [NOW])
    assert len(on_disk(tmp_path)) == 3
    assert counted(tmp_path) == {"accepted": 3, "receipt": 20}


def test_of_an_answer_of_long_ago_it_is_enough_to_have_asked_since(tmp_path):
    _, asked = told_of(tmp_path, lambda _: True, body(1, key=NEW, at=NOW - 900) + b"\n" + body(1))
    assert asked == [pytest.approx(NOW - 900 + SKEW_SECONDS)]


def test_while_control_cannot_say_whose_a_key_is_the_outcome_is_kept_for_it_to_verify(tmp_path):
    taken, _ = told_of(tmp_path, lambda _: False, body(3) + b"\n" + body(2, key=NEW) + b"\n" + body(1, 7))
    assert (taken.accepted, dict(taken.left_out)) == (5, {"value": 1})
    assert len(on_disk(tmp_path)) == 5
    with contextlib.closing(Metrics(tmp_path / "metrics", "another")):
        series = read(tmp_path / "metrics")["understudy_outcomes_received"].series
    assert {labels: cells[0] for labels, cells in series.items()} == {
        ("shop", "conversion", "accepted"): 3,
        ("", "", "accepted"): 2,
        ("shop", "conversion", "value"): 1,
    }


def test_forged_receipts_fill_only_so_much_of_the_disk_while_control_is_away(tmp_path):
    control_is_there = []

    async def go():
        async with opened(tmp_path, known=lambda *_: bool(control_is_there)) as door:
            forged = body(1000, key=NEW)
            sizes = [(await door.take(forged + b"\n" + body(1))).accepted for _ in range(12)]
            control_is_there.append(True)
            assert (await door.take(forged)).accepted == 0
            control_is_there.clear()
            assert (await door.take(forged)).accepted == 1000, "it was asked since"
            return sizes

    sizes = asyncio.run(go())
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) == {1001, 1}, "what is verified is taken all the same"
    assert sum(map(len, on_disk(tmp_path))) < 2 * UNVERIFIED_BYTES + 20_000


def test_what_is_left_out_is_named_in_the_order_of_the_request(tmp_path):
    taken, _ = told_of(tmp_path, lambda _: True, body(2, key=NEW) + b"\n" + body(20, value=7))
    assert [example.line for example in taken.examples] == list(range(1, 1 + EXAMPLES))


def test_an_altered_receipt_makes_nobody_ask(tmp_path):
    good = body(1)
    altered = good.replace(orjson.loads(good)["receipt"][-4:].encode(), b"AAAA")
    taken, asked = told_of(tmp_path, lambda _: True, altered)
    assert (dict(taken.left_out), asked) == ({"receipt": 1}, [])
