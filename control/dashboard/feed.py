"""Server-sent events: changes as they happen, and once a second what open pages show.

Law: a digest is made once a second for all who asked for its topic, and not at all when nobody did; so what
a page costs is a copy of some bytes. Every reader has a bounded queue: a slow one misses the oldest events,
and digests before changes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from serving.errors import Unavailable

MAX_LISTENERS = 200
MAX_QUEUED_EVENTS = 100
KEEP_ALIVE_SECONDS = 15.0


@dataclass(eq=False, slots=True)
class _Reader:
    topics: frozenset[str]
    queue: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(MAX_QUEUED_EVENTS))


class Feed:
    """Everyone who listens.

    Args:
        digest: topic -> JSON of what there is to show of it now, None when there is nothing.
    """

    def __init__(self, digest: Callable[[str], bytes | None]) -> None:
        self._digest = digest
        self._readers: set[_Reader] = set()

    def listen(self, topics: Collection[str] = ()) -> AsyncIterator[bytes]:
        """Changes from now on, and the digests of these topics: at once, and then every second.

        Raises:
            Unavailable: at once, when there are too many readers.
        """
        if len(self._readers) >= MAX_LISTENERS:
            raise Unavailable("too many readers of events")
        reader = _Reader(frozenset(topics))
        self._readers.add(reader)
        for topic in reader.topics:
            if (event := self._event(topic)) is not None:
                reader.queue.put_nowait(event)
        return self._stream(reader)

    def announce(self, kind: str, event: Mapping[str, Any]) -> None:
        """Tell everyone of a change."""
        text = b"id: %d\nevent: %b\ndata: %b\n\n" % (event["revision"], kind.encode(), orjson.dumps(event))
        for reader in self._readers:
            if reader.queue.full():
                reader.queue.get_nowait()
            reader.queue.put_nowait(text)

    def digest(self) -> None:
        """Tell everyone what there is of their topics; called every second."""
        for topic in {topic for reader in self._readers for topic in reader.topics}:
            event = self._event(topic)
            if event is None:
                continue
            for reader in self._readers:
                if topic in reader.topics and reader.queue.qsize() < MAX_QUEUED_EVENTS // 2:
                    reader.queue.put_nowait(event)

    def _event(self, topic: str) -> bytes | None:
        text = self._digest(topic)
        kind = topic.partition(":")[0].encode()
        return None if text is None else b"event: %b\ndata: %b\n\n" % (kind, text)

    async def _stream(self, reader: _Reader) -> AsyncIterator[bytes]:
        try:
            yield b"retry: 1000\n\n"
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                        event = await reader.queue.get()
                except TimeoutError:
                    event = b": still here\n\n"
                yield event
        finally:
            self._readers.discard(reader)
