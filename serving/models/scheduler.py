"""Running a model off the event loop: a thread, a bounded queue, and batches made of what waits.

Law: nothing waits for a batch to fill while there is nothing to do. A free thread gets what waits once the
event loop has come round: the answers of the batch before are written, and what has arrived meanwhile is
read. The loop works all that time, so that nothing idles on one core, and batches grow with the load; a lone
request is passed on at once. Only where fewer ask than have just been answered does the loop go round for the
others, for a hundredth of the time that their batch took. A batch that is full waits for none of this: one
lies ready behind the one that runs. A request whose deadline passed, or whose caller left, is not run.

All of it happens on the event loop but for the run itself, so there is nothing to lock: one handover into
the thread and one out of it for each batch.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from itertools import chain
from queue import SimpleQueue
from typing import NamedTuple

from serving.errors import DeadlineExceeded, ServingError, Unavailable
from serving.models.batches import Arrays, Batches, Run, join_key, rows_of, run_joined
from serving.models.pace import Pace
from serving.wire.tensors import Array

ANSWERING_TURNS = 4
"""Turns of the loop from a result to the answer on the wire and the next request in the queue: tasks wake,
their callbacks write, sockets are read, tasks start."""

PATIENCE = 0.01
"""Of the time that the last batch took: so long the loop goes round for those who have just been answered and
have not asked again."""

AHEAD = 2
"""Batches the thread has: the one that runs and, once it is full, the next."""

MARGIN = 1.25
"""More than a queue is expected to take: what is let in should be answered even if runs become slower."""

NEWEST_WEIGHT = 0.2
"""Of the latest run in the run time of late."""

_TIMER_SECONDS = 0.001  # the resolution of the loop's timers, which may fire that much early


class Ran(NamedTuple):
    """What one request got: its outputs, in the order of the model, and where its time went.

    Attributes:
        compute_seconds: the run of the whole batch it was in.
        rows: rows of that batch; 0 when the model does not batch.
        first: whether it was the first request of its batch, so that batches can be counted.
    """

    outputs: list[Array]
    queue_seconds: float
    compute_seconds: float
    rows: int
    first: bool


class _Job:
    __slots__ = ("deadline", "feeds", "future", "key", "queued", "rows", "taken")

    def __init__(
        self, feeds: Arrays, key: Hashable, rows: int, deadline: float, future: "asyncio.Future[Ran]"
    ) -> None:
        self.feeds = feeds
        self.key = key
        self.rows = rows
        self.deadline = deadline
        self.future = future
        self.queued = time.perf_counter()
        self.taken = False


class Scheduler:
    """One model's thread and queue.

    Args:
        run: called in the thread with feeds and the names of all outputs.
        output_names: every output of the model.
        inputs: how many a request has that gives no optional one.
        max_rows: the largest batch; 1 runs each request by itself.
        queue_limit: requests that may wait; one more is refused.
        rows_per_second: by rows of a batch, where that was measured.

    Attributes:
        work_seconds: of full batches, for what its thread did; grows by as much a second at most as passes.
        refused: requests, as more waited than can be answered.
    """

    def __init__(
        self,
        name: str,
        run: Run,
        output_names: Sequence[str],
        inputs: int,
        max_rows: int,
        queue_limit: int,
        rows_per_second: Mapping[int, float] | None = None,
    ) -> None:
        self._name = name
        self._run = run
        self._output_names = output_names
        self._inputs = inputs
        self._max_rows = max_rows
        self._queue_limit = queue_limit
        self._pace = Pace(max_rows, rows_per_second or {})
        self.work_seconds = 0.0
        self.refused = 0
        self._queue: Batches[_Job] = Batches(max_rows)
        self._handed: deque[list[_Job]] = deque()  # to the thread, and not back yet
        self._turns = 0  # of the loop, before the next batch is handed over
        self._turning = False
        self._waited = 0  # in the queue, when the loop last came round
        self._answered = 0  # requests of the last batch
        self._patience_seconds = 0.0
        self._run_seconds = 0.0  # of late
        self._patient_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._closed = False
        self._emptied = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._inbox: SimpleQueue[list[_Job] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"model {name}", daemon=True)
        self._thread.start()

    @property
    def max_rows(self) -> int:
        """Rows of the largest batch."""
        return self._max_rows

    @property
    def waiting(self) -> int:
        """Requests that do not run yet."""
        ahead = len(self._handed[1]) if len(self._handed) > 1 else 0
        return len(self._queue) + ahead

    @property
    def queue_share(self) -> float:
        """Of the requests that may wait those that do."""
        return self.waiting / self._queue_limit

    def submit(self, feeds: Arrays, deadline: float) -> "asyncio.Future[Ran]":
        """Queue one request; called on the event loop.

        Args:
            feeds: every input; one whose inputs differ in their number of rows runs by itself.
            deadline: on `time.perf_counter()`, in seconds.

        Raises:
            Unavailable: the queue is full, or the model is being taken down.
        """
        if self._closed:
            raise Unavailable(f"model {self._name} is being unloaded")
        if self.waiting >= self._queue_limit:
            self.refused += 1
            raise Unavailable(f"the queue of model {self._name} is full ({self._queue_limit} waiting)")
        if self._handed and time.perf_counter() + self._expected_seconds() > deadline:
            self.refused += 1
            raise Unavailable(f"the queue of model {self._name} is too long to be answered in time")
        joins = self._max_rows > 1
        rows, key = (rows_of(feeds), join_key(feeds, self._inputs)) if joins else (1, None)
        future: asyncio.Future[Ran] = self._loop.create_future()
        job = _Job(feeds, key, rows, deadline, future)
        future.add_done_callback(partial(self._settled, job))
        self._queue.add(job)
        if deadline < self._timer_at:
            self._watch(deadline)
        self._offer()
        return future

    def _expected_seconds(self) -> float:
        """How long one more request would take, with a margin: a run that ends too late helps nobody.

        Only asked while something runs, whose end corrects the estimate; a free thread refuses nothing.
        """
        runs = len(self._handed) + len(self._queue) // self._max_rows + 1
        return MARGIN * runs * self._run_seconds

    async def close(self) -> None:
        """Refuse new requests, finish those queued, end the thread."""
        self._closed = True
        if self._handed or self._queue:
            await self._emptied.wait()
        if self._timer is not None:
            self._timer.cancel()
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    # ------------------------------------------------------------------ to the thread and back

    def _offer(self) -> None:
        """Hand over the next batch if it is full, or see to it that the loop comes round first."""
        handed = len(self._handed)
        if handed < AHEAD and self._queue.full:
            self._hand_over()
        elif not handed and not self._turning:
            self._turning = True
            self._waited = len(self._queue)
            self._loop.call_soon(self._come_round)

    def _come_round(self) -> None:
        """One turn of the loop is over: go on while answers are on their way, or more is coming."""
        if self._handed:  # a full batch went ahead
            self._turning = False
            return
        now = time.perf_counter()
        waits = len(self._queue)
        grew, self._waited = waits > self._waited, waits
        if self._turns > 0 or grew:
            self._turns -= 1
            self._patient_until = now + self._patience_seconds
        elif waits >= self._answered or now >= self._patient_until or self._closed:
            self._turning = False
            if waits:
                self._hand_over()
            return
        self._loop.call_soon(self._come_round)

    def _hand_over(self) -> None:
        batch = self._queue.take()
        for job in batch:
            job.taken = True
        self._waited = 0
        self._handed.append(batch)
        self._inbox.put(batch)

    def _deliver(self, batch: list[_Job], results: "list[Ran | ServingError | None]", seconds: float) -> None:
        self._handed.popleft()
        for job, result in zip(batch, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, Ran):
                job.future.set_result(result)
            else:  # it was not run where its time was up, which the timer need not have said yet
                job.future.set_exception(result or self._too_late())
        self._answered, self._turns = len(batch), ANSWERING_TURNS
        self._patience_seconds = PATIENCE * seconds
        if any(result is not None for result in results):  # it did run
            self.work_seconds += self._pace.worth(sum(job.rows for job in batch), seconds)
            self._run_seconds += NEWEST_WEIGHT * (seconds - self._run_seconds)
        self._offer()
        self._check_emptied()

    # ------------------------------------------------------------------ what is not run

    def _settled(self, job: _Job, _: "asyncio.Future[Ran]") -> None:
        """Its answer is there, its time is up, or its caller left: then its place in the queue is free."""
        if not job.taken:
            job.taken = True
            self._queue.remove(job)
            self._check_emptied()

    def _check_emptied(self) -> None:
        if self._closed and not self._handed and not self._queue:
            self._emptied.set()

    def _watch(self, deadline: float) -> None:
        """Have one timer for all, at the earliest deadline there is."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_later(max(0.0, deadline - time.perf_counter()), self._expire)

    def _expire(self) -> None:
        now = time.perf_counter() + _TIMER_SECONDS
        earliest = math.inf
        for job in chain(self._queue, *self._handed):
            if job.future.done():
                continue
            if job.deadline <= now:
                job.future.set_exception(self._too_late())
            else:
                earliest = min(earliest, job.deadline)
        self._timer, self._timer_at = None, math.inf
        if earliest < math.inf:
            self._watch(earliest)

    def _too_late(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"model {self._name} did not answer in time")

    # ------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while (batch := self._inbox.get()) is not None:
            began = time.perf_counter()
            results = self._run_batch(batch)
            seconds = time.perf_counter() - began
            self._loop.call_soon_threadsafe(self._deliver, batch, results, seconds)
            del batch, results  # while it waits, it keeps nobody's data

    def _run_batch(self, batch: list[_Job]) -> "list[Ran | ServingError | None]":
        """A result for every job, in their order; None for those that need none any more."""
        began = time.perf_counter()
        live = [job for job in batch if job.deadline > began and not job.future.done()]
        results = self._run_joined(live, began) if len(live) > 1 else None
        if results is None:
            results = [self._run_one(job) for job in live]
        if len(live) == len(batch):
            return results
        by_job = dict(zip(live, results, strict=True))
        return [by_job.get(job) for job in batch]

    def _run_joined(self, jobs: list[_Job], began: float) -> "list[Ran | ServingError | None] | None":
        parts = run_joined(self._run, [job.feeds for job in jobs], self._output_names)
        if parts is None:
            return None
        seconds = time.perf_counter() - began
        rows = sum(job.rows for job in jobs)
        return [
            Ran(part, began - job.queued, seconds, rows, job is jobs[0])
            for job, part in zip(jobs, parts, strict=True)
        ]

    def _run_one(self, job: _Job) -> "Ran | ServingError":
        began = time.perf_counter()
        try:
            outputs = self._run(job.feeds, self._output_names)
        except ServingError as error:
            return error
        except Exception as error:  # noqa: BLE001  (crosses threads as a value)
            return ServingError(f"model {self._name} failed: {type(error).__name__}")
        rows = job.rows if self._max_rows > 1 else 0
        return Ran(outputs, began - job.queued, time.perf_counter() - began, rows, first=True)
