"""Put on PYTHONPATH by the soak: each Python process tells a file how many tasks and objects it has.

Python imports this module by its name at every start. A daemon thread writes, so a process that hangs still
tells. Nothing of it is in the product.
"""

import asyncio
import gc
import itertools
import os
import sys
import threading

_FOLDER = os.environ.get("SOAK_PROBE", "")
_SECONDS = 2.0
_COLLECT_EACH = 15


def _tell() -> None:
    path = os.path.join(_FOLDER, str(os.getpid()))  # noqa: PTH118  (as little as can be is imported here)
    waiting = threading.Event()
    for number in itertools.count(1):
        waiting.wait(_SECONDS)
        if number % _COLLECT_EACH == 0:
            gc.collect()  # or objects that nobody holds, and the collector has not looked at yet, would count
        try:
            tasks = sum(not task.done() for task in list(asyncio.tasks._all_tasks))  # noqa: SLF001
        except RuntimeError:  # the set changed while it was read
            continue
        with open(path + ".new", "w") as told:  # noqa: PTH123
            told.write(f"{tasks} {sys.getallocatedblocks()}")
        os.replace(path + ".new", path)  # noqa: PTH105


if _FOLDER:
    threading.Thread(target=_tell, daemon=True, name="soak probe").start()
