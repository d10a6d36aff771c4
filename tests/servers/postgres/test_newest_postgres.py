"""What the store does is the same on PostgreSQL 18, from an environment of its own; Debian has 15."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from harness.postgres import FOLDER, newer
from harness.system import ROOT

TESTS = ROOT / "tests" / "control"
SECONDS = 300.0


@pytest.fixture(scope="module")
def programs():
    """A copy that another user can reach: PostgreSQL refuses to run as root, whose folders may be private."""
    [installed] = newer()
    folder = Path(tempfile.mkdtemp(prefix="understudy-postgres-programs-"))
    folder.chmod(0o755)
    packages = installed.parents[2]  # its libraries are beside it
    shutil.copytree(packages, folder / "packages", symlinks=True)
    yield folder / "packages" / installed.relative_to(packages)
    shutil.rmtree(folder)


def test_it_is_another_version(programs):
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("postgres (PostgreSQL) 18.")


def test_the_tests_of_the_store_pass_on_it(programs):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         TESTS / "store" / "test_postgres.py", TESTS / "store" / "test_postgres_hangs.py",
         TESTS / "store" / "test_outcome_store_postgres.py", TESTS / "outcomes" / "test_pairs_postgres.py"],
        cwd=ROOT, env={**os.environ, FOLDER: str(programs)},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
