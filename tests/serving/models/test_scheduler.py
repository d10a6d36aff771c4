"""The laws of the queue. The model is a callable that waits at a gate, so that nothing depends on time."""

import asyncio
import threading
import time

import numpy as np
import pytest
from graphs import linear
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import DeadlineExceeded, InvalidInput, ServingError, Unavailable
from serving.models.ort import onnxruntime
from serving.models.scheduler import Scheduler


class Gated:
    """Doubles x; the first run waits until the gate is opened. Remembers the rows of each run."""

    def __init__(self, *, opened=False):
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.runs = []
        if opened:
            self.gate.set()

    def __call__(self, feeds, names):
        self.entered.set()
        assert self.gate.wait(20)
        x = feeds["x"]
        self.runs.append(len(x))
        if np.any(x == 13):
            raise InvalidInput("13 is not taken")
        if np.any(x == 14):
            raise RuntimeError("secret")
        return [x * 2 for _ in names]


def rows(*values, dtype=np.float32):
    return {"x": np.array(values, dtype=dtype).reshape(len(values), 1)}


def later(seconds=60.0):
    return time.perf_counter() + seconds


def run(work, model, max_rows=8, queue_limit=100, inputs=1):
    async def main():
        scheduler = Scheduler("m/1", model, ("y",), inputs, max_rows, queue_limit)
        try:
            return await asyncio.wait_for(work(scheduler), 30)
        finally:
            model.gate.set()
            await scheduler.close()

    return asyncio.run(main())


async def busy(scheduler, model):
    """Occupy the thread; what is submitted from now on waits."""
    first = scheduler.submit(rows(0), later())
    await asyncio.to_thread(model.entered.wait, 20)
    return first


def test_a_lone_request_is_run_at_once_and_alone():
    async def work(scheduler):
        ran = await scheduler.submit(rows(1, 2), later())
        assert ran.outputs[0].ravel().tolist() == [2, 4]
        assert (ran.rows, ran.first) == (2, True)
        assert ran.queue_seconds >= 0 < ran.compute_seconds

    run(work, Gated(opened=True))


def test_what_waits_is_run_together_up_to_the_largest_batch():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(number, number), later()) for number in range(1, 8)]
        assert scheduler.waiting == 7
        model.gate.set()
        rans = await asyncio.gather(first, *waiting)
        for number, ran in enumerate(rans[1:], 1):
            assert ran.outputs[0].ravel().tolist() == [2 * number] * 2
        assert model.runs == [1, 8, 6]
        assert sum(ran.first for ran in rans) == 3
        assert [ran.rows for ran in rans] == [1, 8, 8, 8, 8, 6, 6, 6]

    run(work, model)


@given(
    jobs=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(["f4", "f8"]), st.integers(1, 2)),
        min_size=1,
        max_size=20,
    ),
    max_rows=st.integers(1, 6),
)
def test_each_gets_its_own_rows_and_only_compatible_requests_share_a_run(jobs, max_rows):
    model = Gated()
    shapes = []

    def remembering(feeds, names):
        shapes.append((feeds["x"].dtype.str[1:], feeds["x"].shape))
        return model(feeds, names)

    remembering.gate = model.gate

    async def work(scheduler):
        first = await busy(scheduler, model)
        feeds = [
            {"x": np.full((count, width), number, dtype)}
            for number, (count, dtype, width) in enumerate(jobs, 20)
        ]
        waiting = [scheduler.submit(feed, later()) for feed in feeds]
        model.gate.set()
        await first
        for feed, ran in zip(feeds, await asyncio.gather(*waiting), strict=True):
            assert ran.outputs[0].dtype == feed["x"].dtype
            np.testing.assert_array_equal(ran.outputs[0], feed["x"] * 2)
        for dtype, (count, width) in shapes[1:]:
            assert count <= max_rows or (count, dtype, width) in jobs
        for kind in {(dtype, width) for _, dtype, width in jobs}:
            run_rows = sum(shape[0] for dtype, shape in shapes[1:] if (dtype, shape[1]) == kind)
            assert run_rows == sum(count for count, dtype, width in jobs if (dtype, width) == kind)

    run(work, remembering, max_rows)


def test_a_bad_request_does_not_hurt_its_neighbours():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(value), later()) for value in (1, 13, 2, 14, 3)]
        model.gate.set()
        await first
        one, bad, two, broken, three = await asyncio.gather(*waiting, return_exceptions=True)
        assert [ran.outputs[0].item() for ran in (one, two, three)] == [2, 4, 6]
        assert isinstance(bad, InvalidInput)
        assert type(broken) is ServingError
        assert str(broken) == "model m/1 failed: RuntimeError"

    run(work, model)


