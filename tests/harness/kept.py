"""Systems that tests share, for as long as tests run that need them: an idle one still takes CPU time."""

import contextlib
from collections.abc import Collection
from pathlib import PurePath
from typing import Any, TypeVar

T = TypeVar("T")


class Kept:
    """Each system is started when it is first asked for, and again should it be asked for after its end."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Collection[str], contextlib.ExitStack, Any]] = {}

    def get(self, name: str, places: Collection[str], system: contextlib.AbstractContextManager[T]) -> T:
        """The system of this name; a running one if there is one, and `system` is not entered then.

        Args:
            name: of the system.
            places: folders and files of the tests that share it, from the folder of all tests.
            system: how it is started and ended.
        """
        if name not in self._kept:
            with contextlib.ExitStack() as stack:
                value = stack.enter_context(system)
                self._kept[name] = places, stack.pop_all(), value
        return self._kept[name][2]

    def go_on(self, file: PurePath) -> None:
        """End all that are not for the tests of this file; a bad end of one does not keep the others."""
        here = {str(place) for place in (file, *file.parents)}
        with contextlib.ExitStack() as ending:
            for name, (places, stack, _) in [*self._kept.items()]:
                if here.isdisjoint(places):
                    del self._kept[name]
                    ending.push(stack)
