"""`understudy profile`: what it refuses, in words; its work is shown by the page (tests/docs)."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.system import MODELS
from understudy.cli import app


def run(*words, code=0):
    done = CliRunner().invoke(app, ["profile", *words, "--models", str(MODELS)])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "whose profile? name the model by --model, e.g. digits/2"),
        (["--model", "iris"], "expected a model and its version"),
        (["--model", "iris/9"], "no model 'iris' version '9'"),
        (["--model", "iris/1", "--compare"], "iris/1 has no profile yet; write one first"),
        (["--model", "iris/1", "--compare", "--add"], "--add writes and --compare does not"),
        (["--model", "iris/1", "--since", "7d"], "--since and --requests-to go with records:PLACE"),
        (["--model", "iris/1", "--compare", "--output", "none.json"], "none.json: No such file"),
        (
            ["statistics.json", "--model", "iris/1", "--limit", "3", "--output", "x"],
            "choose rows; it has none",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_words(words, told):
    assert told in run(*words, code=1)


def test_a_profile_of_another_model_is_refused(tmp_path):
    place = tmp_path / "digits.json"
    written = json.loads(run("--model", "digits/1", "--limit", "20", "--output", str(place), "--json"))
    assert (written["rows"], written["features"]) == (20, 64 + 13)
    told = run("--model", "iris/1", "--output", str(place), "--compare", code=1)
    assert "the profile is of digits/1, and not of iris/1" in told


def test_of_rows_that_a_model_refuses_there_is_no_answer(tmp_path):
    rows, place = tmp_path / "rows.npz", tmp_path / "profile.json"
    np.savez(rows, inputs=np.full((4, 30), np.nan, np.float32))
    run("--model", "cancer/2", "--output", str(place))
    compared = json.loads(
        run(str(rows), "--model", "cancer/2", "--output", str(place), "--compare", "--json")
    )
    assert compared["features[0]"]["missing"] == 1.0
