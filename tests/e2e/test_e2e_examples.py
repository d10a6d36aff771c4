"""Examples: a difference can be looked at, exported and sent again; what is not to be kept is not."""

import json

import pytest

from harness.command import rollouts
from harness.raw import ask_all, request, tally
from harness.rows import DIGITS, body, digits, outputs_of
from harness.system import eventually, running

ROWS = 300
ROLLOUT = """
digits:
  stable: digits/1
  canary: {{model: digits/2, weight: 0, mirror: 100}}
  compare:
    label: exact
    probabilities: {{atol: 0.02}}
  examples: {examples}
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    with running(tmp_path_factory.mktemp("examples"), ROLLOUT.format(examples="{inputs: true}")) as system:
        yield system


def edit(up, examples):
    """Put other rules in force, in the sandbox too."""
    up.edit(ROLLOUT.format(examples=examples))

    def in_force():
        revision = up.view("digits")["revision"]
        rows = [row for row in up.admin.get("/v1/nodes").json() if row["kind"] != "node"]
        known = json.dumps(up.view("digits")["document"]["examples"])
        return known != before and all(row["revision"] == revision for row in rows)

    before = json.dumps(up.view("digits")["document"]["examples"])
    eventually(in_force, "in force everywhere")


def ask(up, rows=ROWS):
    """Send rows, and wait until all were compared."""
    compared = up.metric("understudy_shadow_total", outcome="compared")
    answers = tally(
        ask_all(up.port, (request(DIGITS, body(number)) for number in range(rows)), connections=2)
    )
    assert answers == {(200, "digits/1"): rows}
    wanted = compared + rows
    eventually(lambda: up.metric("understudy_shadow_total", outcome="compared") == wanted, "all compared")


def view(up, **params):
    return up.admin.get("/v1/rollouts/digits/examples", params=params).raise_for_status().json()


def row_of(example):
    """The number of the digit that was sent."""
    [sent] = example["request"]["inputs"]
    assert (sent["name"], sent["shape"], sent["datatype"]) == ("pixels", [1, 64], "FP32")
    return digits().tolist().index(sent["data"])


def same_as(up, url, found):
    """Whose answer a server gives now to the requests of those whose labels differ."""
    lines = rollouts(
        up, "examples", "digits", "--output", "label", "--limit", "1000", "--replay", url, "--json"
    )
    answers = {line["id"]: line["same_as"] for line in map(json.loads, lines.splitlines())}
    return sorted({answers[each["id"]] for each in found if each["verdict"] == "different"})


def test_examples_are_true_and_can_be_exported_and_sent_again(up):
    ask(up)
    eventually(lambda: view(up)["seen"] >= 2 * ROWS, "control knows of all")
    found = view(up, output="label")["examples"]
    assert found
    assert found[0]["verdict"] == "different"
    for example in found:
        row = row_of(example)
        assert example["reference"] == [int(outputs_of("digits/1")["label"][row])]
        assert example["candidate"] == [int(outputs_of("digits/2")["label"][row])]
        assert (example["verdict"] == "different") == (example["reference"] != example["candidate"])
    [farthest] = view(up, output="probabilities", limit=1)["examples"]
    row = row_of(farthest)
    assert farthest["reference"] == pytest.approx(
        outputs_of("digits/1")["probabilities"][row].tolist(), abs=1e-6
    )
    assert farthest["candidate"] == pytest.approx(
        outputs_of("digits/2")["probabilities"][row].tolist(), abs=1e-6
    )

    lines = rollouts(up, "examples", "digits", "--json", "--limit", "1000").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [e["id"] for e in view(up, limit=1000)["examples"]]
    assert "different" not in rollouts(up, "examples", "digits", "--output", "probabilities")

    assert same_as(up, up.url, found) == ["reference"]
    assert same_as(up, f"{up.url}/v2/models/digits/versions/2/infer", found) == ["candidate"]
    assert "same as" in rollouts(up, "examples", "digits", "--replay", up.url)


def test_an_edit_takes_effect_at_once_and_nothing_is_on_a_disk(up):
    ask(up)
    eventually(lambda: view(up)["examples"], "some are kept")
    edit(up, "{keep: 40, inputs: true, redact: [pixels, probabilities]}")
    ask(up)
    kept = view(up, limit=1000)["examples"]
    assert 0 < len(kept) <= 40
    for example in kept:
        assert [entry["data"] for entry in example["request"]["inputs"]] == [[]]
        assert (example["reference"] == []) == (example["output"] == "probabilities") == example["redacted"]
    assert "'pixels' was redacted" in rollouts(up, "examples", "digits", "--replay", up.url, "--json")
    edit(up, "{keep: 0}")
    assert view(up)["examples"] == []
    ask(up)
    edit(up, "{}")
    assert view(up)["examples"] == []  # none was taken while none was to be kept
    ask(up)
    eventually(lambda: view(up)["examples"], "some are kept again")
    assert all(example["request"] is None for example in view(up, limit=1000)["examples"])
    assert "inputs were not kept" in rollouts(up, "examples", "digits", "--replay", up.url, "--json")
    for path in (up.folder / "state").rglob("*"):
        assert not path.is_file() or b'"candidate_shape"' not in path.read_bytes()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nobody/examples", 404),
        ("digits/examples?order=size", 422),
        ("digits/examples?limit=0", 422),
        ("digits/examples?limit=1001", 422),
    ],
)
def test_a_wrong_question_is_told_so(up, path, status):
    assert up.admin.get(f"/v1/rollouts/{path}").status_code == status
