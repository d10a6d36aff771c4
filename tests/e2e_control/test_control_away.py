"""The data plane needs control only to change: it serves without control, its database or its disk."""

import os
import resource
import signal

import pytest

from harness.control import CANARY, Control, Node, controlling, following
from harness.load import Load
from harness.rows import plain
from harness.system import children, eventually

STABLE = {"stable": "digits/1"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("away")
    with controlling(folder) as control:
        control.put("digits", STABLE).raise_for_status()
        with following(folder, control) as node:
            yield control, node


@pytest.fixture
def control(pair):
    pair[0].put("digits", STABLE).raise_for_status()
    eventually(lambda: follows(pair[0]), "in force")
    return pair[0]


@pytest.fixture
def node(pair):
    return pair[1]


def follows(control: Control) -> bool:
    view = control.view("digits")
    ready = all(t["ready"] and all(t["ready"].values()) for t in view["targets"])
    return bool(view["applied"]) and view["in_force_everywhere"] and ready


def answered_by(node: Node) -> str:
    headers, body = plain(0)
    answer = node.client.post("/v2/models/digits/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-understudy-target"]


def served(load: Load, number: int) -> None:
    """Until so many more requests were answered, all well."""
    goal = load.ledger.sent + number
    eventually(lambda: load.ledger.sent >= goal, f"{number} more answers")
    assert set(load.ledger.statuses) == {200}, load.ledger.errors


def test_with_control_dead_the_node_serves_and_follows_again_when_it_is_back(control, node):
    with Load(node.infer_url, 30, plain) as load:
        served(load, 15)
        control.process.popen.kill()
        control.process.popen.wait()
        served(load, 60)
        control.start()
        control.wait_ready()
        control.put("digits", CANARY).raise_for_status()
        eventually(lambda: follows(control), "the edit is in force")
        eventually(lambda: load.ledger.targets["digits/2"] > 0, "the canary answers")
        served(load, 30)


def receipt(node: Node) -> str:
    headers, body = plain(0)
    answer = node.client.post("/v2/models/digits/infer", content=body, headers=headers)
    return answer.headers["x-understudy-receipt"]


def test_a_worker_that_starts_while_control_is_away_signs_with_the_keys_that_its_node_kept(control, node):
    control.put("digits", {**STABLE, "record": {"sample": "100%"}}).raise_for_status()
    eventually(lambda: follows(control), "the edit is in force")
    control.process.popen.kill()
    control.process.popen.wait()
    [worker] = children(node.process.popen.pid, "router.worker")
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: children(node.process.popen.pid, "router.worker") not in ([worker], []), "another one")
    kept = eventually(lambda: receipt(node), "an answer of it")
    control.start()
    control.wait_ready()
    said = control.client.get(f"/v1/receipts/{kept}").raise_for_status().json()
    assert (said["model"], said["role"]) == ("digits", "stable")


def delete_database(control: Control) -> None:
    for file in (control.folder / "state").glob("state.db*"):
        file.unlink()


def test_a_deleted_database_is_written_anew_while_everything_goes_on(control, node):
    control.put("digits", CANARY).raise_for_status()
    before = control.view("digits")
    with Load(node.infer_url, 30, plain) as load:
        delete_database(control)
        eventually(lambda: control.history("digits")[0]["actor"] == "control", "the audit log says so")
        assert control.view("digits")["document"] == before["document"]
        edited = control.put("digits", STABLE, before["revision"]).raise_for_status()
        assert edited.json()["revision"] > before["revision"]
        eventually(lambda: follows(control), "the edit is in force")
        served(load, 15)


def test_a_database_deleted_under_a_dead_control_does_not_stop_serving(control, node):
    with Load(node.infer_url, 30, plain) as load:
        control.process.popen.kill()
        control.process.popen.wait()
        delete_database(control)
        control.start()
        control.wait_ready()
        served(load, 60)  # nothing was accepted yet by this control: no reason to drop what is served
        control.put("digits", CANARY).raise_for_status()
        assert control.view("digits")["revision"] == 1  # as the node had before: a number of another database
        eventually(lambda: follows(control), "the edit is in force")
        eventually(lambda: answered_by(node) == "digits/2", "the canary answers")
    assert set(load.ledger.statuses) == {200}, load.ledger.errors


def test_on_a_full_disk_edits_are_refused_in_words_and_succeed_when_there_is_room(control, node):
    pid = control.process.popen.pid
    before = control.view("digits")
    with Load(node.infer_url, 30, plain) as load:
        unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        refused = control.put("digits", CANARY)
        assert refused.status_code == 503, refused.text
        assert "the state database" in refused.json()["detail"]
        assert control.view("digits") | {"applied": 0} == before | {"applied": 0}
        control.file.write_text("digits: {stable: digits/1, canary: {model: digits/2, weight: 20}}")
        served(load, 30)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
        eventually(lambda: control.view("digits")["serving"]["weight"] == 20, "the file is taken up")
        control.put("digits", CANARY).raise_for_status()
        eventually(lambda: follows(control), "the edit is in force")
        served(load, 15)
    control.file.unlink()


def test_a_node_whose_own_disk_is_full_takes_edits_and_serves(control, node):
    workers = [
        int(row["instance"].rpartition("/")[2])
        for row in control.client.get("/v1/nodes").json()
        if row["kind"] == "worker"
    ]
    unlimited = [resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)) for pid in workers]
    with Load(node.infer_url, 30, plain) as load:
        control.put("digits", CANARY).raise_for_status()
        eventually(lambda: follows(control), "the edit is in force")
        eventually(lambda: load.ledger.targets["digits/2"] > 0, "the canary answers")
        served(load, 30)
    for pid, limit in zip(workers, unlimited, strict=True):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
