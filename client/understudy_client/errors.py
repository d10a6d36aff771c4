"""What can go wrong, each of a kind.

Law: an error says whether the request may have been worked on. `InvalidData` and `ConnectionFailed`: nothing
was sent. `ConnectionLost`, `TimedOut` and `InvalidAnswer`: nobody knows. A `StatusError`: the server
answered, in the words that the error has.
"""

from understudy_client.taken import OutcomesTaken


class UnderstudyError(Exception):
    """Base of all errors of this package.

    Attributes:
        taken: of outcomes, what had become of the batches before; None elsewhere. Telling all of them again
            does no harm: each counts once.
    """

    taken: OutcomesTaken | None = None


class InvalidData(UnderstudyError, ValueError):
    """What was given is not what the model, or the protocol, takes; nothing was sent."""


class ConnectionFailed(UnderstudyError, ConnectionError):
    """There is no connection to the server; nothing was sent."""


class ConnectionLost(UnderstudyError, ConnectionError):
    """The connection ended before an answer was whole; the request may have been worked on."""


class TimedOut(UnderstudyError, TimeoutError):
    """The time for the call is over; the request may have been worked on."""


class InvalidAnswer(UnderstudyError):
    """The answer is none of the protocol."""


class NoReceipt(UnderstudyError):
    """The answer has no receipt, so nothing can be told about it."""


class OutcomeLeftOut(UnderstudyError):
    """An outcome was not taken.

    Attributes:
        reason: why, in one word; docs/outcomes.md has what each means.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class StatusError(UnderstudyError):
    """The server answered with an error; `str()` is its text.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which the server may be asked again; None where it does not say.
        receipt: of the answer that was none; outcomes may be told about it, too.
        request_id: as it was given.
    """

    def __init__(
        self,
        text: str,
        status: int,
        *,
        retry_after: float | None = None,
        receipt: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.receipt = receipt
        self.request_id = request_id


class InvalidRequest(StatusError):
    """400, 413 and 422: the server does not take this request; sending it again does not help."""


class Unauthenticated(StatusError):
    """401: no API key, or not a valid one."""


class Forbidden(StatusError):
    """403: not for this client."""


class NotFound(StatusError):
    """404: no such model or version."""


class TooManyRequests(StatusError):
    """429: more than this client may ask."""


class ModelFailed(StatusError):
    """500: the model, or the server, failed."""


class NotOffered(StatusError):
    """501: the server does not offer what was asked for."""


class BadGateway(StatusError):
    """502: the answer of the model behind the server cannot be used."""


class Unavailable(StatusError):
    """503: not now. Where `retry_after` is given it may be sent again."""


class DeadlineExceeded(StatusError):
    """504: the server's own time limit passed."""


OF_STATUS: dict[int, type[StatusError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    413: InvalidRequest,
    422: InvalidRequest,
    429: TooManyRequests,
    500: ModelFailed,
    501: NotOffered,
    502: BadGateway,
    503: Unavailable,
    504: DeadlineExceeded,
}
"""Which error a status becomes; any other is a plain `StatusError`."""
