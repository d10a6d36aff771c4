"""`python -m serving.host.entry MODULE`: a process whose imports the garbage collector does not interrupt.

What is imported stays until the process ends. Each full collection meanwhile, and the last one at the end,
would walk all of it and find nothing: a quarter of the CPU time of a start and an end.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import cast

PRINTERS = ("rich", "pygments")
"""Colours for people at a terminal. structlog and httpx import them where they are installed, and do without
where they are not: 50 ms of CPU time of each start."""


def imported(name: str) -> ModuleType:
    """A module, imported at one go; the collector never looks again at what there is now."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def served(name: str) -> ModuleType:
    """As `imported`, for a process that talks to no terminal: what it imports finds no `PRINTERS`."""
    with _hidden(PRINTERS):
        return imported(name)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Within the block these cannot be imported, unless they are there already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden, cast("ModuleType", None)))  # how Python marks what is not there
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def main() -> None:
    """Run `main()` of the module that is the first argument, for a package that of its `__main__`.

    It finds the other arguments where it expects them.
    """
    del sys.argv[0]
    name = sys.argv[0]
    spec = find_spec(name)
    package = spec is not None and spec.submodule_search_locations is not None
    served(f"{name}.__main__" if package else name).main()


if __name__ == "__main__":
    main()
