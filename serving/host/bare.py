"""Processes that are told nothing of ours: Python with next to no environment, and no token in it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PYTHON: Final = (sys.executable, "-P", "-s")
"""How such a process is begun: no current folder and nothing of the user's among what it imports."""

_KEPT = ("LD_LIBRARY_PATH", "LOCPATH", "TMPDIR")
"""Where execution providers find libraries, operators on text their locales, and passing folders a place."""


def bare_environment(**more: str) -> Mapping[str, str]:
    """All that it is told."""
    own = {"PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    return {**own, **{name: os.environ[name] for name in _KEPT if name in os.environ}, **more}
