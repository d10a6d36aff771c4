"""Handlers and layers: what answers inference requests, and what stands in front of it. Pure.

Law: a layer forgets nothing. Whatever the handler below it can do (answer one call, answer several in a
shared run, have calls wait for the end of a turn), it passes on; and of each call that it was told of it is
told the end once: the answer, the failure, or that the client left. A call that a layer or a door refuses is
told, once, to the handlers behind it: what keeps what clients were answered need not stand in front of all.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from serving.clock import clock
from serving.errors import DeadlineExceeded
from serving.wire.message import Call, Outcome, Reply

CLIENT_LEFT = 499
"""nginx's status for a client that did not wait for its answer."""
DEADLINE_SLACK_SECONDS = 0.02
"""A client whose clock says that its deadline has passed may be heard of so much before ours says so."""

Token = TypeVar("Token")


class Handler(Protocol):
    """Answers the calls of one endpoint."""

    joins: bool
    """Whether several calls may share a run, so that they may wait for one another within a turn."""

    def one(self, call: Call) -> Reply | Awaitable[Reply]:
        """Answer a call: at once, or later.

        Raises:
            ServingError: an expected failure.
        """

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """Answer calls that came at the same time, each as `one` would; what it would raise, it gives."""

    def refused(self, call: Call, failure: Exception) -> None:
        """A call for this handler was refused in front of it. It must not raise.

        Args:
            call: has no body where that was not read; then it arrived when its head began to.
            failure: that its client is answered with.
        """


class Unconcerned:
    """Of a handler that does nothing about calls which others refused."""

    def refused(self, call: Call, failure: Exception) -> None:
        """As `Handler`."""


class Single(Unconcerned):
    """A handler that answers each call by itself.

    Args:
        answer: its `one`.
    """

    joins = False

    def __init__(self, answer: Callable[[Call], Reply | Awaitable[Reply]]) -> None:
        self.one = answer

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Handler`."""
        return each(self.one, calls)


class AsItCame(Single):
    """A `Single` that is given bodies with their content coding, for somebody else to undo."""


def each(one: Callable[[Call], Reply | Awaitable[Reply]], calls: Sequence[Call]) -> list[Outcome]:
    """What becomes of calls that share nothing."""
    outcomes: list[Outcome] = []
    for call in calls:
        try:
            outcomes.append(one(call))
        except Exception as error:  # noqa: BLE001  (stands for the answer)
            outcomes.append(error)
    return outcomes


class Layer(Generic[Token]):
    """A handler in front of another one; each kind says what it does when a call begins and when it ends.

    Args:
        inner: answers.
    """

    def __init__(self, inner: Handler) -> None:
        self.inner = inner
        self.joins = inner.joins

    def began(self, call: Call) -> Token | None:
        """A call came.

        Returns:
            For `ended`; None not to be told the end of this call, which then costs nothing more.

        Raises:
            ServingError: the call is refused here. It is passed on as such only, and `ended` is not called.
        """
        raise NotImplementedError

    def ended(self, call: Call, token: Token, outcome: Reply | BaseException) -> None:
        """A call that began here has ended. It must not raise.

        Args:
            call: the one of `began`.
            token: what `began` gave.
            outcome: the answer, to which header lines may be added; the failure, also `Lapsed`; or, no
                `Exception`, what ended a call whose client had left.
        """
        raise NotImplementedError

    def one(self, call: Call) -> Reply | Awaitable[Reply]:
        """As `Handler`."""
        try:
            token = self.began(call)
        except Exception as error:
            self.inner.refused(call, error)
            raise
        if token is None:
            return self.inner.one(call)
        try:
            outcome = self.inner.one(call)
        except Exception as error:
            self.ended(call, token, error)
            raise
        if type(outcome) is Reply:
            self.ended(call, token, outcome)
            return outcome
        return self._follow(call, token, outcome)

    def many(self, calls: Sequence[Call]) -> list[Outcome]:
        """As `Handler`."""
        outcomes: list[Any] = []
        passed: list[Call] = []
        told: list[tuple[int, Call, Token | None]] = []
        for call in calls:
            try:
                token = self.began(call)
            except Exception as error:  # noqa: BLE001  (stands for the answer)
                self.inner.refused(call, error)
                outcomes.append(error)
                continue
            told.append((len(outcomes), call, token))
            outcomes.append(None)
            passed.append(call)
        for (place, call, token), outcome in zip(told, self._inner_many(passed), strict=True):
            outcomes[place] = outcome if token is None else self._seen(call, token, outcome)
        return outcomes

    def refused(self, call: Call, failure: Exception) -> None:
        """As `Handler`."""
        self.inner.refused(call, failure)

    def _inner_many(self, calls: list[Call]) -> list[Outcome]:
        try:
            return self.inner.many(calls) if calls else []
        except Exception as error:  # noqa: BLE001  (told to each of them)
            return [error] * len(calls)

    def _seen(self, call: Call, token: Token, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Reply | Exception):
            self.ended(call, token, outcome)
            return outcome
        return self._follow(call, token, outcome)

    def _follow(self, call: Call, token: Token, outcome: Awaitable[Reply]) -> Awaitable[Reply]:
        """What is under way, with this layer told of its end."""
        watch = getattr(outcome, "add_done_callback", None)
        if watch is None:
            return _Followed(outcome, lambda end: self.ended(call, token, what_ended(call, end)))
        # A future, or a coroutine that drives itself (router.hop.driven): no further hop.
        watch(lambda done: self.ended(call, token, what_ended(call, _end_of(done))))
        return outcome


class _Followed(Coroutine[Any, Any, Reply]):
    """A coroutine under way whose end is told once, also when it is cancelled before it ran at all."""

    def __init__(self, inner: Awaitable[Reply], tell: Callable[[Reply | BaseException], None]) -> None:
        self._steps: Any = inner.__await__()
        self._tell: Callable[[Reply | BaseException], None] | None = tell

    def _end(self, outcome: Reply | BaseException) -> None:
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(outcome)

    def send(self, value: Any) -> Any:
        """As a coroutine's."""
        return self._step(self._steps.send, value)

    def throw(self, *error: Any) -> Any:
        """As a coroutine's."""
        return self._step(self._steps.throw, *error)

    def _step(self, step: Callable[..., Any], *given: Any) -> Any:
        try:
            return step(*given)
        except StopIteration as end:
            self._end(end.value)
            raise
        except BaseException as error:
            self._end(error)
            raise

    def close(self) -> None:
        """As a coroutine's."""
        self._steps.close()
        self._end(GeneratorExit())

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.send(None)


class Lapsed(DeadlineExceeded):
    """The deadline of a call has passed: its client has been told so, or has said so, and hears no more."""


Ended = TypeVar("Ended", Reply, BaseException, Reply | BaseException)


def what_ended(call: Call, outcome: Ended) -> Ended | Lapsed:
    """How a call ended: as it did, or by its deadline, where it was cancelled when that had passed."""
    if call.deadline is None or isinstance(outcome, Reply | Exception):
        return outcome
    late = clock() >= call.deadline - DEADLINE_SLACK_SECONDS
    return Lapsed("the deadline of the call has passed") if late else outcome


def _end_of(done: Any) -> Reply | BaseException:
    """How a future ended."""
    try:
        reply: Reply = done.result()
    except BaseException as error:  # noqa: BLE001  (told, not raised)
        return error
    return reply


def status_of(outcome: Reply | BaseException) -> int:
    """The status that the client of a call was, or would have been, answered with."""
    if type(outcome) is Reply:
        return outcome.status
    return getattr(outcome, "status", 500) if isinstance(outcome, Exception) else CLIENT_LEFT