def test_inputs_of_unequal_rows_never_shift_a_neighbours():
    """Two that cancel each other out in the sum of the rows must not frame a third."""
    model = Gated()

    def add(feeds, names):
        model.entered.set()
        assert model.gate.wait(20)
        return [feeds["a"] + feeds["b"]]

    add.gate = model.gate

    def pair(a, b):
        return {"a": np.array(a, "f4"), "b": np.array(b, "f4")}

    async def work(scheduler):
        first = scheduler.submit(pair([0], [0]), later())
        await asyncio.to_thread(model.entered.wait, 20)
        odd = [pair([1], []), pair([], [1])]
        victim = pair([10, 20], [1, 2])
        waiting = [scheduler.submit(feeds, later()) for feeds in (odd[0], victim, odd[1])]
        model.gate.set()
        await first
        _, ran, _ = await asyncio.gather(*waiting, return_exceptions=True)
        assert ran.outputs[0].tolist() == [11, 22]

    run(work, add)


def test_outputs_that_do_not_follow_the_rows_are_not_cut_into_pieces():
    model = Gated()

    def total(feeds, names):
        model(feeds, names)
        return [feeds["x"].sum(keepdims=True)]

    total.gate = model.gate

    async def work(scheduler):
        first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(*values), later()) for values in ((1, 2), (3, 4))]
        model.gate.set()
        await first
        assert [ran.outputs[0].item() for ran in await asyncio.gather(*waiting)] == [3, 7]

    run(work, total)


def test_the_queue_is_bounded():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(1), later()) for _ in range(3)]
        with pytest.raises(Unavailable, match=r"the queue of model m/1 is full \(3 waiting\)"):
            scheduler.submit(rows(1), later())
        model.gate.set()
        await asyncio.gather(first, *waiting)
        await scheduler.submit(rows(1), later())

    run(work, model, queue_limit=3)


def test_a_caller_that_leaves_gives_its_place_back_and_is_not_run():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        left = scheduler.submit(rows(1), later())
        left.cancel()
        await asyncio.sleep(0)
        assert scheduler.waiting == 0
        stays = scheduler.submit(rows(2), later())
        model.gate.set()
        await asyncio.gather(first, stays)
        assert model.runs == [1, 1]

    run(work, model, queue_limit=1)


def test_a_request_whose_time_is_up_is_answered_gives_its_place_back_and_is_not_run():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        with pytest.raises(DeadlineExceeded, match="m/1 did not answer in time"):
            await scheduler.submit(rows(1), later(0.001))
        assert scheduler.waiting == 0
        model.gate.set()
        await first
        await scheduler.submit(rows(1), later())
        assert model.runs == [1, 1]

    run(work, model, queue_limit=1)


def test_a_running_request_whose_time_is_up_is_answered_before_the_model_is_done():
    model = Gated()

    async def work(scheduler):
        running = scheduler.submit(rows(1), later(0.001))
        with pytest.raises(DeadlineExceeded):
            await running
        model.gate.set()
        assert (await scheduler.submit(rows(2), later())).outputs[0].item() == 4

    run(work, model)


def test_a_request_that_was_not_run_for_its_time_is_answered_also_where_the_loop_hears_of_that_first():
    """A loop that stalls over the deadline may have the thread's word before its own timer's."""
    model = Gated(opened=True)

    async def work(scheduler):
        late = scheduler.submit(rows(1), later(0.0))  # handed over at once, since no others join it
        while not scheduler._inbox.empty():  # the loop stalls until the thread has taken it
            time.sleep(0)  # noqa: ASYNC251  (as it is meant)
        with pytest.raises(DeadlineExceeded):
            await late
        assert model.runs == [], "it was not run"

    run(work, model, max_rows=1)


def test_closing_finishes_what_waits_and_refuses_what_comes():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(number), later()) for number in range(12)]
        closing = asyncio.ensure_future(scheduler.close())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="is being unloaded"):
            scheduler.submit(rows(1), later())
        model.gate.set()
        await closing
        rans = await asyncio.gather(first, *waiting)
        assert [ran.outputs[0].item() for ran in rans[1:]] == [2 * number for number in range(12)]

    run(work, model)


# ------------------------------------------------------------------ batches grow with the load


def test_what_arrives_together_runs_together_though_the_thread_is_free():
    model = Gated(opened=True)

    async def work(scheduler):
        await asyncio.gather(*(scheduler.submit(rows(number), later()) for number in range(5)))
        assert model.runs == [5]

    run(work, model)


def test_clients_that_ask_again_when_they_are_answered_fill_the_next_batch():
    model = Gated(opened=True)

    async def work(scheduler):
        async def client():
            for number in range(10):
                ran = await asyncio.create_task(answer(scheduler, number))
                assert ran.outputs[0].item() == 2 * number

        async def answer(scheduler, number):
            return await scheduler.submit(rows(number), later())

        await asyncio.gather(*(client() for _ in range(6)))
        assert model.runs == [6] * 10

    run(work, model)


