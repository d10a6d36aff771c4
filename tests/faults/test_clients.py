"""Clients that leave, do not read, or take every file there is: nobody else notices, and all comes back."""

import contextlib
import time

import numpy as np

from harness.load import Load
from harness.pilot import piloted
from harness.raw import connect, request
from harness.resources import held
from harness.rows import body, body_of, digits, plain
from harness.scene_list import SCENES, open_files
from harness.scenes import play
from harness.system import eventually

MEGABYTE = 1 << 20


def in_flight(up, model):
    return up.metric("understudy_requests_in_flight", model=model)


def workers(up):
    return [process for process in held(up.process.popen.pid) if process.kind == "worker"]


def test_clients_that_leave_in_the_middle_of_a_request_give_everything_back(at):
    up = at.up
    files = sum(process.files for process in workers(up))
    at.wire.set()
    with piloted(up, "left", {"stable": at.far, "timeout": "60s"}):
        eventually(up.all_targets_ready, "ready")
        at.server.manner = "hang"
        asked = at.server.asked
        connections = [connect(up.port) for _ in range(40)]
        try:
            for number, connection in enumerate(connections):
                whole = request("/v2/models/left/infer", body(0))
                connection.sendall(whole if number % 2 else whole[:-40])
            eventually(lambda: at.server.asked == asked + 20, "half are under way")
            eventually(lambda: in_flight(up, "left") == 20, "and shown")
        finally:
            at.server.manner = "well"
            for connection in connections:
                connection.close()
        eventually(lambda: in_flight(up, "left") == 0, "none is under way")
        assert up.metric("understudy_requests_total", model="left", code="499") == 20
        eventually(lambda: sum(process.files for process in workers(up)) <= files + 4, "files are closed")


def push(reader, left, whole):
    """Send more of one request after the other; whether any of it was taken."""
    try:
        left[reader] = left[reader][reader.send(left[reader]) :] or whole
    except (BlockingIOError, ConnectionError):  # or it was ended, having sent half a request for too long
        return False
    return True


def test_clients_that_do_not_read_cost_bounded_memory_and_nobody_else_an_answer(at):
    up = at.up
    many = np.concatenate([digits()] * 4)[:2000]  # an answer of 400 kB
    whole = request("/v2/models/unread/infer", body_of(many))
    with piloted(up, "unread", {"stable": "digits/1", "timeout": "5s"}):
        before = sum(process.rss_bytes for process in workers(up))
        readers = [connect(up.port) for _ in range(20)]
        for reader in readers:
            reader.setblocking(False)
        try:
            left = dict.fromkeys(readers, whole)
            eventually(lambda: not sum(push(reader, left, whole) for reader in readers), "all are held back")
            with Load(f"{up.url}/v2/models/unread/infer", 50, plain) as load:
                while load.ledger.sent < 100:
                    for reader in readers:
                        push(reader, left, whole)
                        with contextlib.suppress(BlockingIOError, ConnectionError):
                            reader.recv(1)
                    grown = sum(process.rss_bytes for process in workers(up)) - before
                    assert grown < 150 * MEGABYTE, "answers that nobody reads pile up"
                ledger = load.stop()
        finally:
            for reader in readers:
                reader.close()
        assert set(ledger.statuses) == {200}, ledger.errors
        eventually(lambda: in_flight(up, "unread") == 0, "none is under way")


def test_a_worker_without_file_descriptors_does_not_spin(at):
    up = at.up
    [scene] = [scene for scene in SCENES if scene.name == "no-files"]
    pids = up.pids("worker")
    used = {}

    class Watched:
        """The fault, and what the workers use of the CPU while it lasts."""

        def __init__(self, fault):
            self.fault = fault

        def felt(self):
            if not self.fault.felt():
                return False
            used.setdefault("from", (time.monotonic(), cpu_seconds(pids)))
            if time.monotonic() - used["from"][0] < 1.0:
                return False
            used["to"] = (time.monotonic(), cpu_seconds(pids))
            return True

    def fault(on):
        found = scene.fault(on)
        return type(found)(found.name, found.inject, Watched(found).felt, found.recovered, found.lift)

    files = [open_files(pid) for pid in pids]
    incident = play(type(scene)("spinning", scene.document, fault, scene.allowed, rate=20.0), at, calm=20)
    assert set(incident.errors) <= {0}
    assert not incident.problems
    (began, before), (ended, after) = used["from"], used["to"]
    assert (after - before) / (ended - began) < 0.5, "cores used by idle workers"
    eventually(lambda: all(open_files(p) <= f + 4 for p, f in zip(pids, files, strict=True)), "closed again")


def cpu_seconds(pids):
    """User and system time of these processes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / 100


def unavailable(up):
    """An answer 503; now and then a request tries whether the target is back."""
    answer = up.client.post("/v2/models/spared/infer", content=body(0))
    return answer if answer.status_code == 503 else None


def test_with_every_target_down_each_client_is_told_at_once_and_targets_are_spared(at):
    up = at.up
    at.wire.set()
    document = {
        "stable": {**at.far, "model": "digits/1"},
        "canary": {**at.far, "weight": 50},
        "timeout": "1s",
    }
    with piloted(up, "spared", document):
        eventually(up.all_targets_ready, "ready")
        at.server.manner = "500"
        asked = at.server.asked
        try:
            with Load(f"{up.url}/v2/models/spared/infer", 50, plain) as load:
                eventually(lambda: load.ledger.sent >= 200, "load")
                ledger = load.stop()
            refused = eventually(lambda: unavailable(up), "ejected")
        finally:
            at.server.manner = "well"
        assert set(ledger.statuses) <= {502, 503}
        assert ledger.statuses[503] > 0.9 * ledger.sent, "ejected, and said so"
        assert int(refused.headers["retry-after"]) >= 1
        assert at.server.asked - asked < 0.5 * ledger.sent, "without asking the target"
