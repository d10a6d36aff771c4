"""`understudy gate`: one table and the worst exit code for what a change touches."""

import json
import shutil
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from harness.command import understudy
from harness.git import commit
from harness.system import MODELS
from understudy.cli import app

BEFORE = "digits: {stable: digits/1}\ndiabetes: {stable: diabetes/1}\niris: {stable: iris/1}\n"
GUARDS = "guards: {errors: {max: 1%}, agreement: {output: label, min: 95%}}"


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gated")
    for name in ("digits", "iris", "diabetes"):
        shutil.copytree(MODELS / name, folder / "models" / name)
    (folder / "models" / "iris" / "heldout.npz").unlink()
    shutil.copytree(MODELS / "iris" / "1", folder / "models" / "iris" / "2")
    (folder / "rollouts.yaml").write_text(BEFORE)
    commit(folder)
    return folder


@pytest.fixture
def gated(committed, monkeypatch):
    monkeypatch.chdir(committed)
    file = committed / "rollouts.yaml"

    def run(text, *arguments, code):
        file.write_text(text)
        done = CliRunner().invoke(app, ["gate", "--base", "HEAD", *map(str, arguments)])
        assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
        return done

    yield run
    file.write_text(BEFORE)


def outcomes(done):
    told = json.loads(done.stdout)
    return {
        (rollout["model"], check["name"]): check["outcome"]
        for rollout in told["rollouts"]
        for check in rollout["checks"]
    }


def canary(model, further=GUARDS):
    return BEFORE.replace(
        "{stable: digits/1}", f"{{stable: digits/1, canary: {{model: {model}, weight: 5}}, {further}}}"
    )


def test_nothing_touched_passes_and_says_so(gated):
    assert "passed: no rollout of rollouts.yaml touched" in gated("# the same\n" + BEFORE, code=0).stdout


def test_a_good_candidate_passes_and_a_bad_one_does_not(gated, tmp_path):
    good = gated(canary("digits/2"), "--json", code=0)
    assert outcomes(good) == {
        ("digits", "lint"): "passed", ("digits", "models"): "passed",
        ("digits", "test digits/2, errors"): "passed",
        ("digits", "test digits/2, agreement:label"): "passed",
    }  # fmt: skip
    files = [f"--{kind}={tmp_path / kind}" for kind in ("junit", "markdown", "html")]
    bad = gated(canary("digits/3"), *files, code=3)
    assert bad.stdout.startswith("harmful: 1 rollout of rollouts.yaml touched since ")
    root = ET.parse(tmp_path / "junit").getroot()
    assert [suite.get("name") for suite in root] == ["digits (its document)"]
    assert root.get("failures") == "1"
    for kind in ("markdown", "html"):
        assert "test digits/3, agreement:label" in (tmp_path / kind).read_text()


def test_each_rollout_is_checked_and_the_worst_one_counts(gated):
    text = (
        "digits: {stable: digits/3}\n"  # exchanged at once
        "diabetes: {stable: diabetes/9}\n"
        "iris: {stable: iris/1, canary: {model: iris/2, weight: 5}}\n"
        "other: {stabel: digits/1}\n"
    )
    done = gated(text, "--json", code=1)
    found = outcomes(done)
    assert found["digits", "test digits/3, agreement:label"] == "failed"
    assert found["diabetes", "models"] == "failed"
    assert found["iris", "test iris/2"] == "noted"
    assert found["other", "lint"] == "failed"
    by_model = {rollout["model"]: rollout["exit_code"] for rollout in json.loads(done.stdout)["rollouts"]}
    assert by_model == {"digits": 3, "diabetes": 1, "iris": 0, "other": 1}


def test_rows_are_given_by_name_or_for_all(gated, tmp_path):
    (tmp_path / "few.csv").write_text("features[0],features[1],features[2],features[3]\n5,3,1,0.2\n")
    text = BEFORE.replace("{stable: iris/1}", "{stable: iris/1, canary: {model: iris/2, weight: 5}}")
    of = ("--on", f"iris={tmp_path / 'few.csv'}", "--on", "none.csv", "--timing", "1s")
    assert "undecided" in gated(text, *of, code=5).stdout
    assert "none.csv: No such file" in gated(text, "--on", "none.csv", "--json", code=1).stdout


def test_what_cannot_be_compared_ends_with_a_line(committed):
    done = understudy("gate", "--base", "nowhere", cwd=committed)
    assert done.returncode == 1
    assert "there is no revision 'nowhere' here; a shallow clone has few revisions" in done.stderr
