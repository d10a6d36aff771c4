"""Constant open-loop load with an independent record of every request and its answer."""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import aiohttp


@dataclass(slots=True)
class Ledger:
    """What clients saw.

    Attributes:
        statuses: HTTP status -> answers; 0 stands for a broken connection or a time-out.
        targets: x-understudy-target -> answers.
        seconds: latency of each answer.
        errors: the first few failures in words.
        rows: when each request was sent (`time.monotonic()`), its status, and the seconds until it ended.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    rows: list[tuple[float, int, float]] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Requests that were answered or failed."""
        return sum(self.statuses.values())

    def percentile(self, percent: float) -> float:
        """Latency in seconds at a percentile of all answers."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


class Load:
    """Sends requests at a constant rate from a thread of its own until stopped.

    Args:
        url: of the infer endpoint.
        rate: requests a second, kept whatever the answers do.
        request: number of the request -> headers and body.
        connections: at most open at once.
    """

    def __init__(
        self,
        url: str,
        rate: float,
        request: Callable[[int], tuple[Mapping[str, str], bytes]],
        connections: int = 64,
        timeout: float = 30.0,
    ) -> None:
        self.ledger = Ledger()
        self._url, self.rate, self._request = url, rate, request
        self._connections, self._timeout = connections, timeout
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> Ledger:
        """Send no more, wait for the answers under way."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the load did not end"
        return self.ledger

    def answered(self, number: int, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Look at the answer to a request; here nobody does."""

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=30)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        tasks: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            began = time.perf_counter()
            for number in itertools.count():
                if self._stop.is_set():
                    break
                delay = began + number / self.rate - time.perf_counter()
                if delay > 0:
                    await asyncio.sleep(delay)
                task = asyncio.create_task(self._one(session, number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            if tasks:
                await asyncio.wait(tasks)

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        headers, body = self._request(number)
        ledger = self.ledger
        sent, began = time.monotonic(), time.perf_counter()
        try:
            async with session.post(self._url, data=body, headers=headers) as answer:
                text = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            ledger.statuses[0] += 1
            ledger.rows.append((sent, 0, time.perf_counter() - began))
            if len(ledger.errors) < 20:
                ledger.errors.append(repr(error))
            return
        ledger.seconds.append(time.perf_counter() - began)
        ledger.rows.append((sent, answer.status, ledger.seconds[-1]))
        ledger.statuses[answer.status] += 1
        ledger.targets[answer.headers.get("x-understudy-target", "")] += 1
        self.answered(number, answer.status, answer.headers, text)
        if answer.status != 200 and len(ledger.errors) < 20:
            ledger.errors.append(f"{answer.status} {text[:200]!r}")
