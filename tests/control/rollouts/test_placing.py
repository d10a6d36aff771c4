"""On which nodes candidates stand: few, the same ones again, and never with more draws than there are."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.rollouts.events import Abort, Edited, Event, Promote, Resume, TargetsReady, Tick
from control.rollouts.placing import OFF_SECONDS
from control.rollouts.progress import advance, begin, served_by
from control.rollouts.state import from_json, status_sentence, to_json
from router.rollout.snapshot import Placed
from router.rollout.values import Canary, Placement, Prove, Rollout, SetWeight, Shadow, Target

ONE, TWO, THREE = Target("digits/1"), Target("digits/2"), Target("digits/3")
FEW = tuple(f"n{number}" for number in range(3))
MANY = tuple(f"n{number}" for number in range(30))
NAMES = st.lists(st.text("abc0-", min_size=1, max_size=4), min_size=1, max_size=40, unique=True)
PERCENTS = st.floats(0.01, 100)


def placed_canary(percent: float = 10.0, **fields) -> Rollout:
    canary = Canary(TWO, **{"weight": 5.0, "placement": Placement(percent), **fields})
    return Rollout("digits", ONE, canary)


class Fleet:
    """A rollout over nodes that come and go; a tick is a second."""

    def __init__(self, document: Rollout, living=FEW) -> None:
        self.document, self.living, self.now = document, tuple(living), 1000.0
        self.progress = begin(document)

    def on(self, event: Event):
        self.progress, effects = advance(self.document, self.progress, event)
        if isinstance(event, Edited):
            self.document = event.rollout
        return effects

    def tick(self, times: int = 1, **verdict):
        found = []
        for _ in range(times):
            self.now += 1.0
            found += self.on(Tick(self.now, living=self.living, **verdict))
        return found

    @property
    def served(self):
        return served_by(self.document, self.progress)

    @property
    def placed(self) -> Placed:
        return self.served.placed["digits/2"]


@given(NAMES, PERCENTS, PERCENTS)
def test_so_many_nodes_and_with_them_the_share_that_the_document_says(living, percent, part):
    share = min(part, percent)
    fleet = Fleet(placed_canary(percent, weight=share), living)
    fleet.tick()
    placed = fleet.placed
    number = len(placed.nodes)
    assert set(placed.nodes) <= set(living)
    assert 1 <= number <= max(1, math.ceil(percent * len(living) / 100.0))
    assert number >= percent * len(living) / 100.0 - 1e-6
    assert placed.drawn(share) <= 100.0
    assert placed.drawn(share) * number / len(living) == pytest.approx(share)


@given(NAMES, PERCENTS, st.randoms(use_true_random=False))
def test_which_nodes_is_no_matter_of_order_or_chance(living, percent, random):
    fleet = Fleet(placed_canary(percent), living)
    fleet.tick()
    again = Fleet(placed_canary(percent), random.sample(living, len(living)))
    again.tick()
    assert again.placed == fleet.placed


@given(NAMES, st.text("abc0-", min_size=5, max_size=5), PERCENTS)
def test_a_node_more_moves_at_most_one(living, another, percent):
    fleet, grown = (Fleet(placed_canary(percent), nodes) for nodes in (living, [*living, another]))
    fleet.tick(), grown.tick()
    assert len(set(fleet.placed.nodes) - set(grown.placed.nodes)) <= 1


def test_candidates_and_rollouts_stand_on_different_nodes():
    document = replace(placed_canary(), shadows=(Shadow(THREE, placement=Placement(10.0)),))
    fleet, other = Fleet(document, MANY), Fleet(replace(document, model="letters"), MANY)
    fleet.tick(), other.tick()
    chosen = [*fleet.served.placed.values(), *other.served.placed.values()]
    assert len({each.nodes for each in chosen}) == 4
    assert {len(each.nodes) for each in chosen} == {3}


def test_until_nodes_are_chosen_it_stands_nowhere_and_says_so():
    fleet = Fleet(placed_canary(), living=())
    fleet.tick(3)
    assert fleet.placed == Placed()
    assert fleet.served.at("n0").canary is None
    assert status_sentence(fleet.document, fleet.progress).startswith("digits/2 is given 5% on no node yet")
    fleet.living = FEW
    [effect] = fleet.tick()
    assert (effect.kind, effect.text) == (
        "placed",
        f"digits/2 stands on 1 of 3 nodes: {fleet.placed.nodes[0]}",
    )
    assert "given 5% on 1 of 3 nodes, digits/1 the rest" in status_sentence(fleet.document, fleet.progress)


def test_a_stage_keeps_its_nodes_whatever_comes_and_goes_a_little():
    fleet = Fleet(placed_canary(weight=None, steps=(SetWeight(5), Prove())), MANY)
    fleet.tick(2)
    stage, placed = fleet.progress.stage, fleet.placed
    for living in (MANY[:25], (*MANY, *(f"m{number}" for number in range(10))), MANY):
        fleet.living = living
        assert fleet.tick(100) == []
        assert (fleet.progress.stage, fleet.placed) == (stage, placed)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_others_are_chosen_once_too_few_live_and_not_before_they_could_be_back(lost):
    fleet = Fleet(placed_canary(), MANY)
    fleet.tick(2)
    stage, gone = fleet.progress.stage, fleet.placed.nodes[:lost]
    fleet.living = tuple(node for node in MANY if node not in gone)
    assert fleet.tick(int(OFF_SECONDS) - 1) == []
    fleet.living = MANY  # a moment only
    assert fleet.tick(100) == []
    fleet.living = tuple(node for node in MANY if node not in gone)
    kinds = [effect.kind for effect in fleet.tick(int(OFF_SECONDS))]
    if lost == 1:  # two of three will do
        assert (kinds, fleet.progress.stage) == ([], stage)
    else:
        assert (kinds, fleet.progress.stage) == (["placed"], stage + 1)
        assert not set(fleet.placed.nodes) & set(gone)


def test_a_fleet_that_shrinks_around_it_does_not_leave_it_with_more_than_its_share():
    fleet = Fleet(placed_canary(), MANY)
    fleet.tick()
    others = [node for node in MANY if node not in fleet.placed.nodes]
    fleet.living = (*fleet.placed.nodes, *others[:3])
    fleet.tick(int(OFF_SECONDS))
    placed = fleet.placed
    assert placed.of == len(fleet.living)
    assert placed.drawn(5.0) * len(placed.nodes) / placed.of == pytest.approx(5.0)


def test_each_stage_begins_with_the_nodes_that_there_are_then():
    steps = (SetWeight(1), Prove(), SetWeight(5), Prove())
    fleet = Fleet(placed_canary(weight=None, steps=steps), MANY)
    fleet.tick(2)
    fleet.living = MANY[:25]
    kinds = [effect.kind for effect in fleet.tick(2, verdict="undecided", stage=fleet.progress.stage)]
    assert kinds == []
    assert [effect.kind for effect in fleet.tick(1, verdict="proven", stage=fleet.progress.stage)] == ["step"]
    assert "placed" in [effect.kind for effect in fleet.tick(2)]
    assert fleet.placed.of == 25


def test_all_workers_load_it_when_it_is_promoted_and_then_it_stands_nowhere_by_itself():
    fleet = Fleet(placed_canary(weight=None, steps=(SetWeight(5),)))
    fleet.tick(2)
    assert fleet.progress.phase == "promoting"
    assert TWO in fleet.served.at("none of them").warm
    fleet.on(TargetsReady())
    assert (fleet.served.stable, fleet.served.placed) == (TWO, {})


def test_taken_off_it_stands_nowhere_and_back_it_stands_where_it_stood():
    fleet = Fleet(placed_canary())
    fleet.tick()
    placed = fleet.placed
    fleet.on(Abort("no"))
    assert (fleet.served.placed, fleet.progress.standing) == ({}, ())
    fleet.on(Resume())
    fleet.tick()
    assert fleet.placed == placed


def test_another_placement_goes_on_with_the_evidence_in_a_stage_of_its_own():
    fleet = Fleet(placed_canary(weight=None, steps=(SetWeight(5), Prove())), MANY)
    fleet.tick(2)
    before = fleet.progress
    canary = fleet.document.canary
    for placement, number in ((Placement(50.0), 15), (Placement(10.0), 3)):
        fleet.on(Edited(replace(fleet.document, canary=replace(canary, placement=placement))))
        assert [effect.kind for effect in fleet.tick()] == ["placed"]
        assert len(fleet.placed.nodes) == number
    assert (fleet.progress.step, fleet.progress.evidence_stage) == (before.step, before.evidence_stage)
    assert fleet.progress.stage == before.stage + 2


@pytest.mark.parametrize("first", [None, Placement(10.0)])
def test_a_placement_that_comes_or_goes_begins_a_stage_at_once(first):
    fleet = Fleet(placed_canary(placement=first), MANY)
    fleet.tick(2)
    stage = fleet.progress.stage
    second = Placement(10.0) if first is None else None
    fleet.on(Edited(replace(fleet.document, canary=replace(fleet.document.canary, placement=second))))
    assert fleet.progress.stage == stage + 1
    assert fleet.served.at("n0").weight == (5.0 if second is None else 0.0)


def test_a_shadow_is_placed_too_and_begins_no_stage():
    document = Rollout("digits", ONE, shadows=(Shadow(THREE, placement=Placement(10.0)),))
    fleet = Fleet(document, MANY)
    assert [effect.kind for effect in fleet.tick()] == ["placed"]
    nodes = fleet.served.placed["digits/3"].nodes
    assert len(nodes) == 3
    assert fleet.progress.stage == 1
    assert [bool(fleet.served.at(node).shadows) for node in MANY] == [node in nodes for node in MANY]


def test_where_it_stands_outlives_control():
    fleet = Fleet(placed_canary(), MANY)
    fleet.tick(2)
    assert from_json(json.loads(json.dumps(to_json(fleet.progress)))) == fleet.progress


# ------------------------------------------------------------------ waves
LABELS = ("eu", "us", "ap")


def in_waves(*steps, **fields) -> Fleet:
    canary = {"weight": None, "steps": steps, "placement": Placement(waves=LABELS), **fields}
    return Fleet(Rollout("digits", ONE, Canary(TWO, **canary)))


def answers(fleet: Fleet, label: str):
    """Who is stable on nodes of a label, and the canary's share of the draws there."""
    view = fleet.served.at("any", label)
    return view.stable, view.weight if view.canary is not None else None


