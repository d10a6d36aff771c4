"""Systems that tests share, for as long as tests of their folders run: an idle one still takes CPU time."""

import contextlib
from collections.abc import Collection
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """Each system is started when it is first asked for, and again should it be asked for after its end."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Collection[str], contextlib.ExitStack, Any]] = {}

    def get(self, name: str, folders: Collection[str], system: contextlib.AbstractContextManager[T]) -> T:
        """The system of this name; a running one if there is one, and `system` is not entered then."""
        if name not in self._kept:
            with contextlib.ExitStack() as stack:
                value = stack.enter_context(system)
                self._kept[name] = folders, stack.pop_all(), value
        return self._kept[name][2]

    def go_on(self, folder: str) -> None:
        """End all that are not for tests of this folder; a bad end of one does not keep the others."""
        with contextlib.ExitStack() as ending:
            for name, (folders, stack, _) in [*self._kept.items()]:
                if folder not in folders:
                    del self._kept[name]
                    ending.push(stack)
