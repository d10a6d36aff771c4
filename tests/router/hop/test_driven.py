import asyncio

import pytest
import uvloop

from router.hop.driven import Driven, Signal


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    def go(main):
        with asyncio.Runner(
            loop_factory=uvloop.new_event_loop if request.param == "uvloop" else None
        ) as runner:
            return runner.run(asyncio.wait_for(main(), 10))

    return go


def signal() -> Signal[str]:
    return Signal(asyncio.get_running_loop())


async def told(waits) -> str:
    return "told " + await waits


def test_what_needs_no_wait_is_done_at_once(run):
    async def at_once():
        return "done"

    async def main():
        driven, seen = Driven(at_once()), []
        driven.add_done_callback(seen.append)
        assert (driven.done(), driven.result(), driven.exception(), seen) == (True, "done", None, [driven])
        assert await driven == "done"

    run(main)


def test_a_signal_goes_on_inside_the_call_that_completes_it(run):
    async def main():
        waits, seen = signal(), []
        driven = Driven(told(waits))
        driven.add_done_callback(lambda done: seen.append(done.result()))
        waits.set_result("now")
        assert not driven.done()  # nobody told it yet
        waits.tell()
        assert seen == ["told now"]

    run(main)


def test_any_other_future_goes_on_in_the_next_round(run):
    async def main():
        waits = asyncio.get_running_loop().create_future()
        driven = Driven(told(waits))
        waits.set_result("later")
        assert not driven.done()
        assert await driven == "told later"

    run(main)


def test_several_waits_of_several_kinds_follow_each_other(run):
    async def many(first, second):
        found = [await first]
        await asyncio.sleep(0)
        found.append(await asyncio.ensure_future(told(second)))
        found.append(await Driven(told(first)))
        return found

    async def main():
        first, second = signal(), signal()
        driven = Driven(many(first, second))
        first.set_result("a")
        first.tell()
        second.set_result("b")
        second.tell()
        assert await driven == ["a", "told b", "told a"]

    run(main)


def test_an_error_is_for_whoever_waits(run):
    async def main():
        waits = signal()
        driven = Driven(told(waits))
        waits.set_exception(ValueError("no"))
        waits.tell()
        assert str(driven.exception()) == "no"
        with pytest.raises(ValueError, match="no"):
            await driven

    run(main)


@pytest.mark.parametrize("kind", ["signal", "future"])
def test_cancelling_reaches_what_the_coroutine_waits_for(run, kind):
    async def main():
        waits = signal() if kind == "signal" else asyncio.get_running_loop().create_future()
        cleaned = []

        async def careful():
            try:
                await waits
            finally:
                cleaned.append(waits.cancelled())

        driven = Driven(careful())
        assert driven.cancel()
        if kind == "signal":
            waits.tell()  # as its owner does when it is cancelled
        with pytest.raises(asyncio.CancelledError):
            await driven
        assert cleaned == [True]
        assert driven.cancelled()
        assert not driven.cancel()
        with pytest.raises(asyncio.CancelledError):
            driven.exception()

    run(main)


def test_what_is_cancelled_when_it_is_about_to_go_on_is_cancelled_there(run):
    async def main():
        waits = asyncio.get_running_loop().create_future()
        driven = Driven(told(waits))
        waits.set_result("too late")
        assert driven.cancel()
        with pytest.raises(asyncio.CancelledError):
            await driven

    run(main)


def test_a_task_that_waits_hands_its_cancellation_on(run):
    async def main():
        waits = asyncio.get_running_loop().create_future()
        driven = Driven(told(waits))
        task = asyncio.ensure_future(told(driven))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert waits.cancelled()
        await asyncio.sleep(0)
        assert driven.cancelled()

    run(main)


def test_it_passes_for_a_future(run):
    async def main():
        driven = Driven(told(signal()))
        assert asyncio.isfuture(driven)
        assert asyncio.ensure_future(driven) is driven
        driven.cancel()

    run(main)
