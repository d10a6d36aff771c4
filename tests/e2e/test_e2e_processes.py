"""Processes that die or end: traffic goes on, nothing is forgotten, and an end is orderly."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from harness.load import Load
from harness.pilot import piloted
from harness.rows import DIGITS, body, plain
from harness.shared import BASE
from harness.state import state_folder
from harness.system import MODELS, Process, Up, alive, children, eventually, free_port, running

CANARY = """
digits:
  stable: digits/1
  canary: {model: digits/2, weight: 20}
"""
DOCUMENT = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 20}}


def reset_or_closed(ledger) -> list[str]:
    """Failures other than a refused connection; the ledger keeps the first 20 of all."""
    return [error for error in ledger.errors if "ClientConnectorError" not in error]


def test_a_killed_worker_is_replaced_and_what_it_counted_stays(two):
    with piloted(two, "killed-worker", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        with pilot.load(40, connections=16) as load:
            for _ in range(2):
                sent = load.ledger.sent
                eventually(lambda: load.ledger.sent > sent + 20, "load is on")  # noqa: B023
                old = two.pids("worker")
                before = pilot.metric("requests_total")
                os.kill(old[0], signal.SIGKILL)
                eventually(lambda: len(set(two.pids("worker")) - set(old)) == 1, "a new worker")  # noqa: B023
                eventually(pilot.ready, "it is ready")
                assert pilot.metric("requests_total") >= before > 0
            sent = load.ledger.sent
            eventually(lambda: load.ledger.sent > sent + 20, "load goes on")
            ledger = load.stop()
        # A killed process takes with it what was under way on its connections, at most one each.
        assert set(ledger.statuses) <= {0, 200}, ledger.errors
        assert ledger.statuses[0] <= 2 * 16, ledger.errors
        assert not [error for error in ledger.errors if "ClientConnectorError" in error], "refused"
        assert ledger.statuses[200] <= pilot.metric("requests_total", code="200") <= ledger.sent


def test_a_single_killed_worker_leaves_its_queue_of_connections_to_its_successor(node):
    with piloted(node, "single", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        assert node.client.post(pilot.infer, content=body(0)).status_code == 200
        (pid,) = node.pids("worker")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not alive(pid), "it is dead")
        # Connected while nobody accepts, and answered by the new one.
        with httpx.Client(base_url=node.url, timeout=30, trust_env=False) as client:
            assert client.post(pilot.infer, content=body(0)).status_code == 200
        assert pilot.metric("requests_total", code="200") == 2


def answered_anew(up: Up, connections: int, path: str = DIGITS) -> None:
    """So many clients connect, one after the other, and each has an answer."""
    for _ in range(connections):
        with httpx.Client(base_url=up.url, timeout=30, trust_env=False) as client:
            assert client.post(path, content=body(0)).status_code == 200


def test_the_other_worker_takes_who_waits_at_the_door_of_one_that_is_killed_again_and_again(two):
    with piloted(two, "killed-again", DOCUMENT) as pilot:
        eventually(pilot.ready, "ready")
        answered_anew(two, 8, pilot.infer)
        kept, victim = two.pids("worker")
        ended = threading.Event()

        def kill() -> None:
            while not ended.wait(0.01):
                for pid in {*children(two.process.popen.pid, "router.worker")} - {kept}:
                    os.kill(pid, signal.SIGKILL)

        with ThreadPoolExecutor() as pool:
            killing = pool.submit(kill)
            try:
                eventually(lambda: not alive(victim), "it is dead")
                answered_anew(two, 24, pilot.infer)
            finally:
                ended.set()
            killing.result()
        eventually(lambda: len(two.pids("worker")) == 2, "it is back")
        eventually(pilot.ready, "it is ready")


def test_the_other_worker_takes_who_waits_at_the_door_of_one_that_hangs(tmp_path):
    with running(tmp_path, CANARY, options=("--workers", "2", "--watchdog-seconds", "0")) as up:
        answered_anew(up, 8)
        hanging = up.pids("worker")[0]
        os.kill(hanging, signal.SIGSTOP)
        try:
            answered_anew(up, 24)
        finally:
            os.kill(hanging, signal.SIGCONT)


def test_the_data_plane_serves_while_control_is_dead_and_control_comes_back_where_it_was(node):
    name = "while-dead"
    path = f"/v2/models/{name}/infer"
    edit = lambda weight: node.edit(BASE + CANARY.replace("digits:", f"{name}:").replace("20", weight))  # noqa: E731
    weight = lambda: node.view(name)["serving"]["weight"]  # noqa: E731
    edit("20")
    eventually(lambda: node.client.post(path, content=body(0)).status_code == 200, "it is served")
    counted = node.metric("understudy_requests_total", model=name)
    with Load(node.url + path, 30, plain) as load:
        edit("30")
        eventually(lambda: weight() == 30, "edited")
        view = node.view(name)
        (pid,) = children(node.process.popen.pid, "control")
        os.kill(pid, signal.SIGKILL)
        sent = load.ledger.sent
        eventually(lambda: load.ledger.sent > sent + 30, "load goes on")
        eventually(lambda: node.view(name)["revision"] == view["revision"], "control is back")
        eventually(node.all_targets_ready, "everyone is in step")
        after = node.view(name)
        assert (after["revision"], after["document"]) == (view["revision"], view["document"])
        edit("40")
        eventually(lambda: weight() == 40, "edits are taken again")
        ledger = load.stop()
    assert set(ledger.statuses) == {200}, ledger.errors
    assert node.metric("understudy_requests_total", model=name, code="200") == counted + ledger.sent
    node.edit(BASE)
    eventually(lambda: node.admin.get(f"/v1/rollouts/{name}").status_code == 404, "it is gone")


def control(folder, admin_port, file) -> Process:
    return Process(
        [
            "control", "--models", str(MODELS), "--rollouts", str(file), "--admin-port", str(admin_port),
            "--state-dir", state_folder(folder / "control-state"),
        ],
        folder,
    )  # fmt: skip


def node(folder, admin_port, port, metrics_port) -> Process:
    return Process(
        [
            "node", "--control", f"http://127.0.0.1:{admin_port}", "--models", str(MODELS),
            "--host", "127.0.0.1", "--port", str(port), "--metrics-port", str(metrics_port),
            "--state-dir", state_folder(folder / "node-state", control=False),
        ],
        folder,
        {"UNDERSTUDY_DRAIN_SECONDS": "0"},
    )  # fmt: skip


def test_a_node_that_restarts_without_control_serves_its_last_good_snapshot(tmp_path):
    admin_port, port, metrics_port = free_port(), free_port(), free_port()
    file = tmp_path / "rollouts.yaml"
    file.write_text(CANARY.replace("20", "100"))
    processes = [control(tmp_path, admin_port, file), node(tmp_path, admin_port, port, metrics_port)]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:

        def answers_by():
            return client.post(DIGITS, content=body(0)).headers.get("x-understudy-target")

        try:
            eventually(lambda: answers_by() == "digits/2", "the canary answers")
            text = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics", trust_env=False).text
            assert 'understudy_requests_total{code="200",model="digits",role="canary"' in text
            assert processes[1].end() == 0
            assert processes[0].end() == 0
            processes.append(node(tmp_path, admin_port, port, metrics_port))
            eventually(lambda: answers_by() == "digits/2", "the canary answers without control")
            file.write_text("digits: {stable: digits/3}")
            processes.append(control(tmp_path, admin_port, file))
            eventually(lambda: answers_by() == "digits/3", "control is back, with an edit")
        finally:
            codes = [process.end() for process in reversed(processes)]
        assert codes == [0, 0, 0, 0], "\n".join(process.log.read_text()[-2000:] for process in processes)


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_ending_under_load_loses_no_request(tmp_path, workers):
    up = Up(tmp_path, CANARY, options=("--workers", workers))
    try:
        up.wait_ready()
        pids = [pid for kind in ("worker", "sandbox") for pid in up.pids(kind)]
        with Load(up.url + DIGITS, 50, plain, connections=16) as load:
            eventually(lambda: load.ledger.statuses[200] > 40, "load is on")
            up.process.popen.send_signal(signal.SIGTERM)
            eventually(lambda: load.ledger.statuses[0] > 0, "it is gone")
            ledger = load.stop()
    finally:
        code = up.end()
    assert code == 0, up.process.log.read_text()[-4000:]
    assert set(ledger.statuses) == {0, 200}
    assert not reset_or_closed(ledger), ledger.errors
    assert not any(alive(pid) for pid in pids)
