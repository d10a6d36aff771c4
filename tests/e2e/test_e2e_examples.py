"""Examples: a difference can be looked at, exported and sent again; what is not to be kept is not."""

import json

import pytest

from harness.command import rollouts
from harness.pilot import piloted
from harness.raw import ask_all, request, tally
from harness.rows import body, digits, outputs_of
from harness.system import eventually

ROWS = 300
MODEL = "exemplary"


def document(**examples):
    return {
        "stable": "digits/1",
        "canary": {"model": "digits/2", "weight": 0, "mirror": 100},
        "compare": {"label": "exact", "probabilities": {"atol": 0.02}},
        "examples": examples,
    }


@pytest.fixture(scope="module")
def pilot(node):
    with piloted(node, MODEL, document(inputs=True)) as found:
        eventually(found.ready, "ready")
        yield found


def edit(pilot, **examples):
    """Put other rules in force, in the sandbox too."""
    revision = pilot.put(document(**examples))

    def in_force():
        rows = [row for row in pilot.up.admin.get("/v1/nodes").json() if row["kind"] != "node"]
        return all(row["revision"] >= revision for row in rows)

    eventually(in_force, "in force everywhere")


def ask(pilot, rows=ROWS):
    """Send rows, and wait until all were compared."""
    wanted = pilot.metric("shadow_total", outcome="compared") + rows
    asked = (request(pilot.infer, body(number)) for number in range(rows))
    assert tally(ask_all(pilot.up.port, asked, connections=2)) == {(200, "digits/1"): rows}
    eventually(lambda: pilot.metric("shadow_total", outcome="compared") == wanted, "all compared")


def view(pilot, **params):
    answer = pilot.up.admin.get(f"/v1/rollouts/{MODEL}/examples", params=params)
    return answer.raise_for_status().json()


def row_of(example):
    """The number of the digit that was sent."""
    [sent] = example["request"]["inputs"]
    assert (sent["name"], sent["shape"], sent["datatype"]) == ("pixels", [1, 64], "FP32")
    return digits().tolist().index(sent["data"])


def same_as(pilot, url, found):
    """Whose answer a server gives now to the requests of those whose labels differ."""
    lines = rollouts(
        pilot.up, "examples", MODEL, "--output", "label", "--limit", "1000", "--replay", url, "--json"
    )
    answers = {line["id"]: line["same_as"] for line in map(json.loads, lines.splitlines())}
    return sorted({answers[each["id"]] for each in found if each["verdict"] == "different"})


def test_examples_are_true_and_can_be_exported_and_sent_again(pilot):
    ask(pilot)
    eventually(lambda: view(pilot)["seen"] >= 2 * ROWS, "control knows of all")
    found = view(pilot, output="label")["examples"]
    assert found
    assert found[0]["verdict"] == "different"
    for example in found:
        row = row_of(example)
        assert example["reference"] == [int(outputs_of("digits/1")["label"][row])]
        assert example["candidate"] == [int(outputs_of("digits/2")["label"][row])]
        assert (example["verdict"] == "different") == (example["reference"] != example["candidate"])
    [farthest] = view(pilot, output="probabilities", limit=1)["examples"]
    row = row_of(farthest)
    assert farthest["reference"] == pytest.approx(
        outputs_of("digits/1")["probabilities"][row].tolist(), abs=1e-6
    )
    assert farthest["candidate"] == pytest.approx(
        outputs_of("digits/2")["probabilities"][row].tolist(), abs=1e-6
    )

    lines = rollouts(pilot.up, "examples", MODEL, "--json", "--limit", "1000").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [
        e["id"] for e in view(pilot, limit=1000)["examples"]
    ]
    assert "different" not in rollouts(pilot.up, "examples", MODEL, "--output", "probabilities")

    assert same_as(pilot, pilot.up.url, found) == ["reference"]
    assert same_as(pilot, f"{pilot.up.url}/v2/models/{MODEL}/versions/2/infer", found) == ["candidate"]
    assert "same as" in rollouts(pilot.up, "examples", MODEL, "--replay", pilot.up.url)


def test_an_edit_takes_effect_at_once_and_nothing_is_on_a_disk(pilot):
    ask(pilot)
    eventually(lambda: view(pilot)["examples"], "some are kept")
    edit(pilot, keep=40, inputs=True, redact=["pixels", "probabilities"])
    ask(pilot)
    kept = view(pilot, limit=1000)["examples"]
    assert 0 < len(kept) <= 40
    for example in kept:
        assert [entry["data"] for entry in example["request"]["inputs"]] == [[]]
        assert (example["reference"] == []) == (example["output"] == "probabilities") == example["redacted"]
    assert "'pixels' was redacted" in rollouts(
        pilot.up, "examples", MODEL, "--replay", pilot.up.url, "--json"
    )
    edit(pilot, keep=0)
    assert view(pilot)["examples"] == []
    ask(pilot)
    edit(pilot)
    assert view(pilot)["examples"] == []  # none was taken while none was to be kept
    ask(pilot)
    eventually(lambda: view(pilot)["examples"], "some are kept again")
    assert all(example["request"] is None for example in view(pilot, limit=1000)["examples"])
    assert "inputs were not kept" in rollouts(pilot.up, "examples", MODEL, "--replay", pilot.up.url, "--json")
    for path in (pilot.up.folder / "state").rglob("*"):
        assert not path.is_file() or b'"candidate_shape"' not in path.read_bytes()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nobody/examples", 404),
        ("exemplary/examples?order=size", 422),
        ("exemplary/examples?limit=0", 422),
        ("exemplary/examples?limit=1001", 422),
    ],
)
def test_a_wrong_question_is_told_so(pilot, path, status):
    assert pilot.up.admin.get(f"/v1/rollouts/{path}").status_code == status