def test_its_steps_are_gone_through_in_each_wave_and_each_is_promoted():
    fleet = in_waves(SetWeight(10), SetWeight(50))
    stages = [fleet.progress.stage]
    for number, label in enumerate(LABELS):
        before, after = LABELS[:number], LABELS[number + 1 :]
        for share in (10.0, 50.0):
            assert answers(fleet, label) == (ONE, share)
            assert {answers(fleet, each) for each in before} <= {(TWO, None)}
            assert {answers(fleet, each) for each in (*after, "", "elsewhere")} == {(ONE, None)}
            fleet.tick()
            stages.append(fleet.progress.stage)
        assert fleet.progress.phase == "promoting"
        last = label == LABELS[-1]
        loading = {each for each in (*LABELS, "") if TWO in fleet.served.at("any", each).warm}
        assert loading == ({*LABELS, ""} if last else {label})
        [effect] = fleet.on(TargetsReady())
        assert effect.kind == ("promoted" if last else "step")
    assert (fleet.progress.phase, fleet.served.stable, fleet.served.waves) == ("promoted", TWO, None)
    assert stages == sorted(stages)
    assert fleet.progress.evidence_stage == 1


def test_a_wave_that_is_done_keeps_stable_loaded_and_gets_it_back_when_another_does_harm():
    fleet = in_waves(SetWeight(10))
    fleet.tick()
    fleet.on(TargetsReady())
    assert ONE in fleet.served.at("any", "eu").warm
    [effect] = fleet.tick(verdict="harmful", reason="7 failed", stage=fleet.progress.stage)
    assert effect.kind == "rolled_back"
    assert {answers(fleet, label) for label in (*LABELS, "")} == {(ONE, None)}
    fleet.on(Resume())
    assert (fleet.progress.wave, answers(fleet, "eu")) == (0, (ONE, 10.0))


