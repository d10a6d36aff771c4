"""The top-up of a node: recorded requests on candidates whose rollouts ask for it, in a process of its own.

Law: it follows control by itself, as sandboxes do, and sends to their shadow sockets what mirrors send,
marked as recorded. It sends no more than the rollout says, and holds at most `UNDER_WAY` requests before a
sandbox, so that mirrored ones find room. Before a request is sent, the mark that keeps it from being sent
again is on the disk, beside the rows themselves: where that cannot be read or written, nothing is run. It
says why nothing is.
"""

import asyncio
from hashlib import blake2b
from pathlib import Path
from typing import Final

import orjson
import structlog

from router.metrics import TOP_UP
from router.mirror.channel import ShadowChannel
from router.record.beside import beats, run_beside
from router.record.eligible import Mark, Picked, Wanted, reason
from router.record.files.stores import FolderStore
from router.record.past import Past
from router.rollout.snapshot import ServedRollout, Snapshot
from router.run_dir import RunDir
from router.settings import NodeSettings
from router.sync import Link, Sync
from router.wire.report import Report, TargetReport
from serving.clock import clock
from serving.host.process import instance_name, told_to_end
from serving.host.whole_files import write_whole
from serving.telemetry.cells import Counter, Metrics

log = structlog.get_logger()

UNDER_WAY: Final = 64
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
"""Until it looks again where nothing was found: what was recorded last is not written yet."""
WAIT_SECONDS: Final = 0.02
FAREWELL_SECONDS: Final = 1.0
"""How long the sandbox has to say what it has dealt with, before the rest counts as dropped."""
TIMED_EACH: Final = 10
"""Where pairs are timed, one in so many requests is timed instead of compared: it is run once."""


