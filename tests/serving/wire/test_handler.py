"""Any stack of layers gives the answers of what is below it; each layer sees the end of each call once."""

import asyncio
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.hop.driven import Driven
from serving.errors import InvalidInput, Unavailable
from serving.wire.handler import CLIENT_LEFT, Layer, Single, status_of
from serving.wire.message import Call, Reply

WAYS = ("at once", "later", "driven", "fails", "fails later", "fails driven", "never", "never driven")


class Model:
    """Answers each call as its body says."""

    def __init__(self, *, joins):
        self.joins = joins
        self.groups = []
        self.refusals = []

    def refused(self, call, failure):
        self.refusals.append((id(call), failure.status))

    def _one(self, call):
        way = call.body.decode()
        work = self._later(way)
        if way.endswith("driven"):
            return Driven(work)
        if way in {"later", "fails later", "never"}:
            return work
        work.close()
        if way == "fails":
            raise InvalidInput(way)
        return Reply(200, call.body)

    async def _later(self, way):
        if way.startswith("never"):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if way.startswith("fails"):
            raise InvalidInput(way)
        return Reply(200, way.encode())

    def one(self, call):
        self.groups.append(1)
        return self._one(call)

    def many(self, calls):
        self.groups.append(len(calls))
        outcomes = []
        for call in calls:
            try:
                outcomes.append(self._one(call))
            except InvalidInput as error:
                outcomes.append(error)
        return outcomes


class Seen(Layer):
    """Remembers what it was told; does not care about some calls, and refuses others."""

    def __init__(self, inner, name, *, cares=True, refuses=()):
        super().__init__(inner)
        self.name = name
        self.cares = cares
        self.refuses = refuses
        self.begun = []
        self.over = []

    def began(self, call):
        self.begun.append(id(call))
        if call.body.decode() in self.refuses:
            raise Unavailable(self.name)
        return (self.name, id(call)) if self.cares else None

    def ended(self, call, token, outcome):
        assert token == (self.name, id(call))
        self.over.append((id(call), status_of(outcome)))


async def end_of(outcome, *, at_once):
    """How a call ends; one that would take for ever is given up, perhaps before it ever ran."""
    if not isinstance(outcome, Reply | Exception):
        under_way = outcome if asyncio.isfuture(outcome) else asyncio.get_running_loop().create_task(outcome)
        over = asyncio.Event()
        under_way.add_done_callback(lambda _: over.set())
        for _ in range(0 if at_once else 5):
            await asyncio.sleep(0)
        if not under_way.done():
            under_way.cancel()
        await over.wait()
        try:
            outcome = under_way.result()
        except (asyncio.CancelledError, InvalidInput) as error:
            outcome = error
    return (status_of(outcome), outcome.body if isinstance(outcome, Reply) else str(outcome))


def ask(handler, calls, *, together, at_once):
    async def main():
        if together:
            outcomes = handler.many(calls)
        else:
            outcomes = []
            for call in calls:
                try:
                    outcomes.append(handler.one(call))
                except (InvalidInput, Unavailable) as error:
                    outcomes.append(error)
        return [await end_of(outcome, at_once=at_once) for outcome in outcomes]

    return asyncio.run(main())


@given(
    ways=st.lists(st.sampled_from(WAYS), min_size=1, max_size=6),
    cares=st.lists(st.booleans(), max_size=4),
    joins=st.booleans(),
    together=st.booleans(),
    at_once=st.booleans(),
)
def test_a_stack_of_layers_changes_no_answer_and_each_is_told_each_end_once(
    ways, cares, joins, together, at_once
):
    bare, model = Model(joins=joins), Model(joins=joins)
    stack, layers = model, []
    for number, each in enumerate(cares):
        stack = Seen(stack, number, cares=each)
        layers.append(stack)
    calls = [Call({}, way.encode(), 0.0) for way in ways]
    expected = ask(bare, calls, together=together, at_once=at_once)
    assert ask(stack, calls, together=together, at_once=at_once) == expected
    assert stack.joins == joins
    assert model.groups == bare.groups
    statuses = [status for status, _ in expected]
    ends = Counter(zip(map(id, calls), statuses, strict=True))
    for layer in layers:
        assert layer.begun == [id(call) for call in calls]
        assert Counter(layer.over) == (ends if layer.cares else Counter())


@given(ways=st.lists(st.sampled_from(["at once", "fails", "later"]), max_size=6), together=st.booleans())
def test_what_a_layer_refuses_is_not_asked_of_those_behind_it_and_all_hear_of_it(ways, together):
    model = Model(joins=True)
    inner = Seen(model, "inner")
    refusing = Seen(inner, "refusing", refuses={"fails"})
    outer = Seen(refusing, "outer")
    calls = [Call({}, way.encode(), 0.0) for way in ways]
    answers = ask(outer, calls, together=together, at_once=False)
    refused = [way == "fails" for way in ways]
    assert [status for status, _ in answers] == [503 if each else 200 for each in refused]
    assert sum(model.groups) == len(inner.over) == len(refusing.over) == refused.count(False)
    assert Counter(outer.over) == Counter(zip(map(id, calls), (s for s, _ in answers), strict=True))
    assert model.refusals == [(id(call), 503) for call, each in zip(calls, refused, strict=True) if each]


def test_what_a_door_refuses_is_told_through_all_layers():
    model = Model(joins=True)
    call = Call({}, b"", 0.0)
    Seen(Seen(model, "inner", refuses={""}), "outer").refused(call, InvalidInput("no"))
    assert model.refusals == [(id(call), 400)]


def test_a_failure_of_all_is_told_to_each_of_them():
    def fail(_):
        raise ValueError

    layer = Seen(SimpleNamespace(joins=True, many=fail), "layer")
    calls = [Call({}, b"x", 0.0) for _ in range(3)]
    assert [type(outcome) for outcome in layer.many(calls)] == [ValueError] * 3
    assert layer.over == [(id(call), 500) for call in calls]


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_a_call_that_is_dropped_before_it_ran_has_ended(end):
    async def main():
        layer = Seen(Model(joins=False), "layer")
        outcome = layer.one(Call({}, b"never", 0.0))
        if end == "close":
            outcome.close()
        else:
            task = asyncio.ensure_future(outcome)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return [status for _, status in layer.over]

    assert asyncio.run(main()) == [CLIENT_LEFT]


@pytest.mark.parametrize("way", ["never", "never driven"])
@pytest.mark.parametrize(("deadline", "status"), [(None, CLIENT_LEFT), (0.0, 504), (1e9, CLIENT_LEFT)])
def test_a_call_that_is_dropped_when_its_deadline_has_passed_came_too_late(deadline, status, way):
    async def main():
        layer = Seen(Seen(Model(joins=False), "inner"), "outer")
        call = Call({}, way.encode(), 0.0)
        call.deadline = deadline

        async def wait():
            await layer.one(call)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [found for each in (layer, layer.inner) for _, found in each.over]

    assert asyncio.run(main()) == [status] * 2


def test_a_handler_of_single_calls_never_joins_them():
    def answer(call):
        if not call.body:
            raise InvalidInput("empty")
        return Reply(200, call.body)

    handler = Single(answer)
    good, bad = handler.many([Call({}, b"x", 0.0), Call({}, b"", 0.0)])
    assert not handler.joins
    assert (good.body, type(bad)) == (b"x", InvalidInput)
