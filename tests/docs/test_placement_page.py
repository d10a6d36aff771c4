"""The pages on placement and waves are done as they are written, on two real nodes; then one goes away."""

import re
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from harness.control import Node, controlling
from harness.fences import beside, follow
from harness.rows import DIGITS, body
from harness.system import ROOT, START_SECONDS, eventually
from router.rollout.snapshot import Candidate
from router.rollout.values import Target

pytestmark = pytest.mark.slow

PAGE, WAVES = ROOT / "docs" / "placement.md", ROOT / "docs" / "waves.md"
NUMBERS = "/v2/models/numbers/infer"
LABELS = {"n1": "eu", "n2": "us"}
SECONDS = 60.0
EACH = 60
COUNTED = re.compile(r"0 of ([0-9,]+) canary requests failed against 0 of ([0-9,]+) at stable")
AT_ONCE = {"UNDERSTUDY_DRAIN_SECONDS": "0"}


@contextmanager
def standing(folder, control, name):
    """A node of that name, as long as it is needed."""
    (folder / name).mkdir()
    node = Node(
        folder / name,
        control,
        environment={**AT_ONCE, "UNDERSTUDY_NODE": name, "UNDERSTUDY_LABEL": LABELS[name]},
    )
    try:
        ready = lambda: node.client.get("/v2/health/ready").status_code == 200  # noqa: E731
        eventually(ready, f"{name} is ready", START_SECONDS)
        yield node
    finally:
        node.client.close()
        code = node.process.end()
    assert code == 0, node.process.log.read_text()[-4000:]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A control and its two nodes."""
    folder = tmp_path_factory.mktemp("fleet")
    with controlling(folder) as control:
        for model, stable in (("digits", "digits/1"), ("numbers", "digits/1")):
            control.put(model, {"stable": stable}).raise_for_status()
        with standing(folder, control, "n1") as one, standing(folder, control, "n2") as two:
            nodes = {"n1": one, "n2": two}
            both = lambda: {row["node"] for row in control.view("digits")["nodes"]} == nodes.keys()  # noqa: E731
            eventually(both, "control knows of both nodes", START_SECONDS)
            yield control, nodes


@pytest.fixture
def reader(fleet, tmp_path):
    control, nodes = fleet
    return beside(SimpleNamespace(admin_url=control.url, url=nodes["n1"].url), tmp_path)


def canary(control, model="digits"):
    """Its target in the view, once it is ready wherever it is placed."""
    [row] = [each for each in control.view(model)["targets"] if each["role"] == "canary"]
    assert row["placed"]["nodes"]
    assert row["ready"]
    assert all(row["ready"].values())
    return row


def with_sandboxes(control, model="digits"):
    """The nodes with a process for a rollout's canary."""
    target = canary(control, model)
    wanted = Candidate(model, Target(target["target"]), live=True, sha256=target["sha256"])
    rows = control.client.get("/v1/nodes").raise_for_status().json()
    return {row["node"] for row in rows if f"/sandbox-{wanted.id}/" in row["instance"]}


def asked(node, path=DIGITS, **headers):
    return node.client.post(path, content=body(1), headers=headers)


def counted(control):
    """Requests of the canary and of stable, of which control knows."""
    evidence = control.client.get("/v1/rollouts/digits/evidence").raise_for_status().json()
    [guard] = evidence["judgement"]["guards"]
    found = COUNTED.search(guard["reason"])
    return [int(number.replace(",", "")) for number in found.groups()] if found else [0, 0]


def test_a_canary_takes_memory_and_requests_on_its_part_of_the_nodes_alone(fleet, reader):
    control, nodes = fleet
    assert follow(PAGE, reader, SECONDS, lambda: canary(control)) == 2
    placed = canary(control)["placed"]
    [here] = placed["nodes"]
    [there] = nodes.keys() - {here}
    assert (placed["of"], placed["drawn"]) == (2, 10.0)
    assert with_sandboxes(control) == {here}

    said = {name: [asked(node) for _ in range(EACH)] for name, node in nodes.items()}
    assert {each.status_code for answers in said.values() for each in answers} == {200}
    assert {each.headers["x-understudy-target"] for each in said[there]} == {"digits/1"}
    drawn = sum(each.headers["x-understudy-target"] == "digits/2" for each in said[here])
    eventually(lambda: counted(control) == [drawn, EACH - drawn], "what is drawn is evidence, and no more")
    named = {"x-understudy-target": "canary"}
    assert asked(nodes[here], **named).headers["x-understudy-target"] == "digits/2"
    assert asked(nodes[there], **named).status_code == 503
    assert "stands on other nodes" in asked(nodes[there], **named).text


def test_a_canary_goes_from_label_to_label_and_is_promoted_in_each(fleet, reader):
    control, nodes = fleet

    def at_first():
        assert canary(control, "numbers")["placed"]["nodes"] == ["n1"]
        assert with_sandboxes(control, "numbers") == {"n1"}
        return True

    assert follow(WAVES, reader, SECONDS, at_first) == 6
    history = control.history("numbers")
    waves = [row["reason"] for row in history if "in wave us" in row["reason"]]
    assert "digits/2 answers all in wave eu, 1 of 2" in waves[-1]
    assert [row["event"] for row in history[:2]] == ["promoted", "promoting"]
    assert {asked(node, NUMBERS).headers["x-understudy-target"] for node in nodes.values()} == {"digits/2"}
    assert {view["target"] for view in control.view("numbers")["served"]} == {"digits/2"}


def test_where_its_node_goes_away_another_takes_it_over(fleet):
    control, nodes = fleet
    document = {
        "stable": "digits/1",
        "canary": {"model": "digits/2", "weight": 5, "placement": {"nodes": 10}},
    }
    control.put("digits", document).raise_for_status()
    [here] = eventually(lambda: canary(control), "it stands somewhere", SECONDS)["placed"]["nodes"]
    [there] = nodes.keys() - {here}
    assert nodes[here].process.end() == 0
    moved = lambda: canary(control)["placed"]["nodes"] == [there]  # noqa: E731
    eventually(moved, "the other node takes it over", SECONDS)
    eventually(lambda: with_sandboxes(control) == {there}, "it runs there")
    assert control.history("digits")[0]["event"] == "placed"
