"""Coroutines driven without a task: what waits for one reply of a target needs no scheduler.

Law: `Driven` runs its coroutine at once, up to the first future that is not done, and goes on inside the
very call that completes a `Signal`, or in the loop's next round after any other future; whoever waits for
it is called inside the call that ends it. A request so costs neither a task nor a turn of the event loop,
and its answer is written before what it left for the next turn, as a mirrored request, is begun.

Inside such a coroutine there is no current task: it may await futures and coroutines, but not use
`asyncio.timeout`. Deadlines are those of the futures.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Signal(asyncio.Future[T]):
    """A future that whoever completes it may have watched: `watcher` is called at once, callbacks later."""

    __slots__ = ("watcher",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.watcher: Callable[[asyncio.Future[Any]], None] | None = None

    def tell(self) -> None:
        """To be called after the future was completed or cancelled."""
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher(self)


class Driven(Generic[T]):
    """A coroutine under way, to be awaited once or watched by callbacks; as a future to `ensure_future`.

    Args:
        coroutine: run until its first wait inside the constructor.
    """

    __slots__ = ("_callbacks", "_cancelling", "_coroutine", "_done", "_error", "_result", "_waiting")

    _asyncio_future_blocking = False  # what asyncio.isfuture looks for

    def __init__(self, coroutine: Coroutine[Any, None, T]) -> None:
        self._coroutine = coroutine
        self._callbacks: list[Callable[[Any], None]] = []
        self._waiting: asyncio.Future[Any] | None = None
        self._cancelling = self._done = False
        self._result: T
        self._error: BaseException | None = None
        self._step(None)

    # ------------------------------------------------------------------ as a future's

    def done(self) -> bool:
        """Whether the coroutine has ended."""
        return self._done

    def cancelled(self) -> bool:
        """Whether it ended by being cancelled."""
        return isinstance(self._error, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        """What it raised; raised again if that is its being cancelled."""
        if self.cancelled():
            raise self._error  # type: ignore[misc]
        return self._error

    def result(self) -> T:
        """What it returned; what it raised is raised."""
        if self._error is not None:
            raise self._error
        return self._result

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back with this when the coroutine ends, inside the call that ends it; now, if it has."""
        if self._done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def cancel(self) -> bool:
        """Throw CancelledError in where the coroutine waits; False when it has ended."""
        if self._done:
            return False
        waiting = self._waiting
        if waiting is None or not waiting.cancel():
            self._cancelling = True  # it is about to go on, and will do so with the error
        return True

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            ended = asyncio.Event()
            self.add_done_callback(lambda _: ended.set())
            try:
                yield from ended.wait().__await__()
            except asyncio.CancelledError:
                self.cancel()
                raise
        return self.result()

    # ------------------------------------------------------------------ driving

    def _step(self, error: BaseException | None) -> None:
        try:
            waits = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration as end:
            self._result = end.value
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  (for whoever waits for it)
            self._error = raised
        else:
            self._wait(waits)
            return
        self._done = True
        for callback in self._callbacks:
            callback(self)

    def _wait(self, waits: "asyncio.Future[Any] | None") -> None:
        if waits is None:  # asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(self._wake, None)
            return
        waits._asyncio_future_blocking = False  # noqa: SLF001  (how a future knows that it is awaited)
        self._waiting = waits
        if isinstance(waits, Signal):
            waits.watcher = self._wake
        else:
            waits.add_done_callback(self._wake)

    def _wake(self, _: object) -> None:
        self._waiting = None
        if self._cancelling:
            self._cancelling = False
            self._step(asyncio.CancelledError())
        else:
            self._step(None)
