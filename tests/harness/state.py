"""Where systems under test keep their state, and what they share there."""

import contextlib
import shutil
import tempfile
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


def state_folder(path: Path, *, control: bool = True) -> str:
    """A folder for `--state-dir`; a new one has that memory.

    For a control it has a database whose tables are made, too: making them costs an eighth of a node's start.
    `tests/control/store` has the databases that are made anew, as a user's first one is.
    """
    if _verified is not None and not path.exists():
        path.mkdir(mode=0o700)
        (path / "verified").symlink_to(_verified)
        if control:
            shutil.copy(_made_tables(_verified.with_name(f"{_verified.name}-tables")), path / "state.db")
    return str(path)


def _made_tables(folder: Path) -> Path:
    """An empty database, which a store made; several processes may do so at once."""
    database = folder / "state.db"
    if not database.exists():
        from control.store.store import Store  # tests without systems go without

        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            made = Path(aside) / database.name
            Store(f"sqlite:///{made}").close()
            made.replace(database)
    return database
