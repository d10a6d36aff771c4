"""Which targets of the log are watched for drift: those that have a profile.

Law: live traffic waits for none of it, and neither does the log, which no fault here ends. Nothing that
counts is imported, and control is not spoken to, before a target that answers here has a profile; one that
comes later, or is another one, is found within `LOOK_SECONDS`.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from router.drift.beside import profile_beside
from router.record.files.rows import Row
from router.settings import NodeSettings
from router.wire.drift_report import MOST_WATCHED
from serving.clock import clock
from serving.models.files.source import Source
from serving.sources.opening import open_source

if TYPE_CHECKING:
    from router.record.drift.watching import Watching

log = structlog.get_logger()

LOOK_SECONDS: Final = 60.0
"""Between two looks for the profile of a target."""
COUNT_SECONDS: Final = 0.25
"""For which answers wait to be counted together."""
MOST_WAITING: Final = 256
"""Answers of a target that wait until it is known whether it has a profile."""

Place = tuple[str, str]
"""The public name of a rollout, and the key of a target."""


class Watcher:
    """What a log writer sees of the targets that have a profile.

    Args:
        settings: of the node.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._source: Source | None = None
        self._look_at: dict[Place, float] = {}  # when each is looked for next, monotonic seconds
        self._due: set[Place] = set()
        self._waiting: dict[Place, list[Row]] = {}  # of targets that were not looked at yet
        self._wake = asyncio.Event()
        self._watching: Watching | None = None

    def see(self, row: Row) -> None:
        """Take in a row of the log; what is no good answer of a target says nothing."""
        values = row.values
        if values["kind"] != "request" or values["status_code"] != 200:
            return
        place = row.model, values["target"]
        if clock() >= self._look_at.get(place, 0.0):
            self._look_soon(place)
        if (waiting := self._waiting.get(place)) is not None:
            if len(waiting) < MOST_WAITING:
                waiting.append(row)
        elif self._watching is not None and self._watching.see(place, row):
            self._wake.set()

    def _look_soon(self, place: Place) -> None:
        if place not in self._look_at:
            if len(self._look_at) >= MOST_WATCHED:
                return
            self._waiting[place] = []
        self._look_at[place] = clock() + LOOK_SECONDS
        self._due.add(place)
        self._wake.set()

    async def run(self) -> None:
        """Look for profiles and count, for ever; before it ends control is told what it does not know."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._look()
                    await self._count()
                except Exception:  # its fault must not end the log
                    log.exception("drift is not watched for a moment")
        finally:
            if self._watching is not None:
                await self._watching.leave()

    async def _look(self) -> None:
        due, self._due = self._due, set()
        for place in due:
            path = await asyncio.to_thread(self._beside, place[1])
            if path is not None and self._watching is None:
                from router.record.drift.watching import Watching  # noqa: PLC0415  (mostly nobody asks)

                self._watching = Watching(self._settings)
            if self._watching is not None:
                await self._watching.follow(place, path)
            for row in self._waiting.pop(place, ()):
                if self._watching is not None:
                    self._watching.see(place, row)

    def _beside(self, target: str) -> Path | None:
        self._source = self._source or open_source(self._settings.origin)
        return profile_beside(self._source, target)

    async def _count(self) -> None:
        if self._watching is not None:
            await asyncio.sleep(COUNT_SECONDS)
            self._watching.count()
