"""What can go wrong with a request or a model, each with the HTTP status that says so.

Nothing here knows a web framework: `serving.http.connection` is the one place where these become responses.
The text of an error is shown to clients; it names the place of the fault and holds no path of this machine.
"""


class ServingError(Exception):
    """Base of all expected failures; on its own, a fault of ours."""

    status = 500
    retry_after_seconds: int | None = None


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

    status = 400


class Forbidden(ServingError):
    """Not for whoever asks."""

    status = 403


class NotFound(ServingError):
    """No such model, version or endpoint."""

    status = 404


class Conflict(ServingError):
    """It cannot be done as things stand; what was there before stays."""

    status = 409


class TooLarge(ServingError):
    """A body, or what it inflates to, exceeds the limit."""

    status = 413


class Unsupported(ServingError):
    """Valid by the protocol, but not offered here."""

    status = 501


class BadGateway(ServingError):
    """A target's answer cannot be used: garbage, cut short, or not of the model's signature."""

    status = 502


class Unavailable(ServingError):
    """Not now: loading, draining, full, or every target down. Safe to send again later."""

    status = 503
    retry_after_seconds = 1


class DeadlineExceeded(ServingError):
    """The time the request was given ran out before it was answered."""

    status = 504


class InvalidModel(ServingError):
    """A model on disk that cannot be served: corrupt, over its limits, or of an unsupported kind."""

    status = 400
