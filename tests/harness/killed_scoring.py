"""Jobs that are killed at any step: processes of their own, which all have the same models in memory."""

import json
import subprocess
from pathlib import Path

from harness.warm import python

_SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from harness.score_files import asked, small_chunks
from understudy.scoring import opening
from understudy.scoring.asked import CanaryAsked
from understudy.scoring.job import score

source, folder, straight, canary, times = sys.argv[1:]
side = CanaryAsked(canary, 0.9, "salt") if canary else None
job, other = (asked(Path(source), Path(each), batch=64, canary=side) for each in (folder, straight))
kept = {key: opening.ready(job.models, key) for key in ["digits/1", *filter(None, [canary])]}
opening.ready = lambda _models, key: kept[key]
opening._TIMED_SECONDS = 0.02
steps, limit = 0, 0

def step(event, arguments):
    global steps
    if event not in {"open", "os.rename", "os.remove", "os.mkdir"} or folder not in str(arguments[:1]):
        return
    steps += 1
    if steps == limit:
        os.kill(os.getpid(), signal.SIGKILL)

def tell(found):
    print(json.dumps([found.rows, found.bad, found.before, found.exit_code]), flush=True)

with small_chunks(size=30_000):
    tell(score(other))  # before, so that each child has all imports

def run(stop):
    global limit
    child = os.fork()
    if not child:
        limit = stop
        sys.addaudithook(step)
        with small_chunks(size=30_000):
            tell(score(job))
        os._exit(0)
    return os.waitpid(child, 0)[1]

killed = sum(os.WIFSIGNALED(run(1 + 5 * turn % 13)) for turn in range(int(times)))
assert run(0) == 0
print(killed)
"""


def kill_while_scoring(
    source: Path, folder: Path, straight: Path, canary: str, times: int
) -> tuple[int, list[int], list[int]]:
    """Begin a job, kill it so many times, each at a step of its own, then let it end; nobody kills another.

    A step is an opened file, a file that gets its name or goes, or a new folder, of those of the output.

    Returns:
        How often it was killed; and what both said at the end: rows, bad ones, those before, exit code.
    """
    with python(
        "-c", _SCRIPT, source, folder, straight, canary, str(times), stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        *said, killed = program.stdout.read().splitlines()
        assert program.wait(60) == 0
    return int(killed), json.loads(said[-1]), json.loads(said[0])
