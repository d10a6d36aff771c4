"""Compactions that are killed, each at another step: `python -m harness.dying_place FOLDER STEPS`.

That of step N is of the records in FOLDER/N, in a process of its own. Prints by which signal each ended.
"""

import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from understudy.records.compacting import compact
from understudy.records.place import Folder, RecordFile, Wanted


class DyingFolder(Folder):
    """As `Folder`; before and after each change of it is a step.

    Args:
        root: of the records.
        step: at which the process is killed, from 1.
    """

    def __init__(self, root: Path, step: int) -> None:
        super().__init__(root)
        self._steps = step

    def put(self, name: str, written: Path) -> None:
        self._step()
        super().put(name, written)
        self._step()

    def remove(self, file: RecordFile) -> None:
        super().remove(file)
        self._step()

    def _step(self) -> None:
        self._steps -= 1
        if not self._steps:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, steps: int) -> None:
    """Start each, and wait for its end."""
    for step in range(1, steps + 1):
        child = os.fork()
        if not child:
            for _ in compact(DyingFolder(folder / str(step), step), Wanted(), datetime.now(UTC)):
                pass
            os._exit(0)
        print(os.WTERMSIG(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