def test_those_who_ask_again_a_little_later_are_waited_for(monkeypatch):
    monkeypatch.setattr("serving.models.scheduler.PATIENCE", 1e9)
    model = Gated(opened=True)

    async def work(scheduler):
        async def client(turns):
            for number in range(3):
                await scheduler.submit(rows(number), later())
                for _ in range(turns):
                    await asyncio.sleep(0)

        await asyncio.gather(client(0), client(40))
        assert model.runs == [2, 2, 2]

    run(work, model)


def test_one_who_comes_after_many_is_not_kept_waiting_for_them():
    model = Gated(opened=True)

    async def work(scheduler):
        await asyncio.gather(*(scheduler.submit(rows(number), later()) for number in range(5)))
        await scheduler.submit(rows(1), later())
        assert model.runs == [5, 1]

    run(work, model)


def test_a_full_batch_goes_ahead_and_only_one():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(number), later()) for number in range(20, 40)]
        assert [len(batch) for batch in scheduler._handed] == [1, 8]
        assert scheduler.waiting == 20
        model.gate.set()
        await asyncio.gather(first, *waiting)
        assert model.runs == [1, 8, 8, 4]

    run(work, model)


def test_what_is_given_up_while_its_batch_lies_ready_is_not_run():
    model = Gated()

    async def work(scheduler):
        first = await busy(scheduler, model)
        ready = [scheduler.submit(rows(number), later(0.001 if number < 3 else 60)) for number in range(8)]
        ready[7].cancel()
        for late in ready[:3]:
            with pytest.raises(DeadlineExceeded):
                await late
        model.gate.set()
        await asyncio.gather(first, *ready[3:7])
        assert model.runs == [1, 4]

    run(work, model)


def test_each_deadline_is_kept_though_one_timer_watches_all():
    model = Gated()

    async def work(scheduler):
        await busy(scheduler, model)
        limits = (0.05, 0.02, 60, 0.001, 0.035)
        waiting = [scheduler.submit(rows(1), later(seconds)) for seconds in limits]
        for seconds, future in zip(limits, waiting, strict=True):
            if seconds < 60:
                with pytest.raises(DeadlineExceeded):
                    await future
        assert [future.done() for future in waiting] == [seconds < 60 for seconds in limits]

    run(work, model)


# ------------------------------------------------------------------ several models in a process


def test_the_backlog_of_one_model_does_not_hold_up_another():
    """Two real models: one has seconds of work before it, the other answers one after the other."""

    def session(width):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(linear(width, width), options)

    def model(width):
        run = session(width).run
        return lambda feeds, names: run(list(names), dict(feeds))

    async def work():
        heavy = Scheduler("heavy/1", model(1024), ("y",), 1, 1, 1000)
        light = Scheduler("light/1", model(16), ("y",), 1, 8, 100)
        many, one = np.ones((256, 1024), np.float32), np.ones((1, 16), np.float32)
        backlog = [heavy.submit({"x": many}, later()) for _ in range(900)]
        await backlog[0]
        for _ in range(20):
            await light.submit({"x": one}, later())
        left = heavy.waiting
        for future in backlog:
            future.cancel()
        await heavy.close()
        await light.close()
        assert left > 450

    asyncio.run(work())


def test_who_would_not_be_answered_in_time_is_refused_at_once_but_never_by_a_free_thread():
    model = Gated()

    async def work(scheduler):
        scheduler._run_seconds = 1.0
        first = await busy(scheduler, model)  # though it may take longer than it has
        with pytest.raises(Unavailable, match="too long to be answered in time"):
            scheduler.submit(rows(1), later(2.0))  # one runs, then itself: 2.5 s with the margin
        second = scheduler.submit(rows(1), later(3.0))
        with pytest.raises(Unavailable, match="too long"):
            scheduler.submit(rows(2), later(3.0))
        model.gate.set()
        await asyncio.gather(first, second)
        for _ in range(50):  # runs that are quick correct the estimate
            await scheduler.submit(rows(1), later(5.0))
        assert scheduler._run_seconds < 0.01

    run(work, model, max_rows=1)


def test_what_the_thread_did_is_told_by_full_batches_and_who_is_refused_is_counted():
    model = Gated()

    async def work(scheduler):
        await_first = await busy(scheduler, model)
        waiting = [scheduler.submit(rows(value), later()) for value in (1, 2)]
        assert scheduler.queue_share == 1.0
        with pytest.raises(Unavailable, match="full"):
            scheduler.submit(rows(3), later())
        assert scheduler.refused == 1
        assert scheduler.work_seconds == 0.0
        model.gate.set()
        results = [await future for future in (await_first, *waiting)]
        assert scheduler.queue_share == 0.0
        spent = {result.compute_seconds for result in results}
        assert 0.0 < scheduler.work_seconds <= sum(spent) + 1.0

    run(work, model, queue_limit=2)
