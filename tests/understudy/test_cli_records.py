"""`understudy records` and `understudy replay`, in this process."""

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.record_files import HOUR, write, write_rows
from harness.system import MODELS
from router.record.account import Account
from router.record.files.rows import Row
from serving.models.files.repository import Repository, read
from understudy.cli import app as everything
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


IRIS = read(Repository(MODELS).find("iris", "1")).sha256


def answer(label=0, **values):
    known = {
        "kind": "request", "receipt": "r", "request_id": "q", "request_time": HOUR, "role": "canary",
        "drawn": "canary", "forced": False, "target": "iris/1", "status_code": 200, "duration_us": 1500,
        "client_request_id": "id", "digest": IRIS, "propensity": 0.05,
    }  # fmt: skip
    features = np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)
    tensors = {"input_features": features, "output_label": np.array([label])}
    return Row("iris", "i", HOUR, known | values, tensors, 100)


def test_an_answer_is_shown_in_words_and_in_full(tmp_path):
    differs = [{"output": "label", "kind": "value", "distance": 1.0}]
    compared = answer(
        kind="comparison", target="iris/2", agreed=False, differences=differs, client_request_id=None
    )
    write_rows(tmp_path, "a", [answer(), compared])
    shown = CliRunner().invoke(app, ["show", "id", "--records", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    for words in (
        "iris: answered by the canary iris/1 (drawn) at 2026-10-05 13:00:00.000000 UTC in 1.5 ms",
        "probability of the draw: 0.05",
        "mirrored: iris/2 differs: label (value, distance 1)",
    ):
        assert words in shown.output
    assert "FP32      [1, 4]  5.1, 3.5, 1.4, 0.2" in shown.output
    full = json.loads(CliRunner().invoke(app, ["show", "r", "--records", str(tmp_path), "--json"]).output)
    assert full["inputs"]["features"] == {"datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}
    assert full["record"]["target"] == "iris/1"
    assert full["comparisons"][0]["record"]["agreed"] is False


def test_an_answer_that_nobody_has_is_an_error_that_says_why(run):
    assert "not sampled, was dropped, is not written yet" in run("show", "nobody", code=1)


def test_without_pyarrow_the_error_names_the_extra(run, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("understudy.records.", "router.record."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'understudy[records]'" in run("ls", code=1)


@pytest.mark.parametrize("command", [("ls",), ("show", "q"), ("compact",), ("query", "FROM records")])
def test_a_file_that_is_not_whole_is_named(run, records, command):
    half = records / "model=digits" / "date=2026-10-05" / "hour=13" / "half.parquet"
    half.write_bytes(b"PAR1 and no more")
    assert "hour=13/half.parquet" in run(*command, code=1).replace("\n", "")


def test_a_folder_that_cannot_be_written_to_is_named(run, records):
    (records / ".compacting").symlink_to("nowhere")
    assert ".compacting: File exists" in run("compact", code=1)


def test_compact_says_what_it_merged(run):
    [merged] = json.loads(run("compact", "--json"))["merged"]
    assert (merged["files"], merged["rows"]) == (2, 3)
    assert run("compact") == "nothing to merge\n"
    assert json.loads(run("ls", "--json"))["days"][0]["files"] == 1


def test_ls_says_what_became_of_the_answers(tmp_path):
    write_rows(tmp_path, "a", [answer()], {"i": Account(requests=12, sampled_out=1, written=9, full=2)})
    earlier = {"i": Account(requests=11, sampled_out=1, written=8, full=2)}
    write_rows(tmp_path, "b", [answer()], earlier | {"local.sandbox-x.1": Account(requests=3, written=3)})
    said = CliRunner().invoke(app, ["ls", "--records", str(tmp_path)]).output
    assert "iris: of 12 answers 1 sampled out, 9 written, 2 full\n" in said
    assert "iris: of 3 comparisons 3 written\n" in said


@pytest.mark.parametrize(("label", "code", "words"), [(0, 0, "equal, bit for bit"), (7, 3, "different")])
def test_replay_tells_the_same_answer_from_another_one(tmp_path, verified, label, code, words):
    (tmp_path / "verified").symlink_to(verified)
    write_rows(tmp_path / "records", "a", [answer(label)])
    places = ["--records", str(tmp_path / "records"), "--models", str(MODELS), "--state-dir", str(tmp_path)]
    done = CliRunner().invoke(everything, ["replay", "q", *places])
    assert done.exit_code == code, done.output
    assert done.output.endswith(f"SHA-256 {IRIS[:12]}, may have shared a run with others: {words}\n")
    as_json = CliRunner().invoke(everything, ["replay", "r", *places, "--json"])
    assert json.loads(as_json.output)["verdict"] == words.partition(",")[0]


def test_replay_says_why_it_cannot_be(tmp_path):
    write_rows(tmp_path, "a", [answer(digest=None)])
    done = CliRunner().invoke(everything, ["replay", "q", "--records", str(tmp_path)])
    assert (done.exit_code, "no digest was recorded" in done.output) == (1, True), done.output
