"""What is forked is as a fresh process (exit, environment, descriptors); the preloader's faults hurt none."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.system import alive, eventually
from understudy.supervision import child as supervised
from understudy.supervision import preloader as preloading
from understudy.supervision.preloader import Preloader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are of Linux")

TOLD = """
import json, os, signal, sys

def main():
    def is_open(fd):
        try:
            return bool(os.fstat(fd))
        except OSError:
            return False

    state = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "open": [fd for fd in map(int, os.listdir("/proc/self/fd")) if is_open(fd)],
        "environment": dict(os.environ),
        "imported": "early" in sys.modules,
        "arguments": sys.argv,
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "group": os.getpgrp(),
    }
    with open(os.environ["FILE"] + ".new", "w") as file:
        json.dump(state, file)
    os.rename(os.environ["FILE"] + ".new", os.environ["FILE"])
    if "CODE" in os.environ:
        sys.exit(int(os.environ["CODE"]))
    while True:
        signal.pause()
"""
THREADED = "import threading, time\nthreading.Thread(target=time.sleep, args=[600], daemon=True).start()\n"
SUPERVISOR = """
import asyncio, os
from understudy.supervision import preloader
preloader.PRELOADED = ("early",)

async def main():
    loading = preloader.Preloader()
    loading.begin({}, lambda _: None)
    await (await loading.start(["told"], dict(os.environ), [])).wait()

asyncio.run(main())
"""


class Begun:
    """A process that says what it found, and then waits, or exits with a code."""

    def __init__(self, process, file):
        self.process = process
        self._file = file

    async def found(self):
        await until(self._file.exists)
        return json.loads(self._file.read_text())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "told.py").write_text(TOLD)
    (tmp_path / "early.py").write_text("import os\nos.environ['BY_IMPORT'] = '1'\n")
    (tmp_path / "threaded.py").write_text(THREADED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    monkeypatch.setattr(supervised, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(preloading, "PRELOADED", ("early",))
    return tmp_path


@pytest.fixture
def preloaded(folder):
    """Run a coroutine function with a preloader, why it was started again, and what begins a process."""

    def run(work):
        async def main():
            reasons, begun = [], []
            preloader = Preloader()
            preloader.begin({}, reasons.append)

            async def begin(inherit=(), **environment):
                file = folder / f"file{len(begun)}"
                process = await preloader.start(
                    ["told"], {**os.environ, "FILE": str(file), **environment}, inherit
                )
                begun.append(Begun(process, file))
                return begun[-1]

            try:
                await work(preloader, reasons, begin)
            finally:
                await preloader.end(5.0)
                for one in begun:
                    one.process.kill()
                    await one.process.wait()

        asyncio.run(main())

    return run


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (a process is waited for)
            await asyncio.sleep(0.005)


def test_one_that_is_forked_is_as_a_fresh_one_with_its_own_environment_and_nothing_else_open(preloaded):
    async def work(_preloader, _reasons, begin):
        read, write = os.pipe()
        first = await begin([write], ONLY="first")
        second = await begin(ODD="\udcff")
        os.close(read)
        os.close(write)
        found, other = await first.found(), await second.found()
        assert found["imported"]
        assert found["pid"] == first.process.pid
        assert found["parent"] == other["parent"] == os.getpid()
        assert sorted(found["open"]) == [0, 1, 2, write]
        assert sorted(other["open"]) == [0, 1, 2]
        assert found["environment"]["ONLY"] == "first"
        assert found["environment"]["BY_IMPORT"] == "1"
        assert "ONLY" not in other["environment"]
        assert other["environment"]["ODD"] == "\udcff"
        assert "OPENBLAS_NUM_THREADS" not in other["environment"] or "OPENBLAS_NUM_THREADS" in os.environ
        assert found["arguments"] == ["told"]
        assert found["interrupt"]
        assert found["group"] != os.getpgrp()  # Ctrl-C is the supervisor's alone
        shown = Path(f"/proc/{first.process.pid}")
        assert (shown / "cmdline").read_bytes().split(b"\0")[1:] == [
            b"-m",
            b"serving.host.entry",
            b"told",
            b"",
        ]
        assert b"ONLY=first" in (shown / "environ").read_bytes().split(b"\0")

    preloaded(work)


def test_how_it_ended_is_known_exactly(preloaded):
    async def work(_preloader, _reasons, begin):
        assert await (await begin(CODE="7")).process.wait() == 7
        assert await (await begin(CODE="0")).process.wait() == 0
        waits = await begin()
        await waits.found()
        waits.process.send_signal(signal.SIGTERM)
        assert await waits.process.wait() == -signal.SIGTERM
        waits.process.kill()  # of one that has ended nothing comes

    preloaded(work)


def test_killing_the_preloader_hurts_nobody_and_it_is_started_again(preloaded):
    async def work(preloader, reasons, begin):
        first = await begin()
        assert (await first.found())["imported"]
        before = preloader.child.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda: reasons == ["ended"])
        assert alive(first.process.pid)
        assert (await (await begin()).found())["parent"] == os.getpid()
        await until(lambda: preloader.child.pid != before)
        assert (await (await begin()).found())["imported"]
        first.process.kill()
        assert await first.process.wait() == -signal.SIGKILL

    preloaded(work)


def test_one_that_hangs_is_replaced_and_meanwhile_processes_are_begun_afresh(preloaded, monkeypatch):
    async def work(preloader, reasons, begin):
        await (await begin()).found()
        monkeypatch.setattr(preloading, "ANSWER_SECONDS", 0.1)
        os.kill(preloader.child.pid, signal.SIGSTOP)
        assert not (await (await begin()).found())["imported"]
        await until(lambda: reasons == ["hung"])

    preloaded(work)


def test_beside_threads_nothing_is_forked(preloaded, monkeypatch):
    monkeypatch.setattr(preloading, "PRELOADED", ("threaded",))

    async def work(preloader, reasons, begin):
        assert not (await (await begin()).found())["imported"]
        assert preloader.child is None
        assert reasons == []

    preloaded(work)


def test_what_was_forked_ends_with_a_supervisor_that_is_killed(folder):
    file = folder / "file"
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR], env={**os.environ, "FILE": str(file)}
    ) as supervisor:
        found = eventually(lambda: json.loads(file.read_text()), "it is forked")
        assert found["imported"]
        assert found["parent"] == supervisor.pid
        helper = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()
        supervisor.kill()
    eventually(lambda: not any(alive(int(pid)) for pid in [*helper, found["pid"]]), "all have ended")
