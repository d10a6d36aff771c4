"""`pytest --cpu=FILE`: the CPU seconds of each test, of its process and of the processes that it waited for.

A line of JSON a test goes into the file, and the sums by folder to the terminal. Wall time says little on a
machine that others use; CPU seconds may be twice as many there, too, but runs side by side can be compared.
What a shared system took stands at the test before which it ends, in the folder that comes after.
"""

import json
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.warm import ended_seconds


def spent() -> float:
    """CPU seconds of this process and of its children that have ended and were waited for."""
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    ours = sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))
    return ours + ended_seconds()


class CpuSeconds:
    """The plugin, in the process that runs tests and in the one that only gives them out.

    Args:
        file: where the lines go; what is in it is of an earlier run.
        first: whether this process begins before all others.
    """

    def __init__(self, file: Path, *, first: bool) -> None:
        self._file = file
        if first:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")

    def _tell(self, test: str, seconds: float) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps({"test": test, "seconds": round(seconds, 3)}) + "\n")

    def pytest_collection_finish(self) -> None:
        """What it took until here is for imports and for finding tests."""
        self._tell("collection", spent())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Around a test with its fixtures."""
        before = spent()
        try:
            return (yield)
        finally:
            self._tell(item.nodeid, spent() - before)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Folders, the most expensive first."""
        folders: Counter[str] = Counter()
        for line in self._file.read_text().splitlines():
            told = json.loads(line)
            folders["/".join(told["test"].partition("::")[0].split("/")[:2])] += told["seconds"]
        terminalreporter.section(f"CPU seconds: {folders.total():.0f}")
        for folder, seconds in folders.most_common():
            terminalreporter.write_line(f"{seconds:8.1f}  {folder}")
