"""Processes that take outcomes and let them enter, and are killed at any moment."""

import contextlib
import random
import signal
import subprocess

from harness.system import ROOT
from harness.warm import python

_SCRIPT = """
import sys
from {module} import IN_FORCE, STAGES, made
from control.outcomes.entering import enter
from control.store.outcome_entries import Entries
from control.store.store import Store

store = Store(sys.argv[1], busy_seconds=60.0)
print("ready", flush=True)
rows = made()
for first in range(0, len(rows), 50):
    store.outcomes.take(rows[first : first + 50])
while store.outcomes.is_due(1000.0):
    with store.outcomes.writing() as connection:
        enter(Entries(connection), 1000.0, 20, IN_FORCE, STAGES)
print("done", flush=True)
"""


def kill_while_entering(url: str, module: str, times: int) -> None:
    """Have the rows of a module of tests taken and entered by one process after the other.

    Args:
        url: of the database.
        module: in tests/control/outcomes, with `made` for the rows, `IN_FORCE` and `STAGES`.
        times: so many processes are killed within a quarter of a second; the last one ends its work before.
    """
    chance = random.Random(3)
    script = "-c", _SCRIPT.format(module=module), url
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT}/tests:{ROOT}/tests/control/outcomes", "PATH": "/usr/bin"}
    for kills in range(times + 1):
        process = python(*script, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if kills < times:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0.0, 0.25))
        else:
            assert process.stdout.readline() == "done\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
