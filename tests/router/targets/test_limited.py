"""Targets at their limit: a canary refuses and stable answers for it, a stable refuses before the draw."""

import asyncio

import pytest

from router.targets.limited import LimitedTarget, Limits, checked
from serving.admission.concurrency import FLOOR
from serving.errors import BadGateway, DeadlineExceeded, Unavailable
from serving.telemetry.cells import Metrics, read
from serving.wire.handler import Single
from serving.wire.message import Call, Reply

CALL = Call({}, b"", 0.0)


class Waiting:
    """A target that answers when it is told to."""

    key = model = "digits/2"
    place = "remote"
    floor = FLOOR
    signature = None
    joins = False

    def __init__(self):
        self.asked = []

    def refusal(self, _now):
        return ""

    def one(self, _call):
        self.asked.append(asyncio.get_running_loop().create_future())
        return asyncio.wait_for(self.asked[-1], None)


@pytest.fixture
def metrics(tmp_path):
    metrics = Metrics(tmp_path, "test")
    yield metrics
    metrics.close()


async def fill(target):
    tasks = []
    while not target.shedder.limit.full:
        tasks.append(asyncio.ensure_future(target.one(CALL)))
        await asyncio.sleep(0)
    return tasks


def test_a_busy_canary_refuses_until_an_answer_is_there(metrics):
    async def main():
        inner = Waiting()
        target = Limits(metrics, wanted=True).of(inner, canary=True)
        tasks = await fill(target)
        assert target.refusal(0.0) == "busy"
        inner.asked[0].set_result(Reply(200, b"{}"))
        assert (await tasks[0]).status == 200
        assert target.refusal(0.0) == ""
        for task in tasks[1:]:
            task.cancel()
        await asyncio.gather(*tasks[1:], return_exceptions=True)
        assert target.shedder.limit.in_flight == 0

    asyncio.run(main())


def test_a_busy_stable_is_refused_before_its_route_is_asked(metrics, tmp_path):
    async def main():
        inner, routed = Waiting(), []
        target = Limits(metrics, wanted=True).of(inner, canary=False)
        handler = checked(target, Single(lambda call: routed.append(call) or Reply(200, b"")))
        assert handler.one(CALL).status == 200
        tasks = await fill(target)
        assert target.refusal(0.0) == ""
        with pytest.raises(Unavailable, match="overloaded") as refused:
            handler.one(CALL)
        assert refused.value.retry_after_seconds == 1
        assert len(routed) == 1
        for future, failure in zip(inner.asked, (BadGateway("x"), DeadlineExceeded("x"), None), strict=False):
            future.set_exception(failure) if failure else future.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert target.shedder.limit.in_flight == 0
        assert handler.one(CALL).status == 200

    asyncio.run(main())
    assert read(tmp_path)["understudy_rejected"].series["public", "concurrency"] == [1.0]


def test_a_limit_outlives_the_snapshot_and_ends_with_its_target(metrics):
    async def main():
        limits, inner = Limits(metrics, wanted=True), Waiting()
        first = limits.of(inner, canary=False)
        limits.settle()
        second = limits.of(inner, canary=False)
        assert first.shedder is second.shedder
        limits.settle()
        limits.settle()
        assert limits.of(inner, canary=False).shedder is not first.shedder

    asyncio.run(main())


def test_without_the_option_targets_stay_as_they_are(metrics):
    inner = Waiting()
    target = Limits(metrics, wanted=False).of(inner, canary=True)
    assert target is inner
    assert not isinstance(target, LimitedTarget)
    handler = checked(target, print)
    assert handler is print
