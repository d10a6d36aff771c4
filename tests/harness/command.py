"""The command line: as a process, or in this one where the process is not the point."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from harness.system import ROOT, Up
from harness.warm import ran


def rollouts(up: Up, *arguments: str) -> str:
    """Run `understudy rollouts` and give back what it says; it must succeed."""
    ended = understudy("rollouts", *arguments, env={**os.environ, "UNDERSTUDY_CONTROL": up.admin_url})
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def understudy(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command of `understudy` where `options` say, as of `harness.warm.ran`, whatever comes of it."""
    return ran("-m", "understudy", *arguments, **{"cwd": ROOT, **options})


def told(*arguments: str, environment: Mapping[str, str], stdin: str = "") -> Result:
    """Run a command of `understudy` in this process, which imports it once; a fault of ours is raised."""
    from understudy.cli import app

    ended = CliRunner().invoke(app, arguments, input=stdin, env=environment)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended
