"""Which answered requests go to a sandbox: sinks in front of its channel."""

from random import random

from router.answered import Answered
from router.mirror.channel import ShadowChannel
from serving.clock import clock
from serving.wire.message import Reply


class Mirror:
    """Sends on a share of stable's answers, to be compared.

    Args:
        channel: to the sandbox.
        share: 0 to 1.
    """

    __slots__ = ("_channel", "_share")

    def __init__(self, channel: ShadowChannel, share: float) -> None:
        self._channel = channel
        self._share = share

    def offer(self, answered: Answered) -> None:
        """As `Sink`."""
        if answered.role == "stable" and type(answered.outcome) is Reply:
            share = self._share
            if share >= 1.0 or random() < share:  # noqa: S311  (sampling, not secrecy)
                self._channel.offer(answered)


class Timing:
    """Sends on one of stable's answered requests each `seconds`, to time the canary beside it."""

    __slots__ = ("_channel", "_next", "_seconds")

    def __init__(self, channel: ShadowChannel, seconds: float) -> None:
        self._channel = channel
        self._seconds = seconds
        self._next = 0.0

    def offer(self, answered: Answered) -> None:
        """As `Sink`."""
        if answered.role == "stable" and type(answered.outcome) is Reply:
            now = clock()
            if now >= self._next:
                self._next = now + self._seconds
                self._channel.offer(answered)
