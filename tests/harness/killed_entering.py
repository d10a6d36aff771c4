"""Processes that take outcomes and let them enter, and are killed at any moment."""

import contextlib
import pickle
import random
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from control.outcomes.desk import InForce
from control.store.outcomes import Row, Stage
from harness.warm import python

_SCRIPT = """
import pickle, sys
from pathlib import Path
from control.outcomes.entering import enter
from control.store.outcome_entries import Entries
from control.store.store import Store

store = Store(sys.argv[1], busy_seconds=60.0)
rows, in_force, stages = pickle.loads(Path(sys.argv[2]).read_bytes())
print("ready", flush=True)
for first in range(0, len(rows), 50):
    store.outcomes.take(rows[first : first + 50])
while store.outcomes.is_due(1000.0):
    with store.outcomes.writing() as connection:
        enter(Entries(connection), 1000.0, 20, in_force, stages)
print("done", flush=True)
"""


def kill_while_entering(
    url: str,
    rows: Sequence[Row],
    in_force: Mapping[str, InForce],
    stages: Mapping[str, Mapping[int, Stage]],
    times: int,
) -> None:
    """Have rows taken and entered by one process after the other.

    Args:
        url: of the database.
        rows, in_force, stages: as `control.outcomes.entering.enter` takes them.
        times: so many processes are killed within a quarter of a second; the last one ends its work before.
    """
    chance = random.Random(3)
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        told.write_bytes(pickle.dumps((rows, in_force, stages)))
        for kills in range(times + 1):
            process = python("-c", _SCRIPT, url, told, stdout=subprocess.PIPE)
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
