import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.command import told, understudy
from harness.control import CANARY, STABLE, STEPS, controlling, own_name
from harness.system import MODELS, eventually
from harness.warm import Program, python

COMMAND = [sys.executable, "-m", "understudy"]


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with controlling(tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.fixture
def model(request) -> str:
    return own_name(request.node.name)


def environment(control) -> dict[str, str]:
    return {**os.environ, "UNDERSTUDY_CONTROL": control.url, "COLUMNS": "200", "TERM": "xterm"}


def rollouts(control, *arguments: str, stdin: str = "", code: int = 0) -> str:
    ended = told("rollouts", *arguments, environment=environment(control), stdin=stdin)
    assert ended.exit_code == code, (ended.exit_code, ended.stdout, ended.stderr)
    return ended.stdout if code == 0 else ended.stdout + ended.stderr


@contextlib.contextmanager
def watching(control, model: str, *options: str) -> Iterator[Program | subprocess.Popen[str]]:
    command = ["-m", "understudy", "rollouts", "watch", model, "--interval", "0.1", *options]
    with python(*command, env=environment(control), stdout=subprocess.PIPE) as watch:
        try:
            yield watch
        finally:
            watch.kill()


def test_apply_shows_a_diff_asks_and_puts(control, model, tmp_path):
    control.put(model, STABLE)
    file = tmp_path / "rollouts.yaml"
    file.write_text(f"{model}:\n  stable: digits/1\n  canary: {{model: digits/2, weight: 10}}\n")
    said = rollouts(control, "apply", "-f", str(file), stdin="n\n", code=1)
    assert "+canary:" in said
    assert "digits/1 90%, digits/2 10%; to load: digits/2" in said
    assert control.view(model)["serving"]["canary"] is None
    rollouts(control, "apply", "-f", str(file), "--reason", "try it", stdin="y\n")
    assert control.view(model)["serving"]["weight"] == 10
    assert control.history(model)[0]["reason"] == "try it"
    assert "no change" in rollouts(control, "apply", "-f", str(file))


def test_apply_speaks_json_and_a_dry_run_changes_nothing(control, model, tmp_path):
    file = tmp_path / "rollouts.yaml"
    file.write_text(f"{model}: {{stable: digits/1}}\n")
    [proposal] = json.loads(rollouts(control, "apply", "-f", str(file), "--dry-run", "--json"))
    assert proposal["changed"]
    assert control.client.get(f"/v1/rollouts/{model}").status_code == 404
    [view] = json.loads(rollouts(control, "apply", "-f", str(file), "--yes", "--json"))
    assert view["revision"] == control.view(model)["revision"]


def test_a_file_at_fault_is_refused_with_line_and_column(control, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("digits:\n  stable: digits/1\n  stabel: digits/2\n")
    for command in (("apply", "-f"), ("lint",)):
        assert "bad.yaml:3:11: " in rollouts(control, *command, str(file), code=1)
    file.write_text("digits:\n  stable: digits/1\n  canary: digits/9\n")
    rollouts(control, "apply", "-f", str(file), "--yes", code=1)


FAULTY = """\
{model}-good:
  stable: digits/1
{model}-a:
  stabel: digits/2
  canary: {{model: digits/2, weight: 200, mirror: x}}
{model}-b:
  stable: digits/9
  canary: iris/1
  shadows:
    - digits/1
    - nobody/1
"""


def test_apply_and_lint_name_every_fault_of_a_file_and_apply_puts_none_of_it(control, model, tmp_path):
    file = tmp_path / "many.yaml"
    file.write_text(FAULTY.format(model=model))
    written = [
        "many.yaml:4:3: ", "many.yaml:4:11: ", "many.yaml:5:37: ", "many.yaml:5:50: ",
    ]  # fmt: skip
    of_models = ["many.yaml:7:11: ", "many.yaml:11:7: "]
    said = rollouts(control, "lint", str(file), code=1)
    assert [place for place in written + of_models if place in said] == written
    for command in (
        ("apply", "--yes", "-f"),
        ("apply", "--dry-run", "-f"),
        ("lint", "--models", str(MODELS)),
    ):
        said = rollouts(control, *command, str(file), code=1)
        assert [place for place in written + of_models if place in said] == written + of_models
        assert said.count("error: ") == len(written + of_models)
        assert said.count("many.yaml:") == len(written + of_models), said
    assert control.client.get(f"/v1/rollouts/{model}-good").status_code == 404


def test_lint_says_which_signatures_do_not_fit(control, tmp_path):
    file = tmp_path / "misfit.yaml"
    file.write_text("digits:\n  stable: digits/1\n  canary: iris/1\n")
    rollouts(control, "lint", str(file))
    [fault] = json.loads(rollouts(control, "lint", str(file), "--models", str(MODELS), "--json", code=1))[
        "faults"
    ]
    assert (fault["line"], fault["column"]) == (3, 11)
    assert "cannot stand in for digits/1" in fault["message"]


def test_a_change_that_was_based_on_an_older_revision_changes_no_other_rollout_either(control, model):
    control.put(model, STABLE)
    content = json.dumps({model: CANARY, f"{model}-new": STABLE})
    params = {"basedOn": [f"{model}:1000000", f"{model}-new:0"]}
    assert control.client.post("/v1/rollouts", content=content, params=params).status_code == 412
    assert control.client.get(f"/v1/rollouts/{model}-new").status_code == 404
    params = {"basedOn": [f"{model}:{control.view(model)['revision']}", f"{model}-new:0"]}
    answer = control.client.post("/v1/rollouts", content=content, params=params)
    assert [view["model"] for view in answer.json()] == [model, f"{model}-new"]
    wrong = control.client.post("/v1/rollouts", content=content, params={"basedOn": "nobody:1"})
    assert (wrong.status_code, wrong.json()["detail"]) == (
        400,
        "basedOn: the document has no rollout 'nobody'",
    )


def test_actions_change_a_rollout_and_keep_the_reason(control, model):
    control.put(model, STEPS)
    for action in ("pause", "resume", "abort", "resume", "promote"):
        view = json.loads(rollouts(control, action, model, "--reason", f"to {action}", "--json"))
        assert view["model"] == model
        assert f"to {action}" in control.history(model)[0]["reason"]
    rollouts(control, "pause", model, code=1)  # a promotion under way cannot be paused


def test_undo_goes_back_and_history_tells_it(control, model):
    control.put(model, STABLE)
    control.put(model, CANARY)
    reason = "[/red] agreement:label: too early"  # no markup, no emoji
    rollouts(control, "undo", model, "--reason", reason, "--yes")
    assert control.view(model)["serving"]["canary"] is None
    assert reason in rollouts(control, "history", model)
    rows = json.loads(rollouts(control, "history", model, "--json"))
    assert len(rows) == 3


def test_the_export_is_written_whole(control, model, tmp_path):
    control.put(model, STABLE)
    rows = control.history(model)
    assert json.loads(rollouts(control, "export", model))["revisions"] == rows
    file = tmp_path / "audit.html"
    rollouts(control, "export", model, "--page", "-o", str(file))
    assert f"Revision {rows[0]['revision']}" in file.read_text()
    assert "no rollout" in rollouts(control, "export", "nobody", code=1)


def test_undo_says_what_will_serve_and_asks(control, model):
    control.put(model, {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 80}})
    control.put(model, STEPS)
    before = control.view(model)
    said = rollouts(control, "undo", model, stdin="n\n", code=1)
    assert "digits/1 20%, digits/2 80%; to load: nothing" in said
    assert f"{model}: then: digits/2 is given 80%, digits/1 the rest" in said
    assert control.view(model) == before
    proposal = json.loads(rollouts(control, "undo", model, "--to", str(before["revision"]), "--json"))
    assert (proposal["changed"], proposal["revision"]) == (False, before["revision"])
    said = rollouts(control, "undo", model, "--to", str(before["revision"]))
    assert "no change" in said
    assert f"still: {before['status']['sentence']}" in said
    rollouts(control, "undo", model, stdin="y\n")
    assert control.view(model)["serving"]["weight"] == 80


def test_list_and_show_speak_to_people_and_to_programs(control, model):
    control.put(model, CANARY)
    assert model in rollouts(control, "list")
    assert any(row["model"] == model for row in json.loads(rollouts(control, "list", "--json")))
    assert "digits/2 is given 10%" in rollouts(control, "show", model)
    file = "rollouts.yaml: cannot be read"  # of no rollout: standard error under --json
    assert "! Rollout file refused since " in rollouts(control, "list")
    assert file in rollouts(control, "list")
    assert file not in rollouts(control, "list", "--json")
    control.act(model, "abort", reason="no good")
    listed = rollouts(control, "list")
    assert re.search(rf"! {re.escape(model)}: Taken off since .*: digits/2 was taken off \(no good\)", listed)
    assert "! Taken off since" not in rollouts(control, "show", model)  # its name is on the line
    assert "no agreement guard" not in listed
    assert json.loads(rollouts(control, "show", model, "--json"))["document"]["canary"]["weight"] == 10
    assert "no rollout for model" in rollouts(control, "show", "nobody", code=1)


def test_no_control_is_one_line_and_exit_code_1(control, tmp_path):
    said = rollouts(control, "list", "--admin", "http://127.0.0.1:1", code=1)
    assert said.startswith("error: http://127.0.0.1:1: ")


def test_a_shadow_has_a_line_of_its_own(control, model):
    shadowed = {**STABLE, "shadows": [{"model": "digits/3", "sample": 100}]}
    control.put(model, shadowed).raise_for_status()
    assert "nothing was compared yet; no agreement guard" in rollouts(control, "show", model)


def test_delete_asks_and_serves_the_name_no_longer(control, model):
    control.put(model, STABLE)
    assert "digits/1 is stable" in rollouts(control, "delete", model, stdin="n\n", code=1)
    assert control.view(model)["document"]["stable"] == "digits/1"
    assert "deleted" in rollouts(control, "delete", model, "--yes", "--reason", "unused")
    assert control.client.get(f"/v1/rollouts/{model}").status_code == 404
    assert control.history(model)[0]["reason"] == "unused"
    assert "no rollout for model" in rollouts(control, "delete", model, "--yes", code=1)


# ------------------------------------------------------------------ watch
def test_watch_prints_an_object_a_change_and_ends_with_3_when_it_is_rolled_back(control, model):
    first = control.put(model, STEPS).json()["revision"]
    with watching(control, model, "--json", "--until-done") as watch:
        assert json.loads(watch.stdout.readline())["revision"] >= first
        control.act(model, "abort", reason="no good")
        rest = [json.loads(line) for line in watch.stdout]
        assert watch.wait(30) == 3
        assert rest[-1]["status"]["phase"] == "rolled_back"
        assert "no good" in rest[-1]["reason"]
        assert rest[-1]["revision"] == control.view(model)["revision"]


def test_watch_ends_with_0_when_it_is_promoted(control, model):
    control.put(model, CANARY)
    with watching(control, model, "--until-done") as watch:
        assert "by local: put" in watch.stdout.readline()
        control.act(model, "promote", reason="good")

        def promoted() -> bool:
            revision = control.sync("w1", ["digits/1", "digits/2"])["revision"]
            control.sync("w1", ["digits/1", "digits/2"], revision)
            return control.view(model)["status"]["phase"] == "promoted"

        eventually(promoted, "promoted")
        assert "digits/2 took over from digits/1" in watch.stdout.read()
        assert watch.wait(30) == 0


def test_a_test_is_listed_watched_and_promoted_by_the_name_of_a_candidate(control, model):
    candidates = [{"model": "digits/2", "weight": 20}, {"model": "digits/3", "weight": 30}]
    first = control.put(model, {"stable": "digits/1", "candidates": candidates}).raise_for_status()
    with watching(control, model, "--json", "--until-done") as watch:
        seen = json.loads(watch.stdout.readline())
        assert seen["revision"] == first.json()["revision"]
        assert [row["target"] for row in seen["candidates"]] == ["digits/2", "digits/3"]
        assert "digits/2, digits/3" in rollouts(control, "list")
        assert "say a target" in rollouts(control, "promote", model, code=1)
        asked = ["promote", model, "--target", "digits/3", "--reason", "it is faster"]
        assert "promoting digits/3" in rollouts(control, *asked)
        control.act(model, "abort", reason="no good")
        assert watch.wait(30) == 3


def test_watch_ends_with_5_when_a_person_is_asked_and_with_6_when_time_is_up(control, model):
    control.put(model, STEPS)
    assert "setting the weight" in rollouts_error(control, model, "--timeout", "0", code=6)
    control.act(model, "pause", reason="lunch")
    assert "lunch" in rollouts_error(control, model, code=5)


def rollouts_error(control, model, *options: str, code: int) -> str:
    """What a watch that ends by itself says on its way out."""
    ended = understudy("rollouts", "watch", model, "--until-done", *options, env=environment(control))
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    return ended.stderr


def test_watch_outlives_control_and_misses_no_change(tmp_path):
    with controlling(tmp_path) as control:
        control.put("digits", CANARY)
        with watching(control, "digits", "--json", "--until-done") as watch:
            seen = [json.loads(watch.stdout.readline())["revision"]]
            control.process.popen.kill()
            control.process.popen.wait()
            control.start()
            control.wait_ready()
            for seconds in (2, 3, 4):
                control.put("digits", {**CANARY, "timeout": f"{seconds}s"}).raise_for_status()
            control.act("digits", "abort")
            seen += [json.loads(line)["revision"] for line in watch.stdout]
            assert watch.wait(30) == 3
            assert seen == [row["revision"] for row in reversed(control.history("digits"))]


def test_watch_draws_at_a_terminal_and_ends_with_ctrl_c(control, model):
    control.put(model, STEPS)
    eventually(lambda: control.view(model)["status"]["phase"] in ("paused", "progressing"), "going")
    master, slave = pty.openpty()
    command = [*COMMAND, "rollouts", "watch", model, "--interval", "0.1"]
    with subprocess.Popen(command, env=environment(control), stdout=slave, stderr=slave) as watch:
        os.close(slave)
        drawn = b""
        while b"promote" not in drawn or b"digits/2" not in drawn:
            assert select.select([master], [], [], 30)[0], drawn
            drawn += os.read(master, 65536)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 0
    os.close(master)
    assert b"steps" in drawn
    assert b"pause" in drawn
    assert b"Traceback" not in drawn


# ------------------------------------------------------------------ completion
@pytest.mark.parametrize(
    ("words", "offered"),
    [("understudy ro", "rollouts"), ("understudy rollouts wa", "watch"), ("understudy u", "up")],
)
def test_the_shell_completes_commands(control, words, offered):
    script = Path(sys.executable).with_name("understudy")
    completing = {
        **environment(control),
        "_UNDERSTUDY_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    ended = subprocess.run([script], env=completing, capture_output=True, text=True, timeout=240, check=False)
    assert offered in ended.stdout.split(), ended
