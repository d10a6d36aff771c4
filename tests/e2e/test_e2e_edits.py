"""The rollout file edited while traffic flows: whole, at once, and never a bad one."""

import os
import statistics
import time
from collections import Counter

import httpx
import pytest

from harness.load import Load
from harness.rows import DIGITS, plain
from harness.system import Up, eventually, running

EDITS = 10

BASE = """
digits:
  stable: digits/1
  canary: {model: digits/2, weight: 10}
"""


def document(number: int) -> tuple[str, set[str]]:
    """The text of an edit, and the targets that may answer under it; each differs from the one before."""
    stable = "digits/3" if number % 3 == 2 else "digits/1"
    weight = number % 7 * 10
    text = f"digits:\n  stable: {stable}\n  canary: {{model: digits/2, weight: {weight}}}\n"
    return text, {stable, "digits/2"} if weight else {stable}


def in_force(up: Up, after: int) -> bool:
    """Whether a revision newer than this is in force in every worker."""
    view = up.view("digits")
    return bool(view["revision"] > after and view["in_force_everywhere"])


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with running(tmp_path_factory.mktemp("edits"), BASE, options=("--workers", "2")) as up:
        yield up


def test_every_edit_under_load_is_applied_whole_and_no_request_fails(up, record_property):
    seconds = []
    with Load(up.url + DIGITS, 40, plain) as load:
        eventually(lambda: load.ledger.sent > 50, "load is on")
        before = {"digits/1", "digits/2"}
        for number in range(EDITS):
            text, after = document(number)
            revision = up.view("digits")["revision"]
            counted = Counter(load.ledger.targets)
            up.edit(text)
            began = time.perf_counter()
            eventually(lambda: in_force(up, revision), f"edit {number} in force")  # noqa: B023
            seconds.append(time.perf_counter() - began)
            answered_by = set(Counter(load.ledger.targets) - counted)
            assert answered_by <= before | after, f"edit {number}"
            before = after
        ledger = load.stop()
    up.edit(BASE)
    eventually(lambda: up.view("digits")["serving"]["weight"] == 10, "back again")
    assert set(ledger.statuses) == {200}, ledger.errors
    ordered = sorted(seconds)
    record_property("edit_seconds_median", statistics.median(seconds))
    record_property("edit_seconds_worst", ordered[-1])
    if figures := os.environ.get("UNDERSTUDY_FIGURES"):
        with open(figures, "a") as out:  # noqa: PTH123
            print("edit seconds", *(f"{s:.3f}" for s in ordered), file=out)


def test_at_start_the_good_rollouts_of_a_file_serve_and_the_bad_one_is_named(tmp_path):
    with running(tmp_path, "digits: {stable: digits/1}\nfraud: {stable: nobody/1}\n") as up:
        assert up.admin.get("/readyz").status_code == 200
        assert [need["target"] for need in up.admin.get("/v1/needs").json()] == ["fraud"]
        [need] = up.admin.get("/v1/needs").json()
        assert need["sentence"].startswith("rollouts.yaml:2:17: fraud.stable: ")
        assert need["sentence"].endswith("; it is not served")
        assert httpx.get(up.url + "/v2/health/ready").status_code == 200
        assert httpx.get(up.url + "/v2/models/digits/ready").status_code == 200
        assert httpx.get(up.url + "/v2/models/fraud/ready").status_code != 200
        assert "rollouts of the file refused" in up.process.log.read_text()


BAD = {
    "syntax": ("digits:\n  stable: [digits/1\n", ":3:1"),
    "unknown key": ("digits:\n  stable: digits/1\n  canery: {model: digits/2, weight: 5}\n", ":3:"),
    "duplicate key": ("digits:\n  stable: digits/1\n  stable: digits/2\n", ":3:3"),
    "duplicate model": (BASE + BASE, ":6:1"),
    "alias": ("digits: &a\n  stable: digits/1\nmore: *a\n", ":1:"),
    "weight 150": ("digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: 150}\n", ":3:37"),
    "weight nan": ("digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: .nan}\n", ":3:37"),
    "weight negative": ("digits:\n  stable: digits/1\n  canary: {model: digits/2, weight: -1}\n", ":3:37"),
    "unknown model": ("digits:\n  stable: digits/1\n  canary: {model: digits/77, weight: 5}\n", ":3:19"),
    "unknown stable": ("digits:\n  stable: nobody/1\n", ":2:11"),
    "incompatible signature": (
        "digits:\n  stable: digits/1\n  shadows:\n    - {model: iris/1}\n",
        ":4:15",
    ),
    "unknown output": ("digits:\n  stable: digits/1\n  compare:\n    colour: exact\n", ":4:13"),
    "half written": (BASE[: BASE.index("weight")], ":4:"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_edit_changes_nothing_and_says_where_it_is_wrong(kind, up):
    text, place = BAD[kind]
    revision, rejected = up.view("digits")["revision"], up.metric("understudy_config_rejected_total")
    up.edit(text)
    try:
        refusal = eventually(lambda: (r := up.admin.get("/readyz")).status_code == 503 and r, "refused")
        problem = refusal.json()["detail"]
        assert problem.startswith(f"rollouts.yaml{place}")
        assert up.admin.get("/readyz/lead").status_code == 200, "nodes go on reporting"
        assert problem in up.process.log.read_text()
        assert up.metric("understudy_config_rejected_total") == rejected + 1
        assert up.view("digits")["revision"] == revision
        assert up.client.post(DIGITS, content=plain(0)[1]).status_code == 200
    finally:
        up.edit(BASE)
        eventually(lambda: up.admin.get("/readyz").status_code == 200, "accepted again")
    assert up.view("digits")["revision"] == revision


def test_of_a_thousand_edits_in_a_row_the_last_one_wins(up):
    for number in range(1000):
        up.edit(BASE.replace("10", f"{number / 10:g}"))
    eventually(
        lambda: up.view("digits")["serving"]["weight"] == 99.9 and up.all_targets_ready(), "the last in force"
    )
    assert up.metric("understudy_rollout_weight", target="digits/2", role="canary") == 99.9
    up.edit(BASE)
    eventually(lambda: up.view("digits")["serving"]["weight"] == 10, "back again")


def test_an_edit_in_place_and_one_by_a_configmap_swap_are_applied(up):
    folder = up.file.parent
    up.file.write_text(BASE.replace("10", "20"))
    eventually(lambda: up.view("digits")["serving"]["weight"] == 20, "edited in place")
    for name, weight in (("one", 30), ("two", 40)):
        (folder / name).mkdir()
        (folder / name / "rollouts.yaml").write_text(BASE.replace("10", str(weight)))
    (folder / "..data").symlink_to("one")
    up.file.unlink()
    up.file.symlink_to("..data/rollouts.yaml")
    eventually(lambda: up.view("digits")["serving"]["weight"] == 30, "now a link")
    (folder / "..data_new").symlink_to("two")
    (folder / "..data_new").rename(folder / "..data")
    eventually(lambda: up.view("digits")["serving"]["weight"] == 40, "the folder behind the link swapped")
    up.file.unlink()
    eventually(lambda: up.admin.get("/readyz").status_code == 503, "the file is missed")
    assert up.view("digits")["serving"]["weight"] == 40
    up.edit(BASE)
    eventually(lambda: up.view("digits")["serving"]["weight"] == 10, "back again")
