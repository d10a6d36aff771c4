"""Where systems under test keep their state, and what they share there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

_verified: Path | None = None


@contextlib.contextmanager
def sharing_checks(folder: Path) -> Iterator[None]:
    """Systems that start meanwhile remember in this folder which models passed their check."""
    global _verified  # noqa: PLW0603  (one for all that this process of tests starts)
    _verified, before = folder, _verified
    try:
        yield
    finally:
        _verified = before


def state_folder(path: Path) -> str:
    """A folder for `--state-dir`; a new one has that memory."""
    if _verified is not None and not path.exists():
        path.mkdir(mode=0o700)
        (path / "verified").symlink_to(_verified)
    return str(path)
