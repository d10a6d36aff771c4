"""Nodes that all tests of a process share: each test has a public name of its own there (`harness.pilot`)."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.digit_models import failing_digits, noisy_digits, slow_digits
from harness.system import MODELS, Up, running

BASE = "digits: {stable: digits/1}\n"
"""The rollout file of a shared node. Whoever edits it puts this back."""


def repository(folder: Path) -> Path:
    """Bundled models, and digits that only tests need.

    9 always fails, 60 is a copy of 1, 61 is slower, 70 never answers the same.
    """
    digits = folder / "models" / "digits"
    shutil.copytree(MODELS / "digits", digits)
    shutil.copytree(MODELS / "iris", folder / "models" / "iris")
    shutil.copytree(digits / "1", digits / "60")
    own = {"9": failing_digits(), "61": slow_digits(2), "70": noisy_digits(0.05)}
    for version, data in own.items():
        (digits / version).mkdir()
        (digits / version / "model.onnx").write_bytes(data)
    return folder / "models"


@contextlib.contextmanager
def shared(folders: pytest.TempPathFactory, workers: int) -> Iterator[Up]:
    """A node with so many workers, in a folder of its own."""
    folder = folders.mktemp("node")
    with running(folder, BASE, models=repository(folder), options=("--workers", str(workers))) as up:
        yield up
