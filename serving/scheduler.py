"""Running a model off the event loop: a thread, a bounded queue, and batches made of what waits.

Law: the thread never waits for a batch to fill. When it becomes free it takes what is queued, up to the
largest batch, so batches grow with the load and a lone request is never delayed. Requests are batched
only with requests of the same datatypes and row shapes. A request whose deadline passed, or whose caller
left, is not run.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.errors import DeadlineExceeded, ServingError, Unavailable

Arrays = Mapping[str, npt.NDArray[np.generic]]
Run = Callable[[Arrays, Sequence[str]], list[npt.NDArray[np.generic]]]


@dataclass(frozen=True, slots=True)
class Ran:
    """What one request got: its outputs, in the order of the model, and where its time went.

    Attributes:
        compute_seconds: the run of the whole batch it was in.
        rows: rows of that batch; 0 when the model does not batch.
        first: whether it was the first request of its batch, so that batches can be counted.
    """

    outputs: list[npt.NDArray[np.generic]]
    queue_seconds: float
    compute_seconds: float
    rows: int
    first: bool


class _Job:
    __slots__ = ("deadline", "feeds", "future", "key", "queued", "rows", "taken")

    def __init__(self, feeds: Arrays, rows: int, deadline: float, future: "asyncio.Future[Ran]") -> None:
        self.feeds = feeds
        self.rows = rows
        self.deadline = deadline
        self.future = future
        self.queued = time.perf_counter()
        self.taken = False
        self.key: object = object()  # equal to no other: inputs of unequal rows would shift their neighbours'
        if len({array.shape[:1] for array in feeds.values()}) == 1:
            self.key = tuple(
                (name, array.dtype.str, array.shape[1:]) for name, array in sorted(feeds.items())
            )


class Scheduler:
    """One model's thread and queue.

    Args:
        run: called in the thread with feeds and the names of all outputs.
        output_names: every output of the model.
        max_rows: the largest batch; 1 runs each request by itself.
        queue_limit: requests that may wait; one more is refused.
    """

    def __init__(
        self, name: str, run: Run, output_names: Sequence[str], max_rows: int, queue_limit: int
    ) -> None:
        self._name = name
        self._run = run
        self._output_names = output_names
        self._max_rows = max_rows
        self._queue_limit = queue_limit
        self._queue: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name=f"model {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

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
        if len(self._queue) >= self._queue_limit:
            raise Unavailable(f"the queue of model {self._name} is full ({self._queue_limit} waiting)")
        rows = next(iter(feeds.values())).shape[0] if self._max_rows > 1 else 1
        future: asyncio.Future[Ran] = self._loop.create_future()
        job = _Job(feeds, rows, deadline, future)
        timer = self._loop.call_later(deadline - job.queued, self._expire, future)
        future.add_done_callback(lambda _: self._settled(job, timer))
        with self._wake:
            self._queue.append(job)
            self._wake.notify()
        return future

    def _settled(self, job: _Job, timer: asyncio.TimerHandle) -> None:
        """Its answer is there, its time is up, or its caller left: then its place in the queue is free."""
        timer.cancel()
        if not job.taken:
            with self._wake, suppress(ValueError):
                self._queue.remove(job)

    async def close(self) -> None:
        """Refuse new requests, finish those queued, end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _expire(self, future: "asyncio.Future[Ran]") -> None:
        if not future.done():
            future.set_exception(DeadlineExceeded(f"model {self._name} did not answer in time"))

    # ------------------------------------------------------------------ in the thread

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._queue:
                    if self._closed:
                        return
                    self._wake.wait()
                batch = self._take()
            results = self._run_batch(batch)
            self._loop.call_soon_threadsafe(self._deliver, batch, results)

    def _take(self) -> list[_Job]:
        """The first live job, and those behind it that fit into its batch; order is kept."""
        now = time.perf_counter()
        batch: list[_Job] = []
        passed: list[_Job] = []
        rows = 0
        while self._queue and rows < self._max_rows:
            job = self._queue.popleft()
            job.taken = True
            if job.future.done() or job.deadline < now:
                continue  # its timer answers it
            if batch and (job.key != batch[0].key or rows + job.rows > self._max_rows):
                job.taken = False
                passed.append(job)
                if len(passed) >= self._max_rows:
                    break
                continue
            batch.append(job)
            rows += job.rows
        self._queue.extendleft(reversed(passed))
        return batch

    def _run_batch(self, batch: list[_Job]) -> "list[Ran | ServingError]":
        if len(batch) <= 1:
            return [self._run_one(job) for job in batch]
        began = time.perf_counter()
        try:
            feeds = {name: np.concatenate([job.feeds[name] for job in batch]) for name in batch[0].feeds}
            outputs = self._run(feeds, self._output_names)
        except Exception:  # noqa: BLE001  (one request's fault must not become its neighbours')
            return [self._run_one(job) for job in batch]
        seconds = time.perf_counter() - began
        rows = sum(job.rows for job in batch)
        if any(output.shape[:1] != (rows,) for output in outputs):
            return [self._run_one(job) for job in batch]
        results: list[Ran | ServingError] = []
        start = 0
        for job in batch:
            part = [output[start : start + job.rows] for output in outputs]
            results.append(Ran(part, began - job.queued, seconds, rows, job is batch[0]))
            start += job.rows
        return results

    def _run_one(self, job: _Job) -> "Ran | ServingError":
        began = time.perf_counter()
        try:
            outputs = self._run(job.feeds, self._output_names)
        except ServingError as error:
            return error
        except Exception as error:  # noqa: BLE001  (crosses threads as a value)
            return ServingError(f"model {self._name} failed: {type(error).__name__}")
        rows = job.rows if self._max_rows > 1 else 0
        return Ran(outputs, began - job.queued, time.perf_counter() - began, rows, True)

    # ------------------------------------------------------------------ back on the event loop

    def _deliver(self, batch: list[_Job], results: "list[Ran | ServingError]") -> None:
        for job, result in zip(batch, results, strict=True):
            if job.future.done():
                continue
            if isinstance(result, Ran):
                job.future.set_result(result)
            else:
                job.future.set_exception(result)
