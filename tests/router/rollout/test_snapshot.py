"""A snapshot travels without loss, and says what must be loaded where."""

import orjson
import pytest

from router.rollout.parser import parse_one
from router.rollout.snapshot import (
    Pin,
    ServedRollout,
    Snapshot,
    candidates,
    local_models,
)
from router.rollout.values import Shadow, Target
from router.wire.snapshot import from_wire, to_wire
from serving.document import DocumentError

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 10, mirror: 20}
shadows:
  - {model: digits/3, sample: 50}
  - {model: digits/4, url: "http://elsewhere:8000"}
"""


def served(**changes):
    rollout = parse_one("digits", DOCUMENT, "test")
    values = {
        "rollout": rollout,
        "stage": 3,
        "stable": rollout.stable,
        "canary": rollout.canary.target,
        "weight": 10.0,
        "mirror": 20.0,
        "shadows": rollout.shadows,
        "warm": (Target("digits/9"),),
        "digests": {"digits/1": "a" * 64, "digits/2": "b" * 64},
    }
    return ServedRollout(**{**values, **changes})


def test_a_snapshot_survives_the_wire():
    snapshot = Snapshot(7, {"digits": served()})
    assert from_wire(orjson.loads(orjson.dumps(to_wire(snapshot)))) == snapshot


def test_workers_load_stable_and_what_is_kept_warm_but_no_candidate():
    assert local_models(Snapshot(1, {"digits": served()})) == (
        Pin("digits/1", "a" * 64),
        Pin("digits/9"),
    )


def test_a_model_at_a_url_is_loaded_nowhere():
    elsewhere = served(stable=Target("digits/1", "http://a:1"), warm=())
    assert local_models(Snapshot(1, {"digits": elsewhere})) == ()


def test_each_candidate_gets_a_sandbox_of_its_own():
    found = candidates(Snapshot(1, {"digits": served()}))
    assert {(c.target.key, c.live) for c in found.values()} == {
        ("digits/2", True),
        ("digits/3", False),
        ("digits/4@http://elsewhere:8000", False),
    }


def test_a_canary_at_a_url_needs_a_sandbox_only_to_be_compared():
    away = Target("digits/2", "http://a:1")
    assert candidates(Snapshot(1, {"digits": served(canary=away, mirror=0.0, shadows=())})) == {}
    assert len(candidates(Snapshot(1, {"digits": served(canary=away, mirror=1.0, shadows=())}))) == 1


def test_the_same_model_as_canary_and_shadow_of_two_rollouts_has_two_sandboxes():
    one = served(shadows=())
    other = served(canary=None, shadows=(Shadow(Target("digits/2"), 100.0),))
    found = candidates(Snapshot(1, {"digits": one, "other": other}))
    assert len(found) == 2


def test_other_bytes_get_another_sandbox():
    one, other = served(), served(digests={"digits/2": "c" * 64})
    both = [candidates(Snapshot(1, {"digits": each})).values() for each in (one, other)]
    canaries = [next(candidate for candidate in found if candidate.live) for found in both]
    assert canaries[0].id != canaries[1].id
    assert [candidate.sha256[0] for candidate in canaries] == ["b", "c"]


def test_a_snapshot_of_an_older_control_pins_nothing():
    wire = to_wire(Snapshot(7, {"digits": served()}))
    del wire["rollouts"]["digits"]["digests"]
    assert local_models(from_wire(wire)) == (Pin("digits/1"), Pin("digits/9"))


NEWER = """
stable: digits/1
canary:
  model: digits/2
  steps: [{setWeight: 10}, {prove: {max: 1h}}]
compare: {label: exact}
guards:
  errors: {maxRatio: 2}
sticky: {header: x-user}
"""


def newer_wire():
    """A snapshot of a control that knows more: in every mapping something that is not known here."""
    rollout = parse_one("digits", NEWER, "test")
    wire = orjson.loads(orjson.dumps(to_wire(Snapshot(7, {"digits": served(rollout=rollout)}))))
    served_ = wire["rollouts"]["digits"]
    document = served_["document"]
    document["canary"]["steps"].append({"ramp": {"to": 50}})
    document["guards"]["cost"] = {"maxRatio": 2}
    places = [
        wire, served_, served_["stable"], served_["canary"], *served_["shadows"], *served_["warm"], document,
        document["canary"], document["canary"]["steps"][0], document["canary"]["steps"][1]["prove"],
        document["guards"]["errors"], document["sticky"], document["examples"],
    ]  # fmt: skip
    for place in places:
        place["ofANewerVersion"] = {"per": "body|1s"}
    return wire, Snapshot(7, {"digits": served(rollout=rollout)})


def test_what_a_newer_control_adds_is_left_out():
    wire, known = newer_wire()
    assert from_wire(wire) == known


def test_documents_of_people_are_refused_for_what_is_not_known():
    wire, _ = newer_wire()
    with pytest.raises(DocumentError, match="unknown key"):
        parse_one("digits", orjson.dumps(wire["rollouts"]["digits"]["document"]), "test")
