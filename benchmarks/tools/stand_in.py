"""What benchmarks with stand-ins behind URLs share: answers of servers, lines of clients, a node beside them.

A stand-in is a module that prints its port and serves until its input ends.
"""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import orjson

from benchmarks.tools.bench import free_port

IDLE_SECONDS = 2.0
"""A connection that idled for longer is not used again: the server may be about to close it."""
START_SECONDS = 30.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def metadata(pixels: int) -> bytes:
    """Of a model like the bundled digits, as an answer."""
    return reply(
        orjson.dumps(
            {
                "name": "digits",
                "platform": "stand-in",
                "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [-1, pixels]}],
                "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
            }
        )
    )


def reply(body: bytes, status: bytes = b"200 OK", head: bytes = b"") -> bytes:
    """An answer of a server."""
    kind = b"content-type: application/json\r\n"
    return b"HTTP/1.1 %b\r\n%b%bcontent-length: %d\r\n\r\n%b" % (status, kind, head, len(body), body)


FAILED = reply(b'{"error":"broken"}', b"500 Internal Server Error")


def labelled(label: int) -> bytes:
    """The body of an answer."""
    output = {"name": "label", "datatype": "INT64", "shape": [1], "data": [label]}
    return orjson.dumps({"model_name": "digits", "outputs": [output]})


def length(head: bytes) -> int:
    """The content-length of a message."""
    return int(head.lower().partition(b"content-length: ")[2].split()[0])


def main(serve: Serve) -> None:
    """Print the port, and serve until the input ends."""

    async def until_the_input_ends() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.close()

    asyncio.run(until_the_input_ends())


async def arrivals(rate: float) -> AsyncIterator[None]:
    """The moments of a Poisson stream, for ever; one that is late is not left out."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += random.expovariate(rate)
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield


class Lines:
    """Connections to a port of this machine, of which the one that was used last is used again.

    Args:
        port: it.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = []

    async def post(self, path: bytes, body: bytes, more: bytes = b"") -> tuple[bytes, bytes]:
        """Head and body of the answer; `more` are lines of the request's head."""
        if self._idle and time.monotonic() - self._idle[-1][2] < IDLE_SECONDS:
            reader, writer, _ = self._idle.pop()
        else:
            self.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = b"POST %b HTTP/1.1\r\nhost: bench\r\n%bcontent-length: %d\r\n\r\n" % (path, more, len(body))
        writer.write(head + body)
        answered = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(length(answered))
        self._idle.append((reader, writer, time.monotonic()))
        return answered, answer

    def close(self) -> None:
        """Drop the idle connections."""
        for _, writer, _ in self._idle:
            writer.close()
        self._idle.clear()


@contextlib.contextmanager
def started(stand_in: str) -> Iterator[tuple[int, int, str]]:
    """Stand-ins and a node without a rollout, ended afterwards: public port, admin port, their URL.

    Args:
        stand_in: the module of the stand-ins.
    """
    servers = subprocess.Popen(
        [sys.executable, "-m", stand_in], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert servers.stdout is not None
    url = f"http://127.0.0.1:{int(servers.stdout.readline())}"
    port, admin_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        (Path(folder) / "none.yaml").write_text("{}\n")
        command = [
            *(sys.executable, "-m", "understudy", "up", "--host", "127.0.0.1", "--port", str(port)),
            *("--admin-port", str(admin_port), "--state-dir", folder),
            *("--rollouts", f"{folder}/none.yaml", "--models", "models"),
        ]
        environment = {**os.environ, "UNDERSTUDY_DRAIN_SECONDS": "0"}
        node = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            yield port, admin_port, url
        except BaseException:
            print((Path(folder) / "log").read_text()[-6000:], file=sys.stderr)
            raise
        finally:
            node.send_signal(signal.SIGTERM)
            servers.terminate()
            node.wait(30)
            servers.wait(30)


@contextlib.asynccontextmanager
async def admin_door(port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a control that leads."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}",
        timeout=30.0,
        trust_env=False,
        limits=httpx.Limits(keepalive_expiry=1.0),  # shorter than the server's
    ) as admin:

        async def leads() -> bool:
            return (await admin.get("/readyz")).is_success

        if not await until(leads, START_SECONDS):
            raise RuntimeError("control does not lead")
        yield admin


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether the condition came true in time; no answer counts as not yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if await condition():
                return True
        await asyncio.sleep(0.2)
    return False
