"""`understudy records`, in this process."""

import json

import pytest
from typer.testing import CliRunner

from harness.record_files import write
from understudy.commands.records import app


@pytest.fixture
def records(tmp_path):
    write(tmp_path, "a", {"receipt": ["r"], "output_label": [[7]], "duration_us": [1200.5]})
    write(tmp_path, "b", {"receipt": ["s", "t"], "output_label": [[8], None], "duration_us": [None, 3.0]})
    write(tmp_path, "a", {"receipt": ["u"]}, model="iris")
    return tmp_path


@pytest.fixture
def run(records):
    def run(*arguments, code=0):
        done = CliRunner().invoke(app, [*arguments, "--records", str(records)])
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_ls_says_what_there_is(run):
    first, second = json.loads(run("ls", "--json"))["days"]
    assert {key: first[key] for key in ("model", "date", "files", "rows")} == {
        "model": "digits", "date": "2026-10-05", "files": 2, "rows": 3,
    }  # fmt: skip
    assert second["model"] == "iris"
    assert run("ls", "--model", "iris").splitlines()[1].split()[:4] == ["iris", "2026-10-05", "1", "1"]
    assert json.loads(run("ls", "--since", "1s", "--json"))["days"] == []


def test_a_query_is_a_table_lines_of_json_or_csv(run):
    sql = "SELECT receipt, output_label, duration_us FROM records WHERE model = 'digits' ORDER BY 1"
    assert [line.split() for line in run("query", sql).splitlines()[1:]] == [
        ["r", "[7]", "1200.5"], ["s", "[8]", "-"], ["t", "-", "3"],
    ]  # fmt: skip
    assert json.loads(run("query", sql, "--json").splitlines()[1])["duration_us"] is None
    assert run("query", sql, "--csv").splitlines() == [
        "receipt,output_label,duration_us", "r,[7],1200.5", "s,[8],", "t,,3.0",
    ]  # fmt: skip


def test_a_query_writes_a_file(run, tmp_path):
    run("query", "SELECT 1", "--parquet", str(tmp_path / "out.parquet"))
    assert (tmp_path / "out.parquet").read_bytes()[:4] == b"PAR1"


def test_options_that_exclude_each_other_are_refused(run):
    assert "exclude each other" in run("query", "SELECT 1", "--csv", "--json", code=2)


def test_no_records_are_an_error_in_words(run):
    assert "no folder of records" in CliRunner().invoke(app, ["ls", "--records", "nowhere"]).output
    assert "no such records" in run("query", "SELECT 1", "--model", "nobody", code=1)
