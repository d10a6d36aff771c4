"""One system for all faults that it can recover from, over a repository that may be damaged."""

import contextlib
import shutil

import pytest

from harness.scenes import place
from harness.system import MODELS


@pytest.fixture(scope="module")
def at(shared_systems, tmp_path_factory):
    return shared_systems.get("faults", ["faults"], started(tmp_path_factory))


@contextlib.contextmanager
def started(folders):
    folder = folders.mktemp("faults")
    shutil.copytree(MODELS / "digits", folder / "models" / "digits")
    with place(folder, folder / "models") as found:
        yield found
