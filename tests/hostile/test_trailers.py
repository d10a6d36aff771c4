"""Trailers without end, on every connection that a client can get: nothing grows.

`python -m benchmarks.robustness.trailers` does it for a minute.
"""

from benchmarks.robustness.trailers import ADMIN, PUBLIC, flood
from harness.resources import held


def test_trailers_without_end_leave_the_memory_of_both_doors_flat(up):
    pids = [process.pid for process in held(up.process.popen.pid)]
    doors = [(up.port, PUBLIC), (int(up.admin_url.rpartition(":")[2]), ADMIN)]
    found = flood(doors, pids, 2.0, 50)
    assert found.sent_bytes > 1 << 20
    for name, before in found.before.items():
        assert found.most[name] < before + (40 << 20), name
