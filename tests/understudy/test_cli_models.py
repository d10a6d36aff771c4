"""The command line without a server: models, lint, and errors in words."""

import json
import socket

import pytest
from graphs import unary

from harness.command import understudy
from harness.system import MODELS, ROOT


def test_models_list_names_every_bundled_model():
    done = understudy("models", "list", "--models", str(MODELS), "--json")
    assert done.returncode == 0, done.stderr
    rows = {f"{row['name']}/{row['version']}" for row in json.loads(done.stdout)["models"]}
    assert {"digits/1", "digits/2", "digits/3", "digits/4", "iris/1", "diabetes/1"} <= rows


def test_models_list_says_what_is_left_out(tmp_path):
    (tmp_path / "m" / "007").mkdir(parents=True)
    for options in ((), ("--json",)):
        done = understudy("models", "list", "--models", str(tmp_path), *options)
        assert done.returncode == 0, done.stderr
        assert "m/007: a version is a positive whole number" in done.stdout + done.stderr


def test_models_check_verifies_and_shows_signatures():
    done = understudy("models", "check", "iris", "--models", str(MODELS), "--json")
    assert done.returncode == 0, done.stderr
    [report] = json.loads(done.stdout)
    assert report["ok"]
    assert report["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]
    assert report["independent"]


def test_models_check_says_what_keeps_rows_from_running_together(tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.onnx").write_bytes(unary("Softmax", axis=0))
    done = understudy("models", "check", "--models", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    [report] = json.loads(done.stdout)
    assert (report["independent"], report["dependence"]) == (False, "Softmax 'y' takes all rows together")


def test_a_corrupt_model_fails_the_check_and_says_why(tmp_path):
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.onnx").write_bytes(b"no model")
    done = understudy("models", "check", "--models", str(tmp_path))
    assert done.returncode == 1
    assert "refused" in done.stdout
    assert str(tmp_path) not in done.stdout


def test_an_unknown_model_is_named():
    done = understudy("models", "check", "nobody", "--models", str(MODELS))
    assert done.returncode == 1
    assert "nobody" in done.stderr


def test_lint_accepts_the_bundled_rollouts():
    done = understudy("rollouts", "lint", "rollouts.yaml")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("digits: {stable: digits/1, canary: {model: digits/2, weight: 150}}", "1:62"),
        ("digits:\n  stable: digits/1\n  stabel: digits/2\n", "3:11"),
        ("a: {stable: a/1}\na: {stable: a/2}\n", "2:1"),
    ],
)
def test_lint_names_file_line_and_column(tmp_path, text, place):
    file = tmp_path / "r.yaml"
    file.write_text(text)
    done = understudy("rollouts", "lint", "r.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert f"r.yaml:{place}: " in done.stderr
    done = understudy("rollouts", "lint", "r.yaml", "--json", cwd=tmp_path)
    problem = json.loads(done.stdout)
    assert f"{problem['line']}:{problem['column']}" == place


def test_a_taken_port_is_an_error_in_words(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in ("up", "serve"):
            done = understudy(
                command, "--host", "127.0.0.1", "--port", port, "--models", str(MODELS), cwd=tmp_path
            )
            assert done.returncode == 1
            assert port in done.stderr
            assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named():
    done = understudy("serve", "--log-format", "xml")
    assert done.returncode == 1
    assert "--log-format" in done.stderr


def test_a_node_needs_to_be_told_its_control():
    done = understudy("node")
    assert done.returncode == 1
    assert "--control" in done.stderr


def test_the_schema_is_printed_of_a_file_and_of_one_rollout():
    file = understudy("rollouts", "schema")
    assert file.stdout == (ROOT / "router/rollout.schema.json").read_text()
    one = json.loads(understudy("rollouts", "schema", "--one").stdout)
    assert one["$defs"] == json.loads(file.stdout)["$defs"]
    assert one["$ref"] == "#/$defs/rollout"
