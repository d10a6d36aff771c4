"""Work that comes after requests takes its turn when they leave the event loop, and some turns anyway."""

import asyncio
import time

from router.laps import IDLE_SECONDS, MOST_ROUNDS, others_first


def request(rounds, done):
    """Work that goes on each time the loop comes round."""
    began = time.perf_counter()
    while time.perf_counter() - began < 2 * IDLE_SECONDS:
        pass
    done.append(rounds)
    if rounds > 1:
        asyncio.get_running_loop().call_soon(request, rounds - 1, done)


def test_a_request_that_takes_some_rounds_of_the_loop_is_not_held_up_between_them() -> None:
    async def main():
        done = []
        asyncio.get_running_loop().call_soon(request, MOST_ROUNDS, done)
        await others_first()
        return list(done)

    assert asyncio.run(main()) == [4, 3, 2, 1]


def test_requests_that_never_leave_a_pause_do_not_hold_up_other_work_for_ever() -> None:
    async def main():
        done = []
        asyncio.get_running_loop().call_soon(request, 100, done)
        await others_first()
        return len(done)

    assert asyncio.run(main()) == MOST_ROUNDS


def test_with_nothing_to_do_for_others_it_takes_one_round_mostly() -> None:
    async def main():
        rounds = []
        loop = asyncio.get_running_loop()

        def count():
            rounds.append(1)
            loop.call_soon(count)

        loop.call_soon(count)
        for _ in range(1000):
            await others_first()
        return len(rounds)

    assert asyncio.run(main()) < 2000
