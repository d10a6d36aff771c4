"""The command line against a running system."""

import os
import subprocess
import sys
from pathlib import Path

from harness.system import ROOT, Up


def rollouts(up: Up, *arguments: str) -> str:
    """Run `understudy rollouts` and give back what it says; it must succeed."""
    ended = subprocess.run(
        [sys.executable, "-m", "understudy", "rollouts", *arguments],
        env={**os.environ, "UNDERSTUDY_CONTROL": up.admin_url},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def understudy(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run a command of `understudy`, whatever comes of it."""
    return subprocess.run(
        [sys.executable, "-m", "understudy", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
