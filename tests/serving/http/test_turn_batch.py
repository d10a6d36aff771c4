"""What is answered at once and what at the end of a turn, on real event loops."""

import asyncio

import pytest
import uvloop

from serving.http.turn_batch import MAX_DEFERRED, Turn
from serving.wire.handler import Single
from serving.wire.message import Call, Reply


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(work):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work())

    return run


def call(number):
    return Call({}, b"%d" % number, 0.0)


class Echo:
    """Answers with the body, and remembers what it was asked at once."""

    joins = True

    def __init__(self):
        self.asked = []

    def one(self, call):
        self.asked.append([call.body])
        return Reply(200, call.body)

    def many(self, calls):
        self.asked.append([call.body for call in calls])
        return [Reply(200, call.body) for call in calls]


class Answers:
    def __init__(self):
        self.bodies = {}

    def of(self, number):
        return lambda _, outcome: self.bodies.__setitem__(number, outcome)


def ask(turn, handler, numbers, answers):
    """Which were deferred."""
    return [number for number in numbers if turn.defer(handler, call(number), answers.of(number))]


def test_the_first_of_a_turn_is_not_deferred_and_the_others_are_answered_together_at_its_end(run):
    async def work():
        turn, echo, answers = Turn(), Echo(), Answers()
        for _ in range(2):
            assert ask(turn, echo, range(5), answers) == [1, 2, 3, 4]
            assert not answers.bodies
            await asyncio.sleep(0)
            assert {number: reply.body for number, reply in answers.bodies.items()} == {
                number: b"%d" % number for number in range(1, 5)
            }
            answers.bodies.clear()
        assert echo.asked == [[b"1", b"2", b"3", b"4"]] * 2

    run(work)


def test_a_single_deferred_call_is_an_ordinary_one(run):
    async def work():
        turn, echo, answers = Turn(), Echo(), Answers()
        echo.many = pytest.fail
        assert ask(turn, echo, range(2), answers) == [1]
        await asyncio.sleep(0)
        assert answers.bodies[1].body == b"1"

    run(work)


def test_whoever_cannot_wait_ends_the_turn_early_and_only_once(run):
    async def work():
        turn, echo, answers = Turn(), Echo(), Answers()
        ask(turn, echo, range(3), answers)
        turn.end()
        assert sorted(answers.bodies) == [1, 2]
        ask(turn, echo, [7, 8], answers)  # still the same turn
        await asyncio.sleep(0)
        assert echo.asked == [[b"1", b"2"], [b"7", b"8"]]
        turn.end()
        assert len(echo.asked) == 2

    run(work)


def test_a_turn_that_reads_very_many_ends_now_and_then(run):
    async def work():
        turn, echo, answers = Turn(), Echo(), Answers()
        ask(turn, echo, range(2 * MAX_DEFERRED + 3), answers)
        assert [len(asked) for asked in echo.asked] == [MAX_DEFERRED] * 2
        await asyncio.sleep(0)
        assert [len(asked) for asked in echo.asked] == [MAX_DEFERRED] * 2 + [2]
        assert sorted(answers.bodies) == list(range(1, 2 * MAX_DEFERRED + 3))

    run(work)


def test_handlers_that_cannot_answer_together_never_wait(run):
    async def work():
        turn, answers = Turn(), Answers()
        alone = Echo()
        alone.joins = False
        assert ask(turn, alone, range(3), answers) == []
        assert ask(turn, Single(lambda call: Reply(200, call.body)), range(3), answers) == []

    run(work)


def test_each_handler_gets_its_own_calls_and_a_failure_is_told_to_each_of_them(run):
    async def work():
        turn, one, other, answers = Turn(), Echo(), Echo(), Answers()
        failure = RuntimeError("no")

        def fail(_):
            raise failure

        other.many = fail
        ask(turn, one, [0, 1], answers)
        ask(turn, other, [10, 11], answers)
        ask(turn, one, [2], answers)
        await asyncio.sleep(0)
        assert one.asked == [[b"1", b"2"]]
        assert answers.bodies[10] is answers.bodies[11] is failure

    run(work)


def test_an_answer_that_fails_keeps_nobody_else_from_theirs(run):
    async def work():
        turn, echo, answers = Turn(), Echo(), Answers()

        def fail(_):
            raise ValueError

        ask(turn, echo, [0, 1], answers)
        assert turn.defer(echo, call(2), fail)
        ask(turn, echo, [3], answers)
        await asyncio.sleep(0)
        assert sorted(answers.bodies) == [1, 3]

    run(work)
