"""A default start: what listens, who may read what is on disk, and what happens when a process hangs or the
door is crowded."""

import contextlib
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.machine import cpu_seconds, listening, tree
from harness.rows import DIGITS, body
from harness.system import alive, eventually, running

ROLLOUTS = "digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 10, mirror: 10}\n"
PER_CLIENT, TOTAL = 30, 40


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    options = (
        "--watchdog-seconds", "2",
        "--max-connections", str(TOTAL), "--max-connections-per-client", str(PER_CLIENT),
    )  # fmt: skip
    with running(tmp_path_factory.mktemp("open"), ROLLOUTS, options=options) as up:
        yield up


def test_only_the_public_door_and_the_loopback_listen(up):
    ports, paths = listening(tree(up.process.popen.pid))
    assert ("127.0.0.1", up.port) in ports
    assert ("127.0.0.1", up.admin_port) in ports
    beside = {(address, port) for address, port in ports if port != up.port}
    assert {address for address, _ in beside} <= {"127.0.0.1", "::1"}
    run_dir = str(up.folder / "state" / "run")
    assert len(paths) == 3, paths  # a sandbox: requests, mirrored ones; the relay of the supervisor
    assert all(path.startswith(run_dir) for path in paths)


def test_what_is_on_disk_is_for_its_user_only(up):
    state = up.folder / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    seen = set()
    for path in state.rglob("*"):
        if path.is_symlink():
            continue  # has no mode of its own
        mode = path.lstat().st_mode
        assert stat.S_IMODE(mode) & 0o077 == 0, f"{path}: {stat.filemode(mode)}"
        seen.add(path.suffix)
    assert {".db", ".sock", ".shadow", ".json", ".values", ".beat"} <= seen


def test_a_sandbox_may_take_only_so_much_memory(up):
    [sandbox] = up.pids("sandbox")
    assert resource.prlimit(sandbox, resource.RLIMIT_DATA) == (4 << 30, 8 << 30)  # stable's come on top
    assert resource.prlimit(sandbox, resource.RLIMIT_CORE) == (0, 0)


def test_what_is_confined_gets_no_more_memory_than_that():
    script = (
        "from router.sandbox import confine; import numpy\n"
        "confine(300 << 20, live=True)\n"
        "numpy.ones(10 << 20)\n"  # 80 MiB
        "try: numpy.ones(60 << 20)\n"  # 480 MiB
        "except MemoryError: print('refused')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=240, check=True
    )
    assert ended.stdout == "refused\n"


@pytest.mark.parametrize("kind", ["worker", "sandbox"])
def test_a_process_that_hangs_is_replaced_within_seconds(up, kind):
    [hung] = up.pids(kind)
    before = up.metric("understudy_process_restarts_total", process=kind, reason="hung")
    began = time.monotonic()
    os.kill(hung, signal.SIGSTOP)
    eventually(lambda: not alive(hung), "it is killed")
    assert time.monotonic() - began >= 1.5
    eventually(lambda: (found := up.pids(kind)) and hung not in found, "it is replaced")
    eventually(lambda: up.client.post(DIGITS, content=body(0)).status_code == 200, "requests are answered")
    eventually(up.all_targets_ready, "every target ready")
    assert up.metric("understudy_process_restarts_total", process=kind, reason="hung") == before + 1


def test_the_whole_group_may_sleep_without_losing_a_process(up):
    """The supervisor is stopped with those it watches, as when a machine sleeps."""
    pids = tree(up.process.popen.pid)
    before = up.metric("understudy_process_restarts_total", reason="hung")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    passed(4.0)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: up.client.get("/v2/health/ready").status_code == 200, "ready")
    eventually(up.all_targets_ready, "every target ready")
    passed(3.0)
    assert [pid for pid in pids if not alive(pid)] == []
    assert up.metric("understudy_process_restarts_total", reason="hung") == before


def passed(seconds):
    """Wait until so much time went by, with nothing else to wait for."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, "time passes")


def connect(up, count, host="127.0.0.1"):
    """So many connections from an address of the loopback."""
    found = []
    for _ in range(count):
        connection = socket.socket()
        connection.settimeout(5)
        connection.bind((host, 0))
        connection.connect(("127.0.0.1", up.port))
        found.append(connection)
    return found


def turned_away(connections):
    """Those of them that were answered 503 or closed."""
    away = []
    deadline = time.monotonic() + 2.0  # a silent one is told after a second
    for connection in connections:
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        with contextlib.suppress(TimeoutError):
            try:
                told = connection.recv(1000)
            except ConnectionError:
                told = b""
            assert told == b"" or told.startswith(b"HTTP/1.1 503 ")
            away.append(connection)
    return away


@contextlib.contextmanager
def crowd(up, *parties):
    connections = [connection for count, host in parties for connection in connect(up, count, host)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def test_one_client_cannot_take_all_connections_nor_all_of_them_more_than_there_are(up):
    up.client.close()
    up.client = type(up.client)(base_url=up.url, timeout=30.0, trust_env=False)
    eventually(lambda: up.metric("understudy_connections", door="public") == 0, "nobody is connected")
    with crowd(up, (PER_CLIENT + 5, "127.0.0.2")) as greedy:
        assert len(turned_away(greedy)) == 5
        assert up.client.post(DIGITS, content=body(0)).status_code == 200  # from 127.0.0.1
        with crowd(up, (TOTAL - PER_CLIENT + 3, "127.0.0.3")) as others:
            assert len(turned_away(others)) == 4  # one place is our own client's
            assert up.metric("understudy_connections", door="public") == TOTAL
    eventually(lambda: up.metric("understudy_connections", door="public") <= 1, "they are gone")
    assert up.metric("understudy_rejected_total", door="public", reason="client_connections") == 5
    assert up.metric("understudy_rejected_total", door="public", reason="connections") == 4
    with crowd(up, (PER_CLIENT, "127.0.0.2")) as polite:
        assert turned_away(polite) == []


def test_a_worker_without_file_descriptors_sheds_does_not_spin_and_recovers(up):
    [worker] = up.pids("worker")
    assert up.client.post(DIGITS, content=body(0)).status_code == 200
    limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    few = len(list(Path(f"/proc/{worker}/fd").iterdir())) + 3
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (few, limit[1]))
    try:
        with crowd(up, (12, "127.0.0.4")) as crowded:
            away = turned_away(crowded)
            assert 12 - 4 <= len(away) < 12
            before = cpu_seconds(worker)
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                assert up.client.post(DIGITS, content=body(0)).status_code == 200  # the kept connection works
                time.sleep(0.05)
            assert cpu_seconds(worker) - before < 0.5
    finally:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
    with crowd(up, (12, "127.0.0.4")) as welcome:
        assert turned_away(welcome) == []
    assert up.pids("worker") == [worker]
