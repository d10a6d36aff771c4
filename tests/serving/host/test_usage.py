import os
import resource
import time

import pytest

from serving.host.usage import machine_load, process_load, quota_load, thread_busy_seconds


def test_a_process_says_what_it_used():
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    found = process_load(os.getpid())
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert found.cpu_seconds == pytest.approx(used.ru_utime + used.ru_stime, abs=0.05)
    assert 10 << 20 < found.memory_bytes <= used.ru_maxrss * 1024


def test_a_process_that_is_gone_has_no_load():
    assert process_load(2**22 + 1) is None


def test_a_name_may_hold_anything(tmp_path):
    (tmp_path / "7").mkdir()
    fields = ["S", *["0"] * 10, "150", "50", *["0"] * 8, "3"]
    (tmp_path / "7" / "stat").write_text("7 (a) b) " + " ".join(fields))
    found = process_load(7, tmp_path)
    assert found.cpu_seconds == 200 / os.sysconf("SC_CLK_TCK")
    assert found.memory_bytes == 3 * os.sysconf("SC_PAGE_SIZE")


def test_a_thread_is_busy_while_it_runs_or_waits_for_a_cpu_and_not_while_it_sleeps():
    busy, ran, began = thread_busy_seconds(), time.thread_time(), time.monotonic()
    while time.thread_time() - ran < 0.1:
        pass
    grown = thread_busy_seconds() - busy
    assert 0.09 <= grown <= time.monotonic() - began + 0.01


def test_where_the_kernel_does_not_say_it_is_what_the_thread_ran(tmp_path):
    assert thread_busy_seconds(tmp_path) == pytest.approx(time.thread_time(), abs=0.1)


@pytest.mark.parametrize(
    ("limit", "found"), [("150000 100000", (2.5, 1.5)), ("max 100000", None), ("", None), (None, None)]
)
def test_a_container_has_a_quota_or_none(tmp_path, limit, found):
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit + "\n")
        (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\nnr_throttled 0\n")
    assert quota_load(tmp_path) == found


def test_the_machine_is_this_one():
    found = machine_load()
    assert found.cpus == os.cpu_count()
    assert 0 < found.available_bytes < found.memory_bytes
    assert 0 < found.busy_seconds < time.clock_gettime(time.CLOCK_BOOTTIME) * found.cpus * 1.05
