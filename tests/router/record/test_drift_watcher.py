"""The log writer watches targets that have a profile; of others nothing runs, and nothing is imported."""

import asyncio
import contextlib
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from structlog.testing import capture_logs

from router.drift.features import columns
from router.drift.profile import profile_of, to_json
from router.record.drift import watcher as watchers
from router.record.drift.watcher import Watcher
from router.record.files.rows import Row
from router.settings import NodeSettings
from serving.wire.tensors import Signature, TensorSpec

SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)),), ())
CODE = """
import subprocess
import sys
import router.record.log_writer
found = [name for name in sys.modules if name.startswith("router.drift.") and name != "router.drift.beside"]
assert not found, found
"""


def row(number=0, status=200, target="m/1", kind="request"):
    values = {"kind": kind, "status_code": status, "target": target, "sampling_fraction": 0.5}
    tensors = {"input_x": np.full((1, 2), number, "f4"), "output_y": np.zeros((1, 1), "f4")}
    return Row("name", "worker", datetime.now(UTC), values, tensors, 10)


def profile(number):
    rows = {"x": np.arange(2.0 * number, dtype="f4").reshape(number, 2)}
    return to_json(profile_of("m/1", "", "", columns(SIGNATURE.inputs, "input", [rows]), (), SIGNATURE))


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models" / "m" / "1").mkdir(parents=True)
    (tmp_path / "models" / "m" / "1" / "model.onnx").write_bytes(b"is not read")
    return tmp_path / "models"


@contextlib.asynccontextmanager
async def watching(models, monkeypatch):
    """A watcher at work, without a control to tell."""
    monkeypatch.setattr(watchers, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(watchers, "LOOK_SECONDS", 0.0)
    settings = NodeSettings(
        models=str(models), control="http://127.0.0.1:1", state_dir=models.parent / "state"
    )
    watcher = Watcher(settings)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition):
    """Let others run until it holds."""
    async with asyncio.timeout(60.0):
        while not condition():  # noqa: ASYNC110  (of what is inside)
            await asyncio.sleep(0.01)


def follows(watcher):
    """Whether a target is watched."""
    return watcher._watching is not None and bool(watcher._watching._watches) and not watcher._due


def digest_of(watcher):
    """Of the profile of the one target that is watched."""
    [watch] = watcher._watching._watches.values()
    return watch.reference.digest


def seen(watcher):
    """The slices that control, which is away, is to be told of the one target; and the profile's digest."""
    [watch] = watcher._watching._watches.values()
    watcher._watching.count()
    watch.hurry()
    return watch.give(0, 0.0), watch.reference.digest


def test_a_log_writer_imports_nothing_that_counts():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_a_profile_nothing_runs_and_one_that_comes_is_found(models, monkeypatch):
    async def play():
        async with watching(models, monkeypatch) as watcher:
            for _ in range(3):
                watcher.see(row())
                await until(lambda: not watcher._due)
            assert watcher._watching is None
            (models / "m" / "1" / "profile.json").write_bytes(profile(20))
            watcher.see(row())
            await until(lambda: follows(watcher))
            for each in (row(1), row(2), row(3, status=500), row(4, kind="comparison")):
                watcher.see(each)
            await until(lambda: not watcher._due)
            slices, _ = seen(watcher)
            assert sum(each.answers for each in slices) == 2, "of good answers to clients"
            assert sum(each.of for each in slices) == 4.0, "half of them are recorded"
            counted = [each.counted.features[name].histogram for each in slices for name in ("x[0]", "x[1]")]
            assert sum(histogram.rows for histogram in counted) == 4

    asyncio.run(play())


def test_what_comes_before_a_profile_is_found_is_counted_too(models, monkeypatch):
    async def play():
        (models / "m" / "1" / "profile.json").write_bytes(profile(20))
        async with watching(models, monkeypatch) as watcher:
            for number in range(5):
                watcher.see(row(number))
            await until(lambda: follows(watcher) and not watcher._waiting)
            slices, _ = seen(watcher)
            assert sum(each.answers for each in slices) == 5

    asyncio.run(play())


def test_another_profile_begins_anew_and_a_broken_one_is_said(models, monkeypatch):
    path = models / "m" / "profile.json"  # of all versions

    async def play():
        path.write_bytes(b"{")
        async with watching(models, monkeypatch) as watcher:
            with capture_logs() as logs:
                watcher.see(row())
                await until(lambda: any("cannot be used" in each["event"] for each in logs))
            path.with_suffix(".new").write_bytes(profile(20))
            path.with_suffix(".new").replace(path)
            watcher.see(row())
            await until(lambda: follows(watcher))
            _, first = seen(watcher)
            path.with_suffix(".new").write_bytes(profile(30))
            path.with_suffix(".new").replace(path)
            watcher.see(row())
            await until(lambda: digest_of(watcher) != first)
            watcher.see(row())
            slices, second = seen(watcher)
            assert first != second
            assert sum(each.answers for each in slices) >= 1, "in the bins of the new one"

    asyncio.run(play())


def test_targets_behind_urls_have_none(models, monkeypatch):
    async def play():
        async with watching(models, monkeypatch) as watcher:
            (models / "m" / "1" / "profile.json").write_bytes(profile(20))
            watcher.see(row(target="m/1@http://h:1"))
            watcher.see(row(target="m/2"))
            await until(lambda: not watcher._due)
            assert watcher._watching is None

    asyncio.run(play())
