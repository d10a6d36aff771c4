import os
import subprocess
import sys

PROGRAM = """
import os, threading
from router.sandbox import confine
from serving.host.process import run_when_idle

def policies():
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}

ended = threading.Event()
threading.Thread(target=ended.wait, daemon=True).start()
confine(1 << 33, live=False)
assert policies() == {os.SCHED_OTHER}
run_when_idle()
assert len(os.listdir("/proc/self/task")) > 1
assert policies() == {os.SCHED_IDLE}
threading.Thread(target=ended.wait, daemon=True).start()  # as one that onnxruntime starts later
assert policies() == {os.SCHED_IDLE}
print(os.nice(0))
ended.set()
"""


def test_every_thread_of_a_loaded_shadow_runs_only_when_nobody_else_wants_to():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert (done.stdout, done.stderr) == (f"{min(19, os.nice(0) + 10)}\n", "")
