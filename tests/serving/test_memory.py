import subprocess
import sys

CHILD = """
import resource, sys
from serving.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def work():
    buffers = [bytes(600_000) for _ in range(4)]
for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how):
    done = subprocess.run([sys.executable, "-c", CHILD, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_the_buffers_of_large_requests_are_not_mapped_anew_for_every_request():
    assert page_faults("keep") < 500 < page_faults("leave")
