"""Control adds up what each start of a process has counted, so no two may have one name."""

import os

from serving.host import process


def test_the_next_start_has_another_name_though_it_has_the_same_pid():
    here = process.instance_name("n", "worker-0")
    assert process.instance_name("n", "worker-0") == here
    assert here.startswith("n/worker-0/")
    assert here.endswith(f"/{os.getpid()}")
    process._start.cache_clear()  # as in a process of its own
    assert process.instance_name("n", "worker-0") != here
