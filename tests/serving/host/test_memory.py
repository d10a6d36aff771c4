import subprocess
import sys

from serving.host.memory import machine_bytes

CHILD = """
import resource, sys
from serving.host.memory import keep_freed_memory
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


def test_a_container_has_no_more_memory_than_its_limit(tmp_path):
    limit = tmp_path / "memory.max"
    whole = machine_bytes(limit)
    assert whole > 1 << 28
    for text, expected in (("max\n", whole), (f"{1 << 27}\n", 1 << 27), (f"{1 << 60}\n", whole)):
        limit.write_text(text)
        assert machine_bytes(limit) == expected
