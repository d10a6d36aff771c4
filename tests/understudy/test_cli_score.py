"""`understudy score`: what people see and scripts go by, and a process that is killed from outside."""

import json
import subprocess

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from harness.command import understudy
from harness.score_files import bad_of, digits, rows_of, write
from harness.system import MODELS, eventually
from harness.warm import python
from understudy.cli import app


def run(*arguments, code, models=MODELS):
    done = CliRunner().invoke(app, ["score", *map(str, arguments), "--models", str(models)])
    assert done.exit_code == code, (done.stdout, done.stderr, done.exception)
    return done


def test_a_file_is_scored_with_a_canary_and_the_exit_code_says_what_it_is(tmp_path):
    columns = digits(3000)
    columns["pixels"][5] = [1.0]
    path = write(tmp_path / "in.jsonl", columns)
    canary = "--canary", "digits/3", "--share", "60%", "--salt", "any", "--json"
    told = json.loads(run(path, tmp_path / "out", "--model", "digits/1", *canary, code=3).stdout)
    assert (told["verdict"], told["rows"], told["bad"], told["exit_code"]) == ("harmful", 2999, 1, 3)
    assert told["canary"]["judgement"]["verdict"] == "harmful"
    assert len(rows_of(tmp_path / "out")) == 2999
    assert [row["place"] for row in bad_of(tmp_path / "out")] == ["in.jsonl:6"]


def test_what_cannot_be_done_is_said_with_its_remedy(tmp_path):
    path = write(tmp_path / "in.csv", digits(3))
    out = tmp_path / "out"
    for arguments, says in (
        ((path, out), "name it by --model"),
        ((tmp_path / "none.csv", out, "--model", "digits/1"), "none.csv: No such file"),
        ((tmp_path / "in.xlsx", out, "--model", "digits/1"), "rows are scored from .parquet, .csv"),
        ((path, path, "--model", "digits/1"), "the output is a folder"),
        ((path, out, "--model", "digits/1", "--max-bad", "few"), "expected a number of rows"),
        ((path, out, "--model", "digits/1", "--canary", "digits/2", "--share", "0"), "leave --canary out"),
        ((path, out, "--model", "nobody"), "no model 'nobody'"),
    ):
        assert says in run(*arguments, code=1).stderr
    assert not list(out.glob("[!.]*"))


@pytest.mark.slow
def test_a_process_that_is_killed_goes_on_by_the_same_command(tmp_path):
    path = write(tmp_path / "in.parquet", {"features": [[5.1, 3.5, 1.4, 0.2]] * 400_000}, 70_000)
    command = "score", path, tmp_path / "out", "--model", "iris/1", "--models", MODELS, "--jobs", "1"
    with python("-m", "understudy", *command, stdout=subprocess.DEVNULL) as program:
        eventually(lambda: [*(tmp_path / "out").glob("part-*")], "a part is there", 60)
        program.kill()
    before = len([*(tmp_path / "out").glob("part-*")])
    done = understudy(*command, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rows"] == 400_000
    assert told["parts"] == 6
    assert told["before"] >= 70_000 * min(before, 5)
    assert pq.read_table(tmp_path / "out", columns=["row"])["row"].to_pylist() == list(range(1, 400_001))
