"""A snapshot travels without loss, and says what must be loaded where."""

import orjson

from router.rollout import Shadow, Target
from router.rollout_parser import parse_one
from router.snapshot import Pin, ServedRollout, Snapshot, candidates, from_wire, local_models, to_wire

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


def test_what_a_newer_control_says_beside_is_left_out():
    wire = to_wire(Snapshot(7, {"digits": served()}))
    wire["rollouts"]["digits"]["document"]["canary"]["hat"] = "red"
    wire["rollouts"]["digits"]["document"]["segments"] = {"header": "x"}
    wire["rollouts"]["digits"]["more"] = wire["more"] = 1
    assert from_wire(wire) == Snapshot(7, {"digits": served()})


def test_documents_are_parsed_once_however_often_they_come():
    one = from_wire(to_wire(Snapshot(7, {"digits": served()})))
    other = from_wire(to_wire(Snapshot(8, {"digits": served(weight=50.0)})))
    assert one.rollouts["digits"].rollout is other.rollouts["digits"].rollout
