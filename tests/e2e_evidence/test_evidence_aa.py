"""A/A with real processes: by the command, at the door, and when things happen meanwhile."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import pytest

from harness.control import is_problem
from harness.load import Load
from harness.pilot import piloted
from harness.rows import plain
from harness.system import START_SECONDS, children
from harness.system import eventually as within

STABLE = {"stable": "digits/1"}


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """As that of the harness; each of these waits for a process that starts."""
    return within(condition, what, START_SECONDS)


@pytest.fixture
def up(node):
    return node


@contextlib.contextmanager
def command(up, model: str, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """`understudy rollouts aa`, killed if it is still there at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "understudy", "rollouts", "aa", model, *arguments],
        env={**os.environ, "UNDERSTUDY_CONTROL": up.admin_url, "COLUMNS": "200"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as asked:  # fmt: skip
        try:
            yield asked
        finally:
            asked.kill()


def start(pilot, **wanted: Any) -> int:
    """Start one at the door; the revision that it has."""
    answer = pilot.up.admin.post(f"/v1/rollouts/{pilot.model}/aa", json=wanted)
    return int(answer.raise_for_status().json()["revision"])


def shown(pilot) -> Mapping[str, Any]:
    return dict(pilot.up.admin.get(f"/v1/rollouts/{pilot.model}/aa").raise_for_status().json())


def copy_is_ready(pilot) -> bool:
    return any(
        target["role"] == "canary" and target["ready"] and all(target["ready"].values())
        for target in pilot.up.view(pilot.model)["targets"]
    )


def seen(pilot, what: str) -> bool:
    report = shown(pilot)["report"]
    return bool(report and report[what])


def answered(pilot) -> int:
    """Requests that the copy has answered."""
    return shown(pilot)["report"]["canary"]["requests"]


def compared(pilot) -> int:
    report = shown(pilot)["report"]
    return max((each["differences"]["trials"] for each in report["outputs"]), default=0) if report else 0


def test_stable_agrees_with_itself_and_all_is_as_it_was_before(up):
    wanted = ("--requests", "500", "--for", "5m", "--reason", "is it fair?", "--json")
    with piloted(up, "same", STABLE) as pilot, pilot.load(40) as load, contextlib.ExitStack() as stack:
        before = up.view("same")
        asked = stack.enter_context(command(up, "same", *wanted))
        eventually(lambda: copy_is_ready(pilot), "the copy is ready")
        view = up.view("same")
        digests = {target["role"]: target["sha256"] for target in view["targets"]}
        assert digests["canary"] == digests["stable"] != ""
        assert (view["status"]["phase"], view["actions"]) == ("aa", ["abort"])
        assert view["serving"] == {
            "stable": "digits/1", "canary": "digits/1", "weight": 10, "mirror": 100, "top_up": 0,
            "waves": None,
        }  # fmt: skip
        assert view["document"] == before["document"]
        assert len(up.pids("sandbox", "digits/1")) == 1
        refused = up.admin.post("/v1/rollouts/same/aa")
        assert "abort ends it" in is_problem(refused, 409)["detail"]
        out, err = asked.communicate(timeout=300)
        assert asked.returncode == 0, (out, err)
        eventually(lambda: up.pids("sandbox", "digits/1") == [], "its sandbox has ended")
        after = up.view("same")
    assert set(load.ledger.statuses) == {200}, load.ledger.errors
    assert set(load.ledger.targets) == {"digits/1"}
    kept = ("document", "status", "serving", "targets", "actions", "aa", "shadows")
    ended = {**after, "status": {**after["status"], "stage": before["status"]["stage"]}}
    assert {key: ended[key] for key in kept} == {key: before[key] for key in kept}
    report = orjson.loads(out)
    assert (report["running"], report["ended_by"], report["started_by"]) == (False, "autopilot", "local")
    found = report["report"]
    assert found["alarms"] == 0, found
    assert found["stable"]["requests"] > found["canary"]["requests"] > 20
    assert [output["output"] for output in found["outputs"]] == ["label", "probabilities"]
    for output in found["outputs"]:
        assert output["differences"]["events"] == 0
        assert 0 < output["differences"]["most"] < 0.05
    assert found["latency"]["pairs"] > 20


def test_who_started_it_and_why_it_ended_is_in_the_audit_log(up):
    with piloted(up, "audited", STABLE) as pilot, pilot.load(25):
        revision = start(pilot, seconds=3600, weight=50, reason="is it fair?")
        eventually(lambda: seen(pilot, "outputs"), "comparisons")
        pilot.act("abort")
        ended, began, put = pilot.history
    assert (put["revision"], began["revision"]) == (put["revision"], revision)
    assert began["reason"].startswith("A/A: digits/1 against itself at 50%, 0 of 3600 s (started by local)")
    assert began["reason"].endswith("is it fair?")
    assert ended["reason"] == "the A/A of digits/1 against itself ended: the test"
    assert ended["evidence"]["revision"] == revision
    assert ended["evidence"]["report"]["outputs"]
    assert put["document"] == began["document"] == ended["document"]


def test_a_killed_control_ends_it_all_the_same(up):
    with piloted(up, "killed", STABLE) as pilot, pilot.load(25) as load:
        revision = start(pilot, seconds=8, weight=50)
        eventually(lambda: seen(pilot, "canary"), "a first look")
        [control] = children(up.process.popen.pid, "control")
        os.kill(control, signal.SIGKILL)
        eventually(lambda: not shown(pilot)["running"], "it ended")
        found = shown(pilot)
        assert (found["revision"], found["ended_by"]) == (revision, "autopilot")
        assert found["ended"] == "the A/A of digits/1 against itself ended: after 8 s"
        assert found["report"]["canary"]["requests"] > 0
        assert pilot.status["phase"] == "idle"
    assert set(load.ledger.statuses) == {200}, load.ledger.errors


def test_a_model_that_never_answers_the_same_has_a_floor_of_disagreement(up):
    with piloted(up, "noisy", {"stable": "digits/70"}) as pilot:
        with Load(f"{up.url}/v2/models/noisy/infer", 25, plain):
            start(pilot, seconds=3600)
            eventually(lambda: compared(pilot) > 50, "comparisons")
            pilot.act("abort")
        [output] = [each for each in shown(pilot)["report"]["outputs"] if each["output"] == "probabilities"]
    assert output["differences"]["events"] > 0.5 * output["differences"]["trials"]
    assert output["differences"]["least"] > 0.3
    assert output["farthest"] > 1e-3
    assert "for floats atol" in output["suggestion"]


def test_ctrl_c_ends_it_and_says_so(up):
    wanted = ("--for", "1h", "--weight", "50")
    with (
        piloted(up, "interrupted", STABLE) as pilot,
        pilot.load(25),
        command(up, "interrupted", *wanted) as asked,
    ):
        eventually(lambda: compared(pilot) and answered(pilot), "answers of the copy")
        asked.send_signal(signal.SIGINT)
        out, err = asked.communicate(timeout=300)
        assert asked.returncode == 0, (out, err)
        assert "interrupted, the A/A was ended" in err
        assert "no disagreement in" in out
        assert pilot.status["phase"] == "idle"


def test_an_edit_or_a_deletion_ends_it_and_the_command_says_so(up):
    with (
        piloted(up, "edited", STABLE) as pilot,
        pilot.load(25),
        command(up, "edited", "--for", "1h") as asked,
    ):
        eventually(lambda: seen(pilot, "outputs"), "comparisons")
        pilot.put({**STABLE, "timeout": "2s"})
        out, _ = asked.communicate(timeout=300)
        assert asked.returncode == 1
        assert "it ends the A/A of edited" in out
        assert "no disagreement in" in out, "the report as far as it came"
        row = pilot.history[0]
        assert row["reason"] == "put; it ends the A/A of edited"
        assert row["evidence"]["cut_short"]
        last = up.admin.get("/v1/rollouts/edited/aa").json()
        assert (last["running"], last["cut_short"], last["ended"]) == (False, True, row["reason"])
        assert last["report"] == row["evidence"]["report"]
        assert up.view("edited")["aa"] is None
        start(pilot)
    # `piloted` has deleted it
    [deleted] = up.admin.get("/v1/rollouts/edited/history?limit=1").json()
    assert deleted["reason"] == "deleted; it ends the A/A of edited"


def test_a_canary_or_a_url_refuses_it_in_words(up):
    canary = {**STABLE, "canary": {"model": "digits/2", "weight": 0}}
    with piloted(up, "refused", canary):
        refused = is_problem(up.admin.post("/v1/rollouts/refused/aa"), 409)
        assert refused["detail"].endswith("an A/A takes a document without a canary or candidates")
        assert up.admin.get("/v1/rollouts/refused/aa").status_code == 404
    with piloted(up, "afar", {"stable": {"model": "digits/1", "url": up.url}}):
        assert "stable is behind a URL" in is_problem(up.admin.post("/v1/rollouts/afar/aa"), 409)["detail"]
    assert is_problem(up.admin.post("/v1/rollouts/nobody/aa"), 404)
    assert is_problem(up.admin.post("/v1/rollouts/digits/aa", json={"weight": 100}), 422)


def test_a_model_that_is_both_is_stable_when_it_is_named_and_told_once(up):
    with piloted(up, "named", STABLE) as pilot:
        start(pilot, weight=0.001)
        eventually(lambda: copy_is_ready(pilot), "the copy is ready")
        _, body = plain(0)
        path = "/v2/models/named/versions/1/infer"
        for headers in ({}, {"x-understudy-target": "digits/1"}, {"x-understudy-target": "stable"}):
            assert up.client.post(path, content=body, headers=headers).status_code == 200
        assert up.metric("understudy_requests_total", model="named", role="canary") == 0
        forced = up.client.post(
            "/v2/models/named/infer", content=body, headers={"x-understudy-target": "canary"}
        )
        assert forced.status_code == 200
        eventually(
            lambda: up.metric("understudy_requests_total", model="named", role="canary") == 1, "one by it"
        )
        rows = up.client.post("/v2/repository/index").json()
        assert [row["version"] for row in rows if row["name"] == "named"] == ["1"]
        stats = up.client.get("/v2/models/named/stats").json()["model_stats"]
        assert [row["version"] for row in stats] == ["1"]