class Marks:
    """The marks of a node, kept in the folder of the log.

    Args:
        folder: of the log.
        node: its name.
    """

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder / ".top-up" / blake2b(node.encode(), digest_size=8).hexdigest()

    def read(self, model: str, before_stage: int) -> Mark:
        """How far a rollout has come; at the beginning where the evidence is a new one.

        Raises:
            OSError, ValueError: that is not known any more.
        """
        path = self._folder / f"{model}.json"
        if not path.exists():
            return Mark(before_stage, None)
        known = Mark(*orjson.loads(path.read_bytes()))
        return known if known.before_stage >= before_stage else Mark(before_stage, None)

    def write(self, model: str, mark: Mark) -> None:
        """Keep a mark, whole or not at all, for good.

        Raises:
            OSError: it cannot be kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / f"{model}.json", orjson.dumps([*mark]), lasting=True)


class TopUp:
    """Runs recorded requests on the canary of one rollout, as one snapshot has it.

    Args:
        served: the rollout.
        past: what there is to run.
        marks: how far that has come.
        channel: to the canary's sandbox.
        dropped: counts what no sandbox took.
    """

    def __init__(
        self, served: ServedRollout, past: Past, marks: Marks, channel: ShadowChannel, dropped: Counter
    ) -> None:
        self.problem = ""
        """Why nothing is run now."""
        self._served, self._past, self._marks = served, past, marks
        self._channel, self._dropped = channel, dropped
        self._sent = 0
        self._next = 0.0

    async def run(self) -> None:
        """Until cancelled, until nothing is left, or until it is known why nothing can be run."""
        if self.problem:
            return
        model, rate = self._served.rollout.model, self._served.top_up
        try:
            mark = self._marks.read(model, self._served.judged_from)
        except (OSError, ValueError, TypeError) as error:
            self.problem = f"which requests were run before cannot be read ({error}), and none is run twice"
            log.error("no top-up", model=model, reason=self.problem)
            return
        pause = FIRST_PAUSE
        while True:
            try:
                after, rows = await asyncio.to_thread(self._past.take, mark, together(rate))
                if rows:
                    self._marks.write(model, after)  # on the loop: whoever comes after this one reads it
                elif mark.at is not None:
                    self.problem = reason(self._past.unfit)
                    return  # what is recorded from now on is of this evidence
                mark = after
                self.problem = "" if rows else reason(self._past.unfit)
                for row in rows:
                    await self._send(row)
            except Exception as error:  # noqa: BLE001  (a folder may hold anything)
                log.warning("no top-up", model=model, reason=str(error))
                rows, self.problem = [], f"the prediction log cannot be used: {error}"
            if not rows:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _send(self, row: Picked) -> None:
        served = self._served
        self._sent += 1
        timed = served.paired_for is not None and self._sent % TIMED_EACH == 0
        target = served.stable.key
        frame = await asyncio.to_thread(self._past.frame, row, served.stage, target, timed=timed)
        now = clock()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(self._next, now) + 1.0 / served.top_up
        while self._channel.refusal() or self._channel.under_way >= UNDER_WAY:  # noqa: ASYNC110
            await asyncio.sleep(WAIT_SECONDS)
        if frame is None:
            self._dropped.add()
        else:
            self._channel.send(frame)

    async def close(self) -> None:
        """Send nothing more; after the task of `run` has ended.

        What the sandbox compares meanwhile is not dropped: it has a moment to say so.
        """
        until = clock() + FAREWELL_SECONDS
        while self._channel.under_way and clock() < until:  # noqa: ASYNC110  (acknowledged now and then)
            await asyncio.sleep(WAIT_SECONDS)
        self._channel.close()


def together(rate: float) -> int:
    """How many requests are marked at a time: what a kill leaves out is no more than that."""
    return max(1, min(100, round(rate)))


class TopUps:
    """The top-ups of a node, as snapshots say.

    Args:
        settings: of the node.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._store = FolderStore(Path(settings.records))
        self._marks = Marks(Path(settings.records), settings.node)
        self._metrics = Metrics(settings.state_dir / "metrics", "top-up")
        self._running: dict[str, tuple[ServedRollout, TopUp, asyncio.Task[None]]] = {}

    async def apply(self, snapshot: Snapshot) -> None:
        """Begin those that are wanted, and end the others."""
        here = snapshot.at(self._settings.node, self._settings.label)
        wanted = {model: served for model, served in here.rollouts.items() if served.tops_up}
        for model, (served, _, _) in list(self._running.items()):
            if wanted.get(model) != served:
                await self._end(model)
        for model in wanted.keys() - self._running.keys():
            top_up = self._begin(wanted[model])
            if "://" in self._settings.records:
                top_up.problem = "a top-up reads a folder, and --records is a bucket"
            self._running[model] = (
                wanted[model],
                top_up,
                asyncio.create_task(top_up.run(), name=f"top up {model}"),
            )

    async def _end(self, model: str) -> None:
        _, top_up, task = self._running.pop(model)
        task.cancel()
        await asyncio.wait([task])
        await top_up.close()

    def _begin(self, served: ServedRollout) -> TopUp:
        assert served.canary is not None
        model, canary, stable = served.rollout.model, served.canary, served.pin(served.stable)
        wanted = Wanted(model, served.judged_from, stable.sha256, served.rollout.sticky_header is not None)
        path = RunDir(self._settings.run_dir).of(served.candidate(canary, live=True)).shadow
        dropped = self._metrics.counter(TOP_UP, model, canary.key, "dropped")
        past = Past(self._store, self._settings.node, wanted)
        return TopUp(served, past, self._marks, ShadowChannel(str(path), model, dropped), dropped)

    async def report(self) -> Report:
        """For control: of each rollout, why nothing is run."""
        rows = tuple(
            TargetReport(
                model=model,
                target=served.canary.key,
                role="top-up",
                ready=False,
                top_up=top_up.problem[:1000],
            )
            for model, (served, top_up, _) in self._running.items()
            if served.canary is not None
        )
        return Report(
            instance=instance_name(self._settings.node, "top-up"),
            node=self._settings.node,
            kind="top-up",
            revision=0,  # it and the rest of the exchange is for `Sync` to say
            wait=0,
            targets=rows,
        )

    async def close(self) -> None:
        """End them all."""
        for model in list(self._running):
            await self._end(model)


async def run(settings: NodeSettings) -> None:
    """Top up the candidates of a node until told to end."""
    ended = told_to_end()
    top_ups = TopUps(settings)
    sync = Sync(Link.for_reports(settings), None, top_ups.report, top_ups.apply)
    tasks = [asyncio.create_task(each) for each in (sync.run(), *beats(settings))]
    await ended.wait()
    for task in tasks:
        task.cancel()
    await top_ups.close()
    sync.close()


def main() -> None:
    """Run the top-up of a node."""
    run_beside(run, niceness=10)


if __name__ == "__main__":
    main()
