"""Trailers without end on many connections to both doors of a running system: memory stays flat.

`python -m benchmarks.robustness.trailers [SECONDS [CONNECTIONS]]` (60 and 50) says what the processes held
before, at most and at the end. Half of the connections ask the public door, half the admin door; some of
their requests are refused at their head, some wait for the rest of their body. One that was ended is opened
anew.
"""

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from harness.resources import held
from harness.system import running

_HEAD = b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
PUBLIC = (b"/v2/models/digits/infer", b"/v2/models/digits/infer?x=1", b"/v2/models/nobody/infer")
ADMIN = (b"/v1/rollouts/nobody/abort", b"/v1/sync", b"/nowhere")
TRAILERS = b"a:1\r\n" * 2000


@dataclass(slots=True)
class Flood:
    """What was sent, and what processes held.

    Attributes:
        connections: how many were opened.
        sent_bytes: of trailers, all together.
        before, most, after: resident bytes by process, before, at most, and when it was over.
    """

    connections: int
    sent_bytes: int
    before: dict[str, int]
    most: dict[str, int]
    after: dict[str, int]


def flood(
    doors: Sequence[tuple[int, Sequence[bytes]]], pids: Sequence[int], seconds: float, at_once: int
) -> Flood:
    """Send trailers to these doors (port, paths) over so many connections, and watch these processes."""
    before = _rss(pids)
    found = Flood(0, 0, before, dict(before), before)

    async def one(number: int, until: float) -> None:
        port, paths = doors[number % len(doors)]
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                found.connections += 1
                try:
                    writer.write(_HEAD % paths[found.connections % len(paths)])
                    while time.monotonic() < until and not reader.at_eof():
                        writer.write(TRAILERS)
                        found.sent_bytes += len(TRAILERS)
                        await writer.drain()
                        await asyncio.sleep(0)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.001)

    async def main() -> None:
        until = time.monotonic() + seconds
        tasks = [asyncio.create_task(one(number, until)) for number in range(at_once)]
        while time.monotonic() < until:
            await asyncio.sleep(0.1)
            for name, now in _rss(pids).items():
                found.most[name] = max(found.most.get(name, 0), now)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    found.after = _rss(pids)
    return found


def _rss(pids: Sequence[int]) -> dict[str, int]:
    resident = {}
    for pid in pids:
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        status = Path(f"/proc/{pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        kind = next(
            (argument for argument in arguments if argument.startswith(("router.", "control"))), "supervisor"
        )
        resident[f"{kind} {pid}"] = int(line.split()[1]) * 1024
    return resident


def main() -> None:
    """Measure, and say it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    at_once = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    with running(Path(tempfile.mkdtemp()), "digits: {stable: digits/1}\n") as up:
        doors = [(up.port, PUBLIC), (int(up.admin_url.rpartition(":")[2]), ADMIN)]
        pids = [process.pid for process in held(up.process.popen.pid)]
        found = flood(doors, pids, seconds, at_once)
    sent = f"{found.connections} in all, {found.sent_bytes >> 20} MiB sent"
    print(f"{seconds:g} s, {at_once} connections at once, {sent}")
    for name, first in found.before.items():
        most, last = found.most[name], found.after[name]
        print(f"{name}: {first >> 20} MiB before, {most >> 20} at most, {last >> 20} at the end")


if __name__ == "__main__":
    main()
