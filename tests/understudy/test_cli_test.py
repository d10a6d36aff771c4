"""`understudy test`: exit codes, figures and files; most runs within this process."""

import json
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from graphs import put, unary
from typer.testing import CliRunner

from harness.command import understudy
from harness.digit_models import failing_digits
from harness.system import MODELS
from understudy.cli import app

HELD_OUT = MODELS / "digits" / "heldout.npz"
QUICK = ("--timing", "2s")


def run(*arguments, code, models=MODELS):
    done = CliRunner().invoke(app, ["test", *map(str, arguments), "--models", str(models)])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done


def in_a_process(*arguments, code):
    done = understudy("test", *map(str, arguments), "--models", str(MODELS))
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout


def test_a_better_model_is_proven():
    told = json.loads(in_a_process("digits/2", "--against", "digits/1", "--on", HELD_OUT, "--json", code=0))
    assert (told["verdict"], told["exit_code"], told["rows"]) == ("proven", 0, 719)
    assert {guard["guard"] for guard in told["judgement"]["guards"]} == {
        "errors",
        "latency",
        "agreement:label",
    }
    right = told["accuracy"]
    assert right["candidate"]["events"] == 710 > right["base"]["events"] == 696
    assert right["least"] > 0
    assert told["speed"]["pairs"] >= 1000
    assert told["speed"]["least"] <= told["speed"]["ratio"] <= told["speed"]["most"]
    assert 1e6 < told["candidate"]["peak_bytes"] < 1e9


def test_a_harmful_model_is_told_with_its_worst_segment_and_in_every_format(tmp_path):
    files = [f"--{kind}={tmp_path / kind}" for kind in ("junit", "markdown", "html")]
    text = in_a_process("digits/3", "--against", "digits/1", "--on", HELD_OUT, *files, code=3)
    assert text.startswith("harmful: digits/3 against digits/1 on 719 rows")
    assert "digits/1's label = 8" in text
    suite = ET.parse(tmp_path / "junit").find("testsuite")
    assert [case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None] == [
        "agreement:label"
    ]
    assert (tmp_path / "markdown").read_text().startswith("### ❌ harmful")
    assert "66 of 719 comparisons of label differed, tolerated 5%" in (tmp_path / "markdown").read_text()
    assert "label = 8" in (tmp_path / "html").read_text()


def test_few_rows_decide_nothing():
    assert "undecided" in run("iris/1", "--against", "iris/1", *QUICK, code=5).stdout


def test_a_rollout_says_what_is_tested_and_how_it_is_judged(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(
        "digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 5, mirror: 5}\n"
        "  compare: {probabilities: {atol: 0.9}}\n"
        "  guards:\n    agreement: {output: probabilities, min: 90%}\n    errors: {max: 2%, per: 10s}\n"
        "    orders: {promql: up, min: 1}\n"
    )
    of = ("--rollout", "digits", "--rollouts", file, *QUICK)
    told = json.loads(run(*of, "--json", code=0).stdout)
    assert [guard["guard"] for guard in told["judgement"]["guards"]] == ["agreement:probabilities", "errors"]
    assert [output["output"] for output in told["outputs"]] == ["probabilities"]
    notes = " ".join(told["notes"])
    assert "orders: left out, rows do not tell it" in notes
    assert "errors: each row weighs the same" in notes
    named = json.loads(run("digits/3", *of, "--json", code=0).stdout)
    assert named["candidate"]["key"] == "digits/3"


def test_a_rollout_without_guards_is_judged_by_the_defaults(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("digits: {stable: digits/1, canary: {model: digits/3, weight: 5}}\n")
    told = json.loads(run("--rollout", "digits", "--rollouts", file, *QUICK, "--json", code=3).stdout)
    assert len(told["judgement"]["guards"]) == 3
    assert told["notes"] == ["the defaults judge: no guard is enforced that rows can be judged by"]


@pytest.fixture
def repository(tmp_path):
    digits = tmp_path / "models" / "digits"
    shutil.copytree(MODELS / "digits" / "1", digits / "1")
    (digits / "9").mkdir()
    (digits / "9" / "model.onnx").write_bytes(failing_digits())
    put(tmp_path / "models", "other", 1, unary())
    return tmp_path / "models"


def test_rows_on_which_only_the_candidate_fails_are_errors_and_are_told(repository):
    of = ("digits/9", "--against", "digits/1", "--on", HELD_OUT, "--limit", 50, *QUICK)
    told = json.loads(run(*of, "--json", code=3, models=repository).stdout)
    assert told["candidate"]["failures"] == 50
    assert told["judgement"]["reason"].startswith("errors: harmful: 50 of 50 canary requests failed")
    assert told["failures"][0].startswith(f"{HELD_OUT}: row 1: ")
    assert told["speed"] is None


def test_labels_may_lie_in_a_file_of_their_own(tmp_path):
    with np.load(HELD_OUT) as held_out:
        np.savez(tmp_path / "rows.npz", pixels=held_out["inputs"])
        (tmp_path / "truth.csv").write_text("digit\n" + "\n".join(map(str, held_out["labels"])))
    of = ("digits/2", "--against", "digits/1", "--on", tmp_path / "rows.npz", "--json")
    assert json.loads(run(*of, code=0).stdout)["accuracy"] is None
    told = json.loads(run(*of, "--labels", tmp_path / "truth.csv", code=0).stdout)
    assert told["accuracy"]["candidate"]["events"] == 710


def test_a_model_of_numbers_is_measured_by_its_distance_to_the_labels():
    told = json.loads(run("diabetes/1", "--against", "diabetes/1", *QUICK, "--json", code=5).stdout)
    assert told["accuracy"]["difference"] == 0
    assert told["accuracy"]["rows"] == 177


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits/2", "--against", "other/1"], "digits/2 cannot stand in for other/1: it has no input 'x'"),
        (["digits/2"], "what is it held against? name it by --against"),
        ([], "which model is to be tested?"),
        (["digits/77", "--against", "digits/1", "--on", HELD_OUT], "no model 'digits' version '77'"),
        (["digits", "--against", "digits/1", "--on", HELD_OUT], "expected a model and its version"),
        (["digits/1", "--against", "digits/1"], "on which rows? name a file by --on"),
        (["digits/1", "--against", "digits/1", "--on", "none.csv"], "none.csv: No such file"),
        (
            ["digits/1", "--rollout", "digits", "--rollouts", "none.yaml"],
            "name the rollout file by --rollouts",
        ),
    ],
)
def test_what_cannot_be_tested_is_said_in_a_line(repository, tmp_path, arguments, words):
    shutil.copytree(MODELS / "digits" / "2", repository / "digits" / "2")
    if "other/1" in arguments:
        (tmp_path / "x.csv").write_text('x\n"[1,2,3,4]"\n')
        arguments = [*arguments, "--on", tmp_path / "x.csv"]
    assert words in run(*arguments, code=1, models=repository).stderr


def test_of_several_candidates_one_is_named_and_judged_as_it_would_be_alone(tmp_path):
    document = (
        "shop: {stable: digits/1, candidates: [{model: digits/2, weight: 20}, {model: digits/3, weight: 20}],"
        " guards: {agreement: {output: label, min: 95%}}}"
    )
    (tmp_path / "several.yaml").write_text(document)
    asked = ["--rollout", "shop", "--rollouts", tmp_path / "several.yaml", "--on", HELD_OUT]
    words = "which candidate is to be tested? name one of digits/2, digits/3"
    assert words in run(*asked, code=1).stderr
    assert "proven" in run("digits/2", *asked, *QUICK, code=0).stdout
