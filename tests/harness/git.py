"""A repository of git under test."""

import os
import subprocess
from pathlib import Path

SOMEBODY = {
    f"GIT_{role}_{what}": "somebody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
"""Who commits: environment of a command."""


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; it must succeed."""
    done = subprocess.run(
        ["git", "-C", folder, *arguments],
        env={**os.environ, **SOMEBODY}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path) -> None:
    """Make a folder a repository, all of which is committed."""
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "before")
