"""Jobs on real models: every row once in the output or once among the bad ones, and what a canary came to."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from graphs import put, unary

from harness.digit_models import failing_digits
from harness.score_files import DIGITS, asked, bad_of, digits, rows_of, small_chunks, write
from harness.system import MODELS
from serving.errors import Conflict, InvalidInput
from serving.sources.locks import exclusive
from understudy.offline.running import open_model
from understudy.scoring import models as opened_models
from understudy.scoring.asked import CanaryAsked
from understudy.scoring.job import score

FLOATS = pa.list_(pa.float32())


@pytest.fixture(autouse=True)
def _opened_once(monkeypatch):
    """Models are verified in a process of their own, once for all tests of this file."""
    monkeypatch.setattr(opened_models, "open_model", opened)


_KEPT = {}


def opened(models, key, threads):
    if models != MODELS:
        return open_model(models, key, threads)
    if key not in _KEPT:
        _KEPT[key] = open_model(models, key, threads)
    return _KEPT[key]


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".jsonl", ".arrow"])
def test_each_row_has_the_answer_that_it_gets_alone(tmp_path, kind):
    columns = digits(300)
    with small_chunks():
        found = score(asked(write(tmp_path / f"in{kind}", columns, 64), tmp_path / "out"))
    assert (found.rows, found.bad, found.before, found.exit_code) == (300, 0, 0, 0)
    assert found.parts > 2
    rows = rows_of(tmp_path / "out")
    assert [row["id"] for row in rows] == columns["id"]
    first = 2 if kind == ".csv" else 1
    assert [row["row"] for row in rows] == list(range(first, first + 300))
    assert {(row["model"], row["version"], row["digest"]) for row in rows} == {("digits", "1", found.digest)}
    model = opened(MODELS, "digits/1", 1).model
    for row in rows[::37]:
        pixels = np.array([columns["pixels"][row["row"] - first]], "f4")
        label, probabilities = model.run({"pixels": pixels}, ("label", "probabilities"))
        assert row["output_label"] == label[0]
        assert np.allclose(row["output_probabilities"], probabilities[0], atol=1e-6)
    assert (tmp_path / "out" / "_SUCCESS").exists()
    assert not bad_of(tmp_path / "out")


def test_bad_rows_are_beside_with_their_reasons_and_the_others_scored(tmp_path):
    columns = digits(100)
    columns["pixels"][17] = columns["pixels"][17][:63]
    columns["pixels"][40] = None
    columns["pixels"][99] = [None, *columns["pixels"][99][1:]]  # a float that is missing is NaN
    found = score(asked(write(tmp_path / "in.parquet", columns), tmp_path / "out"))
    assert (found.rows, found.bad) == (98, 2)
    assert [row["row"] for row in rows_of(tmp_path / "out")] == [
        row for row in range(1, 101) if row not in (18, 41)
    ]
    short, nothing = bad_of(tmp_path / "out")
    assert (short["row"], short["place"]) == (18, "in.parquet: row 18")
    assert "63 elements" in short["reason"]
    assert short["values"] == {"pixels": columns["pixels"][17], "id": "c17"}
    assert nothing["row"] == 41


def test_too_many_bad_rows_end_a_job_that_goes_on_with_a_higher_limit(tmp_path):
    columns = digits(60)
    for row in range(0, 60, 4):
        columns["pixels"][row] = [1.0]
    wanted = asked(write(tmp_path / "in.parquet", columns, 10), tmp_path / "out", jobs=1)
    with small_chunks():
        with pytest.raises(InvalidInput, match=r"7 bad rows, --max-bad is 5: .*/_bad says why"):
            score(replace(wanted, max_bad=5))
        with pytest.raises(InvalidInput, match="--max-bad is 6"):
            score(replace(wanted, max_bad=0.1))
        found = score(replace(wanted, max_bad=0.25))
    assert (found.rows, found.bad) == (45, 15)
    assert found.before > 0
    assert sorted(row["row"] for row in [*rows_of(tmp_path / "out"), *bad_of(tmp_path / "out")]) == list(
        range(1, 61)
    )


def test_a_job_that_is_done_does_nothing_again(tmp_path):
    wanted = asked(write(tmp_path / "in.parquet", digits(50)), tmp_path / "out")
    score(wanted)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    again = score(wanted)
    assert (again.rows, again.before) == (50, 50)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}


def test_another_file_model_or_canary_does_not_go_on_with_an_output(tmp_path):
    path = write(tmp_path / "in.parquet", digits(50))
    wanted = asked(path, tmp_path / "out")
    score(wanted)
    for other, what in (
        (replace(wanted, key="digits/2"), "another model: .*digits/1.* this is .*digits/2"),
        (replace(wanted, keep="none"), "another keep"),
        (replace(wanted, canary=CanaryAsked("digits/2", 0.5)), "another canary"),
        (
            replace(wanted, source=write(tmp_path / "other.parquet", digits(50))),
            "another input: .*other.parq",
        ),
    ):
        with pytest.raises(Conflict, match=what):
            score(other)
    write(path, digits(51))
    with pytest.raises(Conflict, match="another input"):
        score(wanted)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(InvalidInput, match=r"it has files, and no _manifest.json; name an empty folder"):
        score(asked(write(tmp_path / "in.parquet", digits(5)), tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_columns_that_are_kept(tmp_path):
    columns = {**digits(5), "date": list(range(5)), "role": ["a"] * 5}
    path = write(tmp_path / "in.jsonl", columns)
    with pytest.raises(InvalidInput, match="'role' has a name that the output needs"):
        score(asked(path, tmp_path / "out"))
    with pytest.raises(InvalidInput, match="--keep day: there is no such column; there are id, pixels"):
        score(asked(path, tmp_path / "out", keep="id,day"))
    score(asked(path, tmp_path / "out", keep="date,pixels"))
    [first, *_] = rows_of(tmp_path / "out")
    assert first["date"] == "0"
    assert first["pixels"].startswith("[0.0,")
    assert "id" not in first


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".arrow"])
def test_a_file_without_rows_becomes_an_output_with_columns(tmp_path, kind):
    path = write(tmp_path / f"in{kind}", digits(1), 10)
    if kind == ".csv":
        path.write_text(path.read_text().partition("\n")[0] + "\n")
    else:
        write(
            path, {name: values[:0] for name, values in digits(1).items()} | {"pixels": pa.array([], FLOATS)}
        )
    found = score(asked(path, tmp_path / "out"))
    assert (found.rows, found.parts) == (0, 1)
    assert pq.read_table(tmp_path / "out").schema.names[-3:] == ["model", "version", "digest"]


def test_an_input_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path / "in.parquet", {"id": [1], "points": [[1.0] * 64]})
    with pytest.raises(InvalidInput, match=r"no column for the input 'pixels'.* it has id, points"):
        score(asked(path, tmp_path / "out"))
    assert not (tmp_path / "out" / "_manifest.json").exists()


def test_a_model_whose_rows_are_not_joined_is_asked_row_by_row(tmp_path):
    put(tmp_path / "models", "net", "1", unary("Softmax", shape=["n", "m"], axis=0))
    path = write(tmp_path / "in.parquet", {"x": [[0.0, 1.0], [2.0, 3.0, 4.0], [5.0]]})
    score(replace(asked(path, tmp_path / "out", "net/1"), models=tmp_path / "models"))
    rows = rows_of(tmp_path / "out")
    assert [row["output_y"] for row in rows] == [[1.0, 1.0], [1.0, 1.0, 1.0], [1.0]]
    assert [row["output_y_shape"] for row in rows] == [[1, 2], [1, 3], [1, 1]]


CANARY = CanaryAsked("digits/3", 0.5, "salt")


def test_a_canary_that_is_wrong_on_one_class_is_stopped_and_its_rows_are_marked(tmp_path):
    path = write(tmp_path / "in.parquet", digits(6000), 500)
    with small_chunks():
        found = score(asked(path, tmp_path / "out", canary=CANARY))
    assert found.canary is not None
    assert (found.canary.judgement.verdict, found.exit_code) == ("harmful", 3)
    assert found.canary.stopped is not None
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 6000
    marked = [row for row in rows if row["canary"]]
    assert {row["canary"] for row in marked} == {"digits/3"}
    assert len(marked) == found.canary.rows
    last = (found.canary.stopped + 2) * 500
    assert max(row["row"] for row in marked) <= last < 6000
    assert abs(len(marked) - last / 2) < last / 4
    assert {row["role"] for row in rows} == {"stable"}
    assert {row["agreed"] for row in rows if not row["canary"]} == {None}
    differ = [row["output_label"] for row in marked if not row["agreed"]]
    assert differ.count(8) + differ.count(9) > 0.9 * len(differ)


def test_a_canary_that_serves_gives_the_output_of_its_rows(tmp_path):
    path = write(tmp_path / "in.parquet", digits(400), 100)
    score(asked(path, tmp_path / "plain"))
    wanted = asked(path, tmp_path / "out", canary=replace(CANARY, stops=False, serves=True))
    with small_chunks():
        found = score(wanted)
    assert found.canary is not None
    assert found.canary.stopped is None
    rows, plain = rows_of(tmp_path / "out"), rows_of(tmp_path / "plain")
    served = [row for row in rows if row["role"] == "canary"]
    assert len(served) == found.canary.served == found.canary.rows > 100
    assert {(row["version"], row["digest"]) for row in served} == {("3", found.canary.digest)}
    for row, without in zip(rows, plain, strict=True):
        same = row["output_label"] == without["output_label"]
        assert same if row["agreed"] is None else same is row["agreed"]


def test_a_better_canary_is_proven(tmp_path):
    path = write(tmp_path / "in.parquet", digits(3000), 500)
    found = score(asked(path, tmp_path / "out", canary=CanaryAsked("digits/2", 0.5, "salt")))
    assert found.canary is not None
    assert found.exit_code == 0, found.canary.judgement.reason
    assert {guard.guard for guard in found.canary.judgement.guards} == {
        "errors",
        "latency",
        "agreement:label",
    }


def test_rows_on_which_only_the_canary_fails_are_scored_and_count(tmp_path):
    shutil.copytree(MODELS / "digits" / "1", tmp_path / "models" / "digits" / "1")
    (tmp_path / "models" / "digits" / "2").mkdir()
    (tmp_path / "models" / "digits" / "2" / "model.onnx").write_bytes(failing_digits())
    path = write(tmp_path / "in.parquet", digits(len(DIGITS["inputs"])), 500)
    wanted = asked(path, tmp_path / "out", canary=CanaryAsked("digits/2", 0.3, "salt"))
    found = score(replace(wanted, models=tmp_path / "models"))
    assert found.canary is not None
    assert (found.rows, found.bad) == (719, 0)
    rows = rows_of(tmp_path / "out")
    failed = [row for row in rows if row["agreed"] is False and row["canary"]]
    assert failed
    assert found.canary.judgement.verdict == "harmful"
    assert pq.read_table(tmp_path / "out").num_rows == 719


def test_two_jobs_in_one_folder_are_one_too_many(tmp_path):
    wanted = asked(write(tmp_path / "in.parquet", digits(50)), tmp_path / "out")
    (tmp_path / "out").mkdir()
    with exclusive(tmp_path / "out" / ".lock"), pytest.raises(Conflict, match="another job is at work there"):
        score(wanted)
    assert score(wanted).rows == 50


def test_a_part_that_is_no_part_is_told(tmp_path):
    wanted = asked(write(tmp_path / "in.parquet", digits(50)), tmp_path / "out")
    score(wanted)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "out" / "part-00000.parquet")
    with pytest.raises(InvalidInput, match=r"part-00000.parquet: not a part of an output; move it away"):
        score(wanted)


def test_a_job_that_goes_on_with_more_at_a_time_marks_the_same_rows(tmp_path):
    path = write(tmp_path / "in.parquet", digits(3000), 250)
    wanted = asked(path, tmp_path / "out", canary=replace(CANARY, share=0.8), batch=64, jobs=1)
    with small_chunks():
        whole = score(wanted)
        rows = rows_of(tmp_path / "out")
        for number in (2, 3, 7, 11):
            (tmp_path / "out" / f"part-{number:05}.parquet").unlink()
        again = score(replace(wanted, jobs=4))
    assert whole.canary is not None
    assert again.canary is not None
    assert again.before == 2000
    assert (again.canary.stopped, again.canary.rows) == (whole.canary.stopped, whole.canary.rows)
    assert rows_of(tmp_path / "out") == rows
