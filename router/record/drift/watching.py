"""Targets with a profile: their answers are counted in its bins, and control is told."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import structlog

from router.drift.references import References
from router.drift.watch import Seen, Watch
from router.record.files.rows import Row
from router.rollout.snapshot import Snapshot
from router.settings import NodeSettings
from router.sync import Link, Sync
from router.wire.drift_telling import told
from router.wire.report import Report
from serving.clock import clock
from serving.errors import InvalidInput
from serving.host.process import instance_name
from serving.wire.tensors import Array

log = structlog.get_logger()


class Watching:
    """What is watched on a node; speaks to control from the start.

    Args:
        settings: of the node.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._watches: dict[tuple[str, str], Watch] = {}
        self._references = References()
        self._sync = Sync(Link.for_reports(settings), None, self._report, _nothing_to_do)
        self._telling = asyncio.create_task(self._sync.run(), name="drift is told")

    async def follow(self, place: tuple[str, str], path: Path | None) -> None:
        """From now on this profile is beside a target; None where there is none any more.

        Args:
            place: the public name of a rollout, and the target's key.
            path: of the profile.
        """
        if path is None:
            self._watches.pop(place, None)
            return
        try:
            reference = await asyncio.to_thread(self._references.read, path)
        except InvalidInput as error:
            log.warning("a profile cannot be used; no drift is counted", target=place[1], reason=str(error))
            return
        known = self._watches.get(place)
        if known is None or known.reference is not reference:
            self._watches[place] = Watch(reference)
            log.info("drift is counted", model=place[0], target=place[1], profile=str(path))

    def see(self, place: tuple[str, str], row: Row) -> bool:
        """Take in a good answer of a target, and say whether it is watched."""
        watch = self._watches.get(place)
        if watch is None:
            return False
        seen = Seen(_side(row, "input_"), _side(row, "output_"), row.values["sampling_fraction"] or 0.0)
        watch.see(seen, time.time())
        return True

    def count(self) -> None:
        """Count what waits."""
        for watch in self._watches.values():
            watch.count(time.time())

    async def leave(self) -> None:
        """Tell control what it does not know, if it takes that soon."""
        self._telling.cancel()
        with suppress(asyncio.CancelledError):
            await self._telling
        self.count()
        for watch in self._watches.values():
            watch.hurry()
        await self._sync.leave()

    async def _report(self) -> Report:
        answered, now = self._sync.exchanges, clock()
        given = {place: (watch, watch.give(answered, now)) for place, watch in self._watches.items()}
        return Report(
            instance=instance_name(self._settings.node, "log-writer"),
            node=self._settings.node,
            kind="log-writer",
            revision=0,  # it and the rest of the exchange is for `Sync` to say
            wait=0,
            drift=tuple(told(*place, watch, slices) for place, (watch, slices) in given.items() if slices),
        )


def _side(row: Row, prefix: str) -> dict[str, Array]:
    """The tensors of one side by name."""
    return {
        column.removeprefix(prefix): array
        for column, array in row.tensors.items()
        if column.startswith(prefix)
    }


async def _nothing_to_do(_: Snapshot) -> None:
    """What is watched follows from what is answered."""
