"""The prediction log of a real node: every answer is a row or is accounted for, whoever is killed."""

import os
import signal
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from harness.command import understudy
from harness.fences import Reader, fences, matches
from harness.load import Load
from harness.pilot import piloted
from harness.rows import DIGITS, body, plain
from harness.system import MODELS, ROOT, children, eventually, running
from router.record.accounts import Accounts, accounts_folder
from router.rollout.parser import parse
from router.rollout.values import Record
from serving.host.cpus import available_cpus
from serving.models.files.repository import Repository
from understudy.records.place import Folder, Wanted
from understudy.records.replaying import replay
from understudy.records.rows import find
from understudy.records.telling import as_json

ROLLOUTS = """
digits:
  stable: digits/1
  canary: {model: digits/2, weight: 30}
  record: {}
quiet: {stable: digits/1, record: {sample: 0%}}
plain: {stable: digits/1}
mirrored:
  stable: digits/1
  canary: {model: digits/2, mirror: 100}
  record: {redact: [probabilities]}
"""
KINDS = ("request", "comparison")
ORDER = ["request_time", "kind"]
OPTIONS = ("--workers", "2", "--records-roll-seconds", "0.3")


@pytest.fixture
def pd():
    """In the process alone that runs these tests, and not in each that collects them."""
    return import_module("pandas")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A node after some requests, two kills and its end, and the folder of its log."""
    folder = tmp_path_factory.mktemp("records")
    with running(folder, ROLLOUTS, options=(*OPTIONS, "--records", "log")) as up:
        yield up, folder / "log"


def accounts(up, kind="request"):
    return Accounts(accounts_folder(up.folder / "state")).by_model(kind)


def check(up, log):
    """What `understudy records check` says."""
    state = str(up.folder / "state")
    done = understudy("records", "check", "--records", str(log), "--state-dir", state, "--json")
    return done.returncode, orjson.loads(done.stdout)


def rows(log, where="true"):
    import duckdb

    path = f"{log}/**/*.parquet"
    query = f"select * from read_parquet('{path}', union_by_name=true, hive_partitioning=true) where {where}"
    return duckdb.sql(query).df().to_dict("records")


def settled(up):
    return eventually(lambda: (found := accounts(up))["digits"].pending == 0 and found, "nothing is pending")


def test_each_answer_is_a_row_that_says_who_was_drawn_and_who_answered(recorded, pd):
    up, log = recorded
    for number in range(60):
        headers = {"x-request-id": f"drawn-{number}"}
        assert up.client.post(DIGITS, content=body(number), headers=headers).status_code == 200
    forced = {"x-understudy-target": "canary", "x-request-id": "forced"}
    assert up.client.post(DIGITS, content=body(1), headers=forced).status_code == 200
    refused = up.client.post(DIGITS, json={"inputs": []}, headers={"x-request-id": "refused"})
    assert refused.status_code == 400
    for path in ("/v2/models/quiet/infer", "/v2/models/plain/infer"):
        assert up.client.post(path, content=body(1)).status_code == 200
    found = settled(up)
    assert found["digits"].written == found["digits"].requests == 62
    assert found["quiet"].sampled_out == found["quiet"].requests == 1
    assert "plain" not in found
    [one] = rows(log, "request_id = 'forced'")
    assert (one["role"], one["forced"], one["target"], one["status_code"]) == (
        "canary",
        True,
        "digits/2",
        200,
    )
    assert pd.isna(one["propensity"])
    [failed] = rows(log, "request_id = 'refused'")
    assert (failed["status_code"], failed["error"]) == (400, refused.json()["error"].join(["invalid: ", ""]))
    drawn = rows(log, "starts_with(request_id, 'drawn')")
    assert {row["role"] for row in drawn} == {"stable", "canary"}
    assert {(row["role"], row["drawn"], row["propensity"]) for row in drawn} == {
        ("stable", "stable", 0.7),
        ("canary", "canary", 0.3),
    }
    assert all(row["digest"] and row["revision"] >= 1 and row["duration_us"] > 0 for row in drawn)
    assert {tuple(row["input_pixels_shape"]) for row in drawn} == {(1, 64)}
    assert up.metric("understudy_records_total", model="digits", outcome="written") == 62


def test_a_comparison_is_a_row_beside_that_of_its_request(recorded, pd):
    up, log = recorded
    for number in range(20):
        headers = {"x-request-id": f"mirrored-{number}"}
        answer = up.client.post("/v2/models/mirrored/infer", content=body(number), headers=headers)
        assert answer.status_code == 200
    eventually(lambda: accounts(up, "comparison")["mirrored"].written == 20, "comparisons are written")
    eventually(lambda: accounts(up)["mirrored"].written == 20, "answers are written")
    found = rows(log, "model = 'mirrored'")
    by_kind = {kind: {row["request_id"]: row for row in found if row["kind"] == kind} for kind in KINDS}
    assert by_kind["request"].keys() == by_kind["comparison"].keys()
    for id_, row in by_kind["comparison"].items():
        asked = by_kind["request"][id_]
        assert (row["receipt"], row["role"], row["target"]) == (asked["receipt"], "canary", "digits/2")
        same = list(row["output_label"]) == list(asked["output_label"])
        assert "label" not in [each["output"] for each in row["differences"]] or not same
    assert "output_probabilities" not in pd.DataFrame(found).dropna(axis="columns", how="all")


def test_an_example_of_a_difference_leads_to_its_record_and_back(recorded):
    up, log = recorded
    kept = eventually(
        lambda: up.admin.get("/v1/rollouts/mirrored/examples", params={"limit": 100}).json()["examples"],
        "examples of the comparisons before",
    )
    by_receipt = {row["receipt"]: row for row in rows(log, "model = 'mirrored' and kind = 'request'")}
    receipt = next(each["receipt"] for each in kept if each["receipt"] in by_receipt)
    found = as_json(find(Folder(log), Wanted(), receipt))
    assert found["record"]["request_id"] == by_receipt[receipt]["request_id"]
    [comparison] = found["comparisons"]
    assert comparison["sentence"].startswith("digits/2 ")
    assert comparison["outputs"].keys() == {"label"}, "the other one is redacted"


def test_common_readers_have_the_same_rows(recorded, pd):
    import polars as pl

    _, log = recorded
    by_duckdb = pd.DataFrame(rows(log)).sort_values(ORDER)
    files = sorted(log.glob("**/*.parquet"))
    by_polars = pl.concat(map(pl.read_parquet, files), how="diagonal").sort(ORDER)
    by_pandas = pd.read_parquet(log).sort_values(ORDER)
    for frame in (by_polars, by_pandas):
        assert list(frame["request_id"]) == list(by_duckdb["request_id"])
        labels = [None if label is None else list(label) for label in frame["output_label"]]
        expected = [
            label if isinstance(label, list) else None for label in map(_plain, by_duckdb["output_label"])
        ]
        assert labels == expected


def _plain(label):
    return label.tolist() if hasattr(label, "tolist") else None


def test_readers_do_what_their_page_says(recorded, verified):
    up, log = recorded
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "UNDERSTUDY_MODELS": str(MODELS), "UNDERSTUDY_STATE_DIR": str(up.folder / "state"), "COLUMNS": "300",
    }  # fmt: skip
    reader = Reader(log.parent, environment, {"localhost:8000": up.url.removeprefix("http://")})
    blocks, commands = list(fences(ROOT / "docs" / "reading-records.md")), 0
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "json":
            (reader.folder / block.title).write_text(block.text)
        elif block.language == "sh":
            expected = after.text if after is not None and after.language == "text" else ""
            commands += 1
            eventually(
                lambda b=block, e=expected: matches(e, reader.run(b.text, 60.0)), f"{block} does as it says"
            )
    assert commands == 7


def test_control_shows_the_accounts_of_each_node(recorded):
    up, _ = recorded
    found = settled(up)

    def told():
        [node] = [row for row in up.admin.get("/v1/nodes").json() if row["kind"] == "node"]
        return {row["model"]: row for row in node["records"] if row["kind"] == "request"}

    eventually(lambda: told()["digits"]["outcomes"] == found["digits"].outcomes(), "control has heard of it")
    assert told()["digits"]["requests"] == found["digits"].requests
    [load] = up.admin.get("/v1/load").json()
    assert {row["model"] for row in load["records"]} == {"digits", "quiet", "mirrored"}


def test_a_node_that_keeps_no_log_says_which_rollouts_ask_for_one(node):
    with piloted(node, "unrecorded", {"stable": "digits/1", "record": {}}):

        def said():
            [row] = [row for row in node.admin.get("/v1/nodes").json() if row["kind"] == "node"]
            assert row["records"] is None
            return row["problems"].get("unrecorded", "")

        assert "--records" in eventually(said, "the node says so")


def test_what_the_page_says_is_done_as_it_is_written(recorded):
    up, _ = recorded
    settled(up)
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "300"}
    reader = Reader(up.folder, environment, {"--state-dir .understudy": "--state-dir state"})
    blocks = list(fences(ROOT / "docs" / "prediction-log.md"))
    [document] = [block.text for block in blocks if block.language == "yaml"]
    assert parse(document, "page")["digits"].record == Record()
    [query] = [block.text for block in blocks if block.language == "python"]
    (up.folder / "query.py").write_text(query)
    said = reader.run("python query.py", 60)
    assert "canary" in said, said
    [(command, expected)] = [
        (block.text, after.text) for block, after in pairwise(blocks) if block.language == "sh"
    ]
    said = reader.run(command, 60)
    assert matches(expected, said), said


def test_the_equation_holds_to_the_row_after_a_writer_and_a_worker_were_killed(recorded):
    up, log = recorded
    with Load(up.url + DIGITS, 150.0, plain, 8):
        eventually(lambda: accounts(up)["digits"].written > 150, "rows are written")
        [writer] = children(up.process.popen.pid, "router.record.log_writer")
        os.kill(writer, signal.SIGKILL)
        before = accounts(up)["digits"].written
        eventually(lambda: accounts(up)["digits"].written > before + 50, "its successor writes")
        os.kill(up.pids("worker")[0], signal.SIGKILL)
        before = accounts(up)["digits"].written
        eventually(lambda: accounts(up)["digits"].written > before + 50, "the others are written")
    account = settled(up)["digits"]
    assert account.requests == account.written + account.dropped
    assert account.writer_gone > 0, "what the killed writer held is counted"
    assert account.written == len(rows(log, "model = 'digits'")), (
        "no row is lost uncounted, and none is there twice"
    )
    code, said = check(up, log)
    assert (code, said["equal"], said["differences"]) == (0, True, [])
    next(log.glob("model=digits/**/*.parquet")).unlink()
    code, said = check(up, log)
    assert (code, said["equal"]) == (1, False)
    assert "rows are missing" in said["differences"][0]


def test_recorded_answers_come_again_to_the_bit_where_they_ran_alone(recorded, pd):
    up, log = recorded
    kinds = rows(log, "model = 'digits' and kind = 'request' and status_code = 200 and not forced")
    few = pd.DataFrame(kinds).groupby(["target", "shared_run"]).head(3)
    assert set(few.loc[~few["shared_run"], "target"]) == {"digits/1", "digits/2"}
    for receipt, shared in zip(few["receipt"], few["shared_run"], strict=True):
        answer = find(Folder(log), Wanted(), receipt).answer
        again = replay(answer, Repository(MODELS), up.folder / "state", available_cpus())
        assert again.verdict in ({"equal", "rounding"} if shared else {"equal"}), again
