"""A child is started again when it ends, hangs or loses its files, and ends when asked to; real processes."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from harness.system import alive
from understudy.supervision import child as supervised
from understudy.supervision.child import Child

SCRIPT = """
import os, signal
from pathlib import Path
from serving.host.heartbeat import Heart
if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path(os.environ["FILE"]).write_text(os.environ["START"])
heart = Heart(Path(os.environ["UNDERSTUDY_HEARTBEAT"]))
heart.beat()
heart.door(is_open=True)
while True:
    signal.pause()
"""


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Run a coroutine function with a child that is up, the file it made, and why it was started again."""
    (tmp_path / "kept.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}")
    monkeypatch.setattr(supervised, "FIRST_PAUSE", 0.0)

    def run(work, **environment):
        async def main():
            file, beat, reasons = tmp_path / "file", tmp_path / "beat", []
            child = Child(
                "kept", "kept", {"FILE": str(file), "START": "first", **environment},
                heartbeat=beat, files=[file], restarted=reasons.append, afterwards={"START": "another"},
            )  # fmt: skip
            await until(lambda: child._watch.is_open)
            try:
                await work(child, file, reasons)
            finally:
                await child.end(5.0)
            assert not alive(child.pid)

        asyncio.run(main())

    return run


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (a process is waited for)
            await asyncio.sleep(0.005)


async def another(child, before):
    await until(lambda: child.pid != before and child._watch.is_open)


def test_one_that_ends_unasked_is_started_again(kept):
    async def work(child, file, reasons):
        assert file.read_text() == "first"
        before = child.pid
        os.kill(before, signal.SIGKILL)
        await another(child, before)
        assert reasons == ["ended"]
        assert file.read_text() == "another"

    kept(work)


def test_one_that_lost_its_files_is_replaced(kept):
    async def work(child, file, reasons):
        before = child.pid
        child.look(0.0, 0.0)
        file.unlink()
        child.look(0.1, 0.0)
        await another(child, before)
        assert file.exists()
        assert reasons == ["lost"]

    kept(work)


def test_one_whose_loop_stands_still_is_replaced_and_never_where_nobody_asked_for_that(kept):
    async def work(child, _file, reasons):
        before = child.pid
        for now in range(0, 100, 2):
            child.look(float(now), 0.0)
        assert alive(before)
        for now in range(100, 114, 2):
            child.look(float(now), 10.0)
        await another(child, before)
        assert reasons == ["hung"]

    kept(work)


def test_one_that_does_not_end_in_time_is_made_to(kept):
    async def work(child, _file, reasons):
        await child.end(0.05)
        assert not alive(child.pid)
        assert child._process.returncode == -signal.SIGKILL
        assert reasons == []

    kept(work, STUBBORN="1")
