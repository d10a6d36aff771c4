"""`understudy models tune` with a real server: where nothing keeps the target, nothing is written."""

import shutil

from typer.testing import CliRunner

from harness.system import MODELS
from understudy.cli import app


def test_a_latency_that_nothing_keeps_is_told_and_nothing_written(tmp_path):
    shutil.copytree(MODELS / "iris", tmp_path / "iris")
    before = (tmp_path / "iris" / "config.yaml").read_text()
    quick = ("--step=0.2s", "--minutes=0", "--rate=1", f"--models={tmp_path}")
    done = CliRunner().invoke(app, ["models", "tune", "iris/1", "--p99=1us", *quick])
    assert done.exit_code == 3, (done.stdout, done.stderr, done.exception)
    assert "none keeps a p99 of 0.001 ms: nothing was written" in done.stdout
    assert "not all was tried" in done.stdout
    assert (tmp_path / "iris" / "config.yaml").read_text() == before
