"""The log writer: frames from the node's workers into files, in a process of its own.

Law: a row counts as written once its file is there for good, and as dropped only when nothing else is left.
While the store is away rows wait, as many as `MAX_HELD_BYTES`, and what comes beyond is dropped and counted;
while the store is only slow this process reads no further, and workers drop what their buffers do not hold.
Live traffic waits for none of it. It ends with all rows written, when its workers have ended.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import structlog

from router.mirror.channel import FrameServer, Waiting
from router.mirror.frame import Frame
from router.record.account import Account, Place
from router.record.accounts import LOST, STORE_AWAY, WRITTEN, Accounts, account_of, accounts_folder
from router.record.beside import beats, run_beside
from router.record.drift.watcher import Watcher
from router.record.files.footers import Footer, written
from router.record.files.partitions import Part, Partitions
from router.record.files.retention import KEEP_LOOK_SECONDS, Retention
from router.record.files.rows import row_of, said_of
from router.record.files.stores import Store, open_store
from router.record.ledger import Ledger
from router.run_dir import RunDir
from router.settings import NodeSettings, seconds_of
from serving.clock import clock
from serving.host.process import told_to_end
from serving.host.sockets import listen_unix

log = structlog.get_logger()

MAX_HELD_BYTES: Final = 256 << 20
TOGETHER: Final = 32
"""Frames between two turns of the event loop."""
SETTLE_SECONDS: Final = 0.5
CLOSE_LOOK_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 0.02
"""Between two looks of a process that ends."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0


class RecordServer(FrameServer):
    """One connection of a process that answers, and what came by it.

    Attributes:
        instance: whose it is; empty until it has said so.
        is_open: whether more may come.
        before: by model, what was sent before it.
        received: by model, what came.
    """

    def __init__(self, writer: "LogWriter") -> None:
        super().__init__(writer.waiting, writer.wake)
        self.instance = ""
        self.is_open = True
        self.before: dict[str, int] = {}
        self.received: Counter[str] = Counter()
        writer.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """As `FrameServer`."""
        super().connection_lost(exc)
        self.is_open = False


