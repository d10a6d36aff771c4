"""What httpx raises -> errors of ours, which say whether anything was sent."""

import httpx

from understudy_client.errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidAnswer,
    TimedOut,
    UnderstudyError,
)


def error_of(error: httpx.HTTPError, url: str, seconds: float) -> UnderstudyError:
    """The error that stands for one of httpx.

    Args:
        error: what it raised.
        url: of the server.
        seconds: that the call may take.
    """
    said = str(error) or type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            return ConnectionFailed(f"no connection to {url}: {said}")
        case httpx.PoolTimeout():
            return TimedOut(f"no connection was free within {seconds:g} s; give the client more of them")
        case httpx.TimeoutException():
            return late(url, seconds)
        case httpx.DecodingError():
            return InvalidAnswer(f"the answer of {url} is not coded as it says: {said}")
        case _:
            return ConnectionLost(f"the connection to {url} ended before the answer was whole: {said}")


def late(url: str, seconds: float) -> TimedOut:
    """The time of a call is over."""
    return TimedOut(f"no answer of {url} within {seconds:g} s")
