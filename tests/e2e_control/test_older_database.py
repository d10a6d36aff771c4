"""A database of yesterday does not rule: nodes serve on with what they have until a person lets it."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.command import told
from harness.control import CANARY, Control, Node, controlling, following
from harness.rows import plain
from harness.system import START_SECONDS, eventually

STABLE = {"stable": "digits/1"}
TWO = {"stable": "digits/2"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("older")
    with controlling(folder) as control:
        control.put("digits", STABLE).raise_for_status()
        with following(folder, control) as node:
            for each in (control.client, node.client):
                each.timeout = START_SECONDS  # a model is verified, by a process that starts
            yield control, node


def copied(source: Path, target: Path) -> None:
    """A database as a backup has it."""
    for log in target.parent.glob(f"{target.name}-*"):
        log.unlink()
    target.unlink(missing_ok=True)
    closing = contextlib.closing
    with closing(sqlite3.connect(source)) as before, closing(sqlite3.connect(target)) as after:
        before.backup(after)


def answered_by(node: Node) -> str:
    headers, body = plain(0)
    answer = node.client.post("/v2/models/digits/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-understudy-target"])


def follows(control: Control) -> bool:
    view = control.view("digits")
    return bool(view["applied"]) and bool(view["in_force_everywhere"])


def refusing(control: Control) -> float:
    """As the metric says it."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(control.client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "understudy_nodes_refusing" and sample.labels["reason"] == "older_database"
    )


def is_told_of(control: Control) -> None:
    """By all that say how control is."""
    need = control.client.get("/v1/needs").json()[0]
    assert (need["kind"], need["model"]) == ("older_database", None)
    assert "1 of 1 nodes are given nothing and serve what they have" in need["sentence"]
    assert "--new-epoch" in need["sentence"]
    answer = control.client.get("/readyz")
    assert answer.status_code == 503
    assert need["sentence"] in answer.json()["detail"]
    listed = told("rollouts", "list", environment={"UNDERSTUDY_CONTROL": control.url})
    assert "! Database is older since" in listed.output
    rows = control.client.get("/v1/nodes").json()
    assert any("which the state database of control never gave" in row["refused"] for row in rows)
    assert refusing(control) == 1


def test_nodes_serve_on_until_the_newer_database_is_back_or_a_person_lets_the_older_one_rule(pair):
    control, node = pair
    state, folder = control.folder / "state" / "state.db", control.folder
    copied(state, folder / "yesterday.db")
    control.put("digits", TWO).raise_for_status()
    eventually(lambda: answered_by(node) == "digits/2", "the edit is in force")
    control.kill()
    copied(state, folder / "today.db")
    copied(folder / "yesterday.db", state)
    control.start()
    eventually(lambda: is_told_of(control) is None, "control says so")
    assert answered_by(node) == "digits/2"
    for _ in range(2):  # revisions that nodes know by their numbers, and are of another history
        control.put("digits", CANARY).raise_for_status()
        control.put("digits", STABLE).raise_for_status()
    node.process.end()
    node.start()
    node.wait_ready()
    assert answered_by(node) == "digits/2", "from its disk"
    eventually(lambda: is_told_of(control) is None, "control says so again")
    assert not follows(control)

    control.kill()
    copied(state, folder / "edited.db")
    copied(folder / "today.db", state)
    control.start()
    eventually(lambda: follows(control), "with the newer database all is as it was")
    assert refusing(control) == 0
    assert answered_by(node) == "digits/2"

    control.kill()
    copied(folder / "edited.db", state)
    control.start("--new-epoch")
    eventually(lambda: follows(control), "a person said so")
    assert answered_by(node) == "digits/1"
    eventually(lambda: refusing(control) == 0, "no node refuses")
    assert all(need["kind"] != "older_database" for need in control.client.get("/v1/needs").json())
    assert "--new-epoch" in control.history("digits")[0]["reason"]
    control.kill()
    control.start()
    control.wait_ready()
    eventually(lambda: follows(control), "the next start is as any other")