class LogWriter:
    """The rows of a node on their way into files.

    Args:
        node: its name.
        state: the folder of accounts and notes.
        store: of the files.
        partitions: which rows are a file, and when.
        watcher: told of each row; None where nobody is.
    """

    def __init__(
        self,
        node: str,
        state: Path,
        store: Store,
        partitions: Partitions,
        watcher: Watcher | None = None,
    ) -> None:
        self.waiting = Waiting()
        self.wake = asyncio.Event()
        self.connections: set[RecordServer] = set()
        self._node = node
        self._accounts = Accounts(accounts_folder(state))
        self._ledger = Ledger(state / "records" / "notes", self._accounts, store)
        self._partitions = partitions
        self._watcher = watcher
        self._latest: dict[str, RecordServer] = {}
        self._held: Counter[Place] = Counter()
        self._held_bytes = 0
        self._to_write: deque[Part] = deque()
        self._room = asyncio.Event()
        self._more = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._away = False
        self._recovered = False
        self._wall = time.time() - clock()

    # ------------------------------------------------------------------ frames in

    async def take(self) -> None:
        """Take frames for ever."""
        while True:
            while not self.waiting:
                self.wake.clear()
                await self.wake.wait()
            while self._held_bytes >= MAX_HELD_BYTES and not self._away:
                self._hand_on(self._partitions.all())
                self._room.clear()
                await self._room.wait()
            for _ in range(min(TOGETHER, len(self.waiting))):
                server, frame = self.waiting.popleft()
                assert isinstance(server, RecordServer)
                self._deal_with(server, frame)
                server.finished()
            await asyncio.sleep(0)

    def _deal_with(self, server: RecordServer, frame: Frame) -> None:
        if not frame.model:
            server.instance = str(said_of(frame.said)["instance"])
            server.before = orjson.loads(frame.request)
            self._latest[server.instance] = server
            return
        server.received[frame.model] += 1
        row = row_of(frame, self._wall)
        if self._watcher is not None:
            self._watcher.see(row)
        place = row.instance, row.model
        if self._held_bytes >= MAX_HELD_BYTES:
            if self._accounts.has(*place):
                self._accounts.cells(*place)[STORE_AWAY] += 1
            return
        self._held[place] += 1
        self._held_bytes += row.bytes
        self._partitions.add(row, clock())

    # ------------------------------------------------------------------ files out

    async def roll(self, pause: float) -> None:
        """Look for parts that are to be written, for ever."""
        while True:
            await asyncio.sleep(pause)
            self._hand_on(self._partitions.due(clock()))

    def _hand_on(self, parts: Iterable[Part]) -> None:
        self._to_write.extend(parts)
        if self._to_write:
            self._more.set()

    async def write(self) -> None:
        """Write parts, one after the other, for ever."""
        await self._until_done(self._ledger.recover)
        self._recovered = True
        while True:
            while not self._to_write:
                self._more.clear()
                await self._more.wait()
            await self._write(self._to_write[0])
            self._to_write.popleft()

    async def _write(self, part: Part) -> None:
        rows = {(instance, part.model): count for instance, count in part.columns.counts.items()}
        data = await asyncio.to_thread(encoded, part, self._footer(part))
        async with self._one_at_a_time:
            note = await self._until_done(lambda: self._ledger.put(part.name, data, rows))
            self._ledger.commit(note)
        self._held.subtract(rows)
        self._held += Counter()  # without those that are 0
        self._held_bytes -= part.columns.bytes
        self._room.set()

    def _footer(self, part: Part) -> Footer:
        accounts: dict[str, Account] = {}
        for instance, count in part.columns.counts.items():
            if self._accounts.has(instance, part.model):
                cells = self._accounts.cells(instance, part.model)
                after = account_of(cells)
                accounts[instance] = after + Account(written=count)
        return Footer(part.model, self._node, dict(part.columns.counts), accounts)

    async def _until_done(self, work: Callable[[], Any]) -> Any:
        """Do it in a thread, again and again while the store is away."""
        pause = FIRST_PAUSE
        while True:
            try:
                done = await asyncio.to_thread(work)
            except OSError as error:
                if not self._away:
                    log.error("the prediction log cannot be written; rows wait", reason=str(error))
                self._away = True
                self._room.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if self._away:
                    log.info("the prediction log is written again")
                self._away = False
                return done

    async def expire(self, retention: Retention) -> None:
        """Delete files that are too old, for ever."""
        while True:
            if self._recovered:
                try:
                    await self._expire(retention)
                except OSError as error:
                    log.warning("old files of the prediction log stay for now", reason=str(error))
                await asyncio.sleep(KEEP_LOOK_SECONDS)
            await asyncio.sleep(SETTLE_SECONDS)

    async def _expire(self, retention: Retention) -> None:
        for name, rows in await asyncio.to_thread(lambda: list(retention.expired(time.time()))):
            async with self._one_at_a_time:
                note = await asyncio.to_thread(self._ledger.delete, name, rows)
                self._ledger.commit(note)

    # ------------------------------------------------------------------ accounts

    async def keep_accounts(self) -> None:
        """Bring accounts up to date, for ever."""
        while True:
            await asyncio.sleep(SETTLE_SECONDS)
            self._wall = time.time() - clock()
            self.settle()

    def settle(self) -> None:
        """Count what can arrive no more: lost with a log writer before this one, or with its process."""
        if not self._recovered:
            return
        for instance, server in self._latest.items():
            for model in self._accounts.models(instance):
                cells = self._accounts.cells(instance, model)
                arrived = cells[WRITTEN] + cells[STORE_AWAY] + self._held[instance, model]
                sent = server.before.get(model, 0) + server.received[model]
                cells[LOST] = max(0, sent - arrived)
        busy = self._busy()
        if busy is not None:
            self._accounts.settle(busy)
            self._latest = {name: server for name, server in self._latest.items() if name in busy}

    def _busy(self) -> set[str] | None:
        """Instances of which rows are on the way, or may be; None while that is not known."""
        self.connections = {server for server in self.connections if server.is_open}
        if self.waiting or not all(server.instance for server in self.connections):
            return None
        return {server.instance for server in self.connections} | {place[0] for place in self._held}

    async def close_accounts(self) -> None:
        """Keep accounts of processes that have ended where they take little room, for ever."""
        while True:
            busy = None
            if self._recovered:
                async with (
                    self._one_at_a_time
                ):  # no file is on its way, whose rows would be counted meanwhile
                    busy = self._busy()
                    if busy is not None:
                        self._close_accounts(busy)
            await asyncio.sleep(SETTLE_SECONDS if busy is None else CLOSE_LOOK_SECONDS)

    def _close_accounts(self, busy: set[str]) -> None:
        try:
            self._accounts.close(busy)
        except (OSError, ValueError) as error:
            log.warning("accounts of processes that have ended stay as they are", reason=str(error))

    # ------------------------------------------------------------------ the end

    def _may_get_more(self) -> bool:
        return bool(self.waiting) or any(server.is_open for server in self.connections)

    async def finish(self, seconds: float) -> None:
        """Take what is on the way, write it, and close the accounts; what takes longer is given up.

        Args:
            seconds: at most, for all of it.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._recovered or self._may_get_more():  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
                self._hand_on(self._partitions.all())
                while self._to_write:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            log.error("the prediction log ends with rows that are not written", rows=self._held.total())
            for place, count in self._held.items():
                if self._accounts.has(*place):
                    self._accounts.cells(*place)[STORE_AWAY] += count
            self._held.clear()
        self.settle()


def encoded(part: Part, footer: Footer) -> bytes:
    """A part as a file; where its tensors cannot be columns, without them."""
    try:
        table = part.columns.table()
    except (pa.ArrowException, UnicodeError) as error:
        log.error("rows of the prediction log without tensors", model=part.model, reason=str(error))
        table = part.columns.without_tensors(f"tensors: {error}").table()
    return written(table, footer)


async def run(settings: NodeSettings) -> None:
    """Write the log of a node until told to end."""
    ended = told_to_end()
    partitions = Partitions(settings.records_roll_bytes, settings.records_roll_seconds)
    store = open_store(settings.records)
    watcher = Watcher(settings)
    writer = LogWriter(settings.node, settings.state_dir, store, partitions, watcher)
    listener = listen_unix(RunDir(settings.run_dir).log_writer.socket)
    server = await asyncio.get_running_loop().create_unix_server(lambda: RecordServer(writer), sock=listener)
    work = [writer.take(), writer.write(), writer.keep_accounts(), writer.close_accounts(), *beats(settings)]
    work.append(watcher.run())
    work.append(writer.roll(min(0.25, settings.records_roll_seconds / 4)))
    if settings.records_keep:
        work.append(writer.expire(Retention(store, seconds_of(settings.records_keep))))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        await ended.wait()
        server.close()
        await writer.finish(settings.grace_seconds)
        for task in tasks:
            task.cancel()


def main() -> None:
    """Run the log writer."""
    run_beside(run, niceness=5)


if __name__ == "__main__":
    main()
