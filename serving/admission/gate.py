"""What each request passes at the public door before a handler sees it: a key, a rate, a wait.

Law: a request is refused before any work is done for it, and then counts as rejected and nowhere else, so
that what is turned away here is no evidence for or against a model. Where nothing is asked of requests there
is no gate at all (the endpoint's `gate` is None), and the way in costs one test.

A wait: requests on the event loop wait in the kernel until the loop gets round to them, where no queue of
ours bounds them. When the turns of the loop become long, the gate is put up, and requests that a turn has
not reached within `max_wait_seconds` are told to come back. That serves who can still be
served in time, rather than everyone too late (docs/decisions/0012-what-is-refused-at-the-door.md).
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from math import ceil
from typing import Any

from serving.admission.api_keys import ApiKeys
from serving.admission.guesses import Guesses
from serving.admission.rate_limit import Rates
from serving.clock import clock
from serving.errors import ServingError, TooMany, Unauthenticated, Unavailable
from serving.telemetry.cells import Counter, Family, Metrics

REJECTED = Family(
    "understudy_rejected",
    "counter",
    "Requests and connections turned away at a door: key, rate, wait, concurrency, connections, "
    "client_connections.",
    ("door", "reason"),
)
OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
"""What a load balancer asks, without a key and at any rate."""
LONG_RATIO = 0.25
"""Of `max_wait_seconds`: a turn that is longer puts the gate up, which refuses nobody by that alone."""
CALM_SECONDS = 2.0
"""The gate comes down this long after the last long turn."""

Headers = Mapping[bytes, bytes]


class Gate:
    """What is asked of each request.

    Args:
        keys: gives the valid API keys; None lets in everyone.
        rates: the clients' token buckets; None has no limit.
        client_header: in lower case, names the client where no key does; empty for none.
        max_wait_seconds: how long a turn of the loop may take to get round to a request; 0 for any time.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        keys: Callable[[], ApiKeys] | None = None,
        rates: Rates | None = None,
        client_header: str = "",
        max_wait_seconds: float = 0.0,
    ) -> None:
        self._keys = keys
        self._rates = rates
        self._client_header = client_header.lower().encode()
        self._max_wait = max_wait_seconds
        self._counters: dict[str, Counter] = {
            reason: metrics.counter(REJECTED, "public", reason) for reason in ("key", "rate", "wait")
        }
        self._guesses = Guesses()
        self._slow_until = 0.0
        self._turn_began: float | None = None

    @property
    def needed(self) -> bool:
        """Whether requests have to pass it just now."""
        return self._keys is not None or self._rates is not None or self._slow_until > 0.0

    def turned(self, seconds: float, now: float) -> None:
        """Take in how late a timer of the event loop was: a part, by chance, of how long a turn takes."""
        if self._max_wait > 0.0 and seconds > self._max_wait * LONG_RATIO:
            self._slow_until = now + CALM_SECONDS
        elif now > self._slow_until:
            self._slow_until = 0.0

    def refusal(self, headers: Headers, address: Sequence[Any] | None) -> ServingError | None:
        """Why a request is not let in; None when it is.

        Args:
            headers: names in lower case.
            address: host and port that it came from; None where there is none.
        """
        if self._slow_until > 0.0 and self._waited() > self._max_wait:
            return self._refuse("wait", Unavailable("overloaded: not reached in time"))
        client = b""
        if self._keys is not None:
            name = self._keys().name_of(headers)
            if (refusal := self._refusal_of_key(name, headers, address)) is not None:
                return refusal
            assert name is not None
            client = b"key " + name.encode()
        if self._rates is not None:
            if not client:
                given = headers.get(self._client_header)
                client = b"peer " + peer(address).encode() if given is None else b"header " + given
            seconds = self._rates.take(client)
            if seconds > 0.0:
                return self._refuse("rate", TooMany("too many requests", ceil(seconds)))
        return None

    def _refusal_of_key(
        self, name: str | None, headers: Headers, address: Sequence[Any] | None
    ) -> ServingError | None:
        who = peer(address)
        if name is not None:
            seconds = self._guesses.right(who, name)
        elif b"authorization" in headers or b"x-api-key" in headers:
            seconds = self._guesses.wrong(who)
        else:
            seconds = 0.0
        if seconds > 0.0:
            return self._refuse("key", TooMany("too many wrong API keys", ceil(seconds)))
        if name is not None:
            return None
        return self._refuse("key", Unauthenticated("a valid API key is needed"))

    def _waited(self) -> float:
        """Seconds since the loop's present turn got to its first request: so long has this one waited."""
        now = clock()
        if self._turn_began is None:
            self._turn_began = now
            asyncio.get_running_loop().call_soon(self._end_turn)
        return now - self._turn_began

    def _end_turn(self) -> None:
        self._turn_began = None

    def _refuse(self, reason: str, error: ServingError) -> ServingError:
        self._counters[reason].add()
        return error


def peer(address: Sequence[Any] | None) -> str:
    """What tells a client by its address: of IPv6 the /64, all of which one client may have."""
    return _network(address[0]) if address else ""


@lru_cache(4096)
def _network(host: str) -> str:
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address, 64), strict=False))
