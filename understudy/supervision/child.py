"""One process that is kept running.

Law: a process that ends unasked is started again, after a pause that doubles up to `LONGEST_PAUSE`; one that
hangs, or lost files that it cannot do without, is killed, and then started again too.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import structlog

from serving.host.heartbeat import Watch
from understudy.supervision.processes import Process, Start, executed

log = structlog.get_logger()

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
HEALTHY_SECONDS = 10.0
NOTHING_ELSE: Mapping[str, str] = MappingProxyType({})


class Child:
    """One process that is kept running.

    Args:
        name: in logs.
        module: run as `python -m serving.host.entry`; it has a `main()`.
        environment: added to this process's own.
        inherit: file descriptors that it gets.
        heartbeat: the file in which it shows that its event loop turns; None for one that is not watched.
        files: that it makes before it says that its door is open, and cannot do without.
        restarted: told why, `ended`, `hung` or `lost`, each time it is started again.
        start: how it is begun.
        afterwards: added to its environment when it is started again.
    """

    def __init__(
        self,
        name: str,
        module: str,
        environment: Mapping[str, str],
        inherit: Sequence[int] = (),
        *,
        heartbeat: Path | None = None,
        files: Sequence[Path] = (),
        restarted: Callable[[str], None] = lambda _: None,
        start: Start = executed,
        afterwards: Mapping[str, str] = NOTHING_ELSE,
    ) -> None:
        self.name = name
        self._afterwards = afterwards
        if heartbeat is not None:
            environment = {**environment, "UNDERSTUDY_HEARTBEAT": str(heartbeat)}
        self._watch = Watch(heartbeat) if heartbeat is not None else None
        self._restarted = restarted
        self._killed = ""  # why, by this supervisor
        self._files = tuple(files)
        self._start = start
        self._module = module
        self._environment = {**os.environ, **environment}
        self._inherit = tuple(inherit)
        self._process: Process | None = None
        self._ending = False
        self._task = asyncio.create_task(self._keep(), name=name)

    @property
    def pid(self) -> int | None:
        """Of the process just now."""
        return self._process.pid if self._process is not None else None

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._ending:
            began = loop.time()
            self._killed = ""
            for path in self._files:
                path.unlink(missing_ok=True)  # of the one before
            if self._watch is not None:
                self._watch.begin()
            code = await self._run()
            self._environment |= self._afterwards
            if self._watch is not None:
                self._watch.ended()
            if self._ending:
                return
            pause = FIRST_PAUSE if loop.time() - began > HEALTHY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            log.warning("process ended; starting it again", process=self.name, code=code, pause=pause)
            self._restarted(self._killed or "ended")
            await asyncio.sleep(pause)

    async def _run(self) -> int | str:
        """Begin it and wait until it has ended; how it did, or why it could not begin."""
        try:
            self._process = await self._start([self._module], self._environment, self._inherit)
        except OSError as error:
            return str(error)
        return await self._process.wait()

    def look(self, now: float, most_seconds: float) -> None:
        """Kill it if its files are gone, or its event loop has stood still for longer than that.

        Then it is started again.

        Args:
            now: of the supervisor's event loop.
            most_seconds: of silence.
        """
        if self._ending or self._killed or self._process is None or self._process.returncode is not None:
            return
        opened = self._watch is not None and self._watch.is_open
        if opened and not all(path.exists() for path in self._files):
            log.error("process lost its files; killed", process=self.name)
            self.kill("lost")
            return
        if self._watch is None or most_seconds <= 0:
            return
        silent = self._watch.look(now)
        if silent > most_seconds:
            log.error("process does not react; killed", process=self.name, silent_seconds=round(silent, 1))
            self.kill("hung")

    def kill(self, reason: str) -> None:
        """Have it started again.

        Args:
            reason: what `restarted` is told.
        """
        if self._process is not None:
            self._killed = reason
            self._process.kill()  # a stopped process takes no other signal

    async def end(self, grace_seconds: float) -> None:
        """Ask it to end, and make it end after the grace time."""
        self._ending = True
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(grace_seconds):
                    await process.wait()
            except TimeoutError:
                log.warning("process did not end in time; killed", process=self.name)
                process.kill()
                await process.wait()
        self._task.cancel()
