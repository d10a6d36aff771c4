"""One system for all hostile input: models of its own, and one behind a URL that writes down what it gets."""

import contextlib

import pytest

from harness.recorder import recording
from harness.resources import held
from harness.system import free_port, running

ROLLOUTS = """
digits: {{stable: digits/1}}
iris: {{stable: iris/1}}
behind:
  stable: {{model: digits/1, url: '{url}'}}
  timeout: 5s
"""


@pytest.fixture(scope="module")
def recorder(shared_systems):
    return shared_systems.get("recorder", ["hostile"], recording())


@pytest.fixture(scope="module")
def up(shared_systems, tmp_path_factory, recorder):
    return shared_systems.get("hostile", ["hostile"], spotless(tmp_path_factory, recorder))


@contextlib.contextmanager
def spotless(folders, recorder):
    """Nothing that clients send may be an error of ours in the log, end a process or make one grow."""
    folder = folders.mktemp("hostile")
    environment = {"UNDERSTUDY_RECEIVE_SECONDS": "2"}
    rollouts, port = ROLLOUTS.format(url=recorder.url), free_port()
    options = ("--grpc-workers", "1", "--grpc-port", str(port))
    with running(folder, rollouts, options=options, environment=environment) as started:
        started.grpc_port = port
        before = processes(started)
        yield started
        after = processes(started)
        log = started.process.log.read_text()
    log = "\n".join(line for line in log.splitlines() if "rollout file refused" not in line)  # the operator's
    assert "[error" not in log, log[-6000:]
    assert "[critical" not in log, log[-6000:]
    assert "Traceback" not in log, log[-6000:]
    assert after.keys() >= before.keys(), "a process ended"
    for pid, rss in before.items():
        assert after[pid] < rss + (200 << 20), "a process grew"


def processes(up):
    """Process id -> resident bytes."""
    return {process.pid: process.rss_bytes for process in held(up.process.popen.pid)}
