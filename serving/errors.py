"""What can go wrong with a request or a model, each of a kind.

Nothing here knows a web framework: `serving.http.replies` is the one place where these become responses. A
door of another protocol has a table of kinds of its own; counts and logs say all of them by HTTP's numbers.
The text of an error is shown to clients; it names the place of the fault and holds no path of this machine.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, TypeVar

Kind = Literal[
    "failed", "invalid", "unauthenticated", "forbidden", "not_found", "client_too_slow", "conflict", "stale",
    "too_large", "unprocessable", "too_many", "not_offered", "bad_answer", "unavailable", "too_late",
]  # fmt: skip

HTTP_STATUS: dict[Kind, int] = {
    "failed": 500,
    "invalid": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "client_too_slow": 408,
    "conflict": 409,
    "stale": 412,
    "too_large": 413,
    "unprocessable": 422,
    "too_many": 429,
    "not_offered": 501,
    "bad_answer": 502,
    "unavailable": 503,
    "too_late": 504,
}
"""What HTTP calls each kind: below 500 it is the client's fault."""


class ServingError(Exception):
    """Base of all expected failures; on its own, a fault of ours."""

    kind: Kind = "failed"
    retry_after_seconds: int | None = None

    @property
    def status(self) -> int:
        """HTTP's number of its kind."""
        return HTTP_STATUS[self.kind]


class ModelFailed(ServingError):
    """A model failed for a reason of its own, or of the machine's.

    Attributes:
        reason: why, for the log; without what a client sent.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class InvalidInput(ServingError):
    """The client's request or document is wrong; sending it again will not help."""

    kind = "invalid"


class Faulty(InvalidInput):
    """Something that is wrong in one place or in several; `str()` is a line for each."""

    _faults: tuple[Self, ...] = ()

    @property
    def faults(self) -> tuple[Self, ...]:
        """An error for each place; of one place it is this one."""
        return self._faults or (self,)


F = TypeVar("F", bound=Faulty)


def as_one(errors: Iterable[F]) -> F:
    """One error with all faults of these, of which there is at least one; in all else it is as the first."""
    first, *others = faults = [fault for error in errors for fault in error.faults]
    if not others:
        return first
    whole = type(first).__new__(type(first))
    whole.args = ("\n".join(map(str, faults)),)
    vars(whole).update(vars(first), _faults=tuple(faults))
    return whole


class Unauthenticated(ServingError):
    """Whoever asks has not said who that is, or not so that it can be believed."""

    kind = "unauthenticated"


class Forbidden(ServingError):
    """Not for whoever asks."""

    kind = "forbidden"


class NotFound(ServingError):
    """No such model, version or endpoint."""

    kind = "not_found"


class ClientTooSlow(ServingError):
    """The client did not send its request in time."""

    kind = "client_too_slow"


class Conflict(ServingError):
    """It cannot be done as things stand; what was there before stays."""

    kind = "conflict"


class TooLarge(ServingError):
    """A body, or what it inflates to, exceeds the limit."""

    kind = "too_large"


class TooMany(ServingError):
    """More was asked than this client may.

    Args:
        text: as of any error.
        retry_after_seconds: when the client may ask again.
    """

    kind = "too_many"

    def __init__(self, text: str, retry_after_seconds: int) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Unsupported(ServingError):
    """Valid by the protocol, but not offered here."""

    kind = "not_offered"


class BadGateway(ServingError):
    """A target's answer cannot be used: garbage, cut short, or not of the model's signature."""

    kind = "bad_answer"


class Unavailable(ServingError):
    """Not now: loading, draining, full, or every target down. Safe to send again later."""

    kind = "unavailable"
    retry_after_seconds = 1


class DeadlineExceeded(ServingError):
    """The time the request was given ran out before it was answered."""

    kind = "too_late"


class InvalidModel(ServingError):
    """A model on disk that cannot be served: corrupt, over its limits, or of an unsupported kind."""

    kind = "invalid"


def fault_in_words(fault: Mapping[str, Any]) -> str:
    """One of the faults that pydantic's `ValidationError` lists: its place, if it has one, and what it is."""
    place = ".".join(map(str, fault["loc"]))
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