def test_a_promotion_by_a_person_is_of_the_wave_under_way():
    fleet = in_waves(SetWeight(10), Prove())
    fleet.on(Promote("it is fine"))
    fleet.on(TargetsReady())
    assert (fleet.progress.phase, fleet.progress.wave, fleet.progress.step) == ("progressing", 1, 0)
    assert "in wave us, 2 of 3" in status_sentence(fleet.document, fleet.progress)


def test_a_shadow_is_compared_with_stable_alone():
    fleet = in_waves(SetWeight(10))
    fleet.document = replace(fleet.document, shadows=(Shadow(THREE),))
    fleet.tick()
    fleet.on(TargetsReady())
    assert [len(fleet.served.at("any", label).shadows) for label in (*LABELS, "")] == [0, 1, 1, 1]


def test_other_waves_are_another_course_and_deadlines_are_not():
    fleet = in_waves(SetWeight(10), Prove())
    fleet.tick()
    step, canary = fleet.progress.step, fleet.document.canary
    fleet.on(Edited(replace(fleet.document, canary=replace(canary, progress_deadline_seconds=7.0))))
    assert fleet.progress.step == step
    [effect] = fleet.on(
        Edited(replace(fleet.document, canary=replace(canary, placement=Placement(waves=("us",)))))
    )
    assert (effect.kind, fleet.progress.step) == ("started", 0)


def test_how_far_it_has_come_outlives_control():
    fleet = in_waves(SetWeight(10))
    fleet.tick()
    fleet.on(TargetsReady())
    assert from_json(json.loads(json.dumps(to_json(fleet.progress)))) == fleet.progress
