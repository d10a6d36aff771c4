"""One system for all faults that it can recover from, over a repository that may be damaged."""

import shutil

import pytest

from harness.scenes import place
from harness.system import MODELS


@pytest.fixture(scope="session")
def at(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(MODELS / "digits", folder / "models" / "digits")
    with place(folder, folder / "models") as found:
        yield found
