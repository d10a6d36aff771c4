"""`python -m serving.host.entry MODULE`: a process whose imports the garbage collector does not interrupt.

What is imported stays until the process ends. Each full collection meanwhile, and the last one at the end,
would walk all of it and find nothing: a quarter of the CPU time of a start and an end.
"""

import gc
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def imported(name: str) -> ModuleType:
    """A module, imported at one go; the collector never looks again at what there is now."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def main() -> None:
    """Run `main()` of the module that is the first argument, for a package that of its `__main__`.

    It finds the other arguments where it expects them.
    """
    del sys.argv[0]
    name = sys.argv[0]
    spec = find_spec(name)
    package = spec is not None and spec.submodule_search_locations is not None
    imported(f"{name}.__main__" if package else name).main()


if __name__ == "__main__":
    main()
