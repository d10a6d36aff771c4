"""What a move of an alias makes of a rollout that follows it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.rollouts.events import Abort, Edited, Failed, Promote, PromotionFailed, Resume, TargetsReady
from control.rollouts.following import begins, circles, kept, moved
from control.rollouts.progress import advance, begin, possible, served_by
from control.rollouts.state import to_json
from harness.search import examples
from router.rollout.parser import parse_one, to_document
from router.rollout.values import Target
from serving.document import DocumentError

STEPS = {"steps": [{"setWeight": 5}, {"pause": {}}], "mirror": 100}


def document(stable="digits/1", alias="challenger", promote="champion", model="digits", **more):
    follow = {"alias": alias, "canary": STEPS, **({"promote": promote} if promote else {})}
    return parse_one(model, json.dumps({"stable": stable, "follow": follow, **more}), "f")


class Rolling:
    """One rollout, moved as control moves it."""

    def __init__(self, rollout=None):
        self.rollout = rollout or document()
        self.progress = begin(self.rollout)
        self.changes = 0

    def look(self, version):
        """Hold the document in force against where the alias stands."""
        if begins(self.rollout, self.progress, version):
            self.edit(moved(self.rollout, self.progress, version))
            self.changes += 1

    def edit(self, rollout):
        rollout = kept(self.rollout, rollout)
        self.progress, effects = advance(self.rollout, self.progress, Edited(rollout))
        self.rollout = rollout
        return effects

    def happen(self, *events):
        for event in events:
            self.progress, _ = advance(self.rollout, self.progress, event)

    def promote(self):
        self.happen(Promote("better"), TargetsReady())

    @property
    def tried(self):
        return self.progress.candidate if self.progress.live else None


def test_the_first_version_begins_a_rollout_and_the_same_again_changes_nothing():
    rolling = Rolling()
    assert rolling.progress.candidate is None
    for _ in range(3):
        rolling.look(2)
    assert (rolling.changes, rolling.tried, rolling.progress.phase) == (1, "digits/2", "progressing")
    assert rolling.rollout.follow.version == 2


def test_stable_is_never_its_own_canary_and_no_alias_changes_nothing():
    rolling = Rolling()
    rolling.look(1)
    rolling.look(None)
    assert rolling.changes == 0


def test_a_version_that_was_taken_off_is_not_tried_again_until_another_came_or_a_person_resumes():
    rolling = Rolling()
    rolling.look(2)
    rolling.happen(Failed("it answers wrong"))
    for version in (2, 1, None, 2):
        rolling.look(version)
    assert (rolling.changes, rolling.progress.phase) == (1, "rolled_back")
    rolling.happen(Resume())
    assert rolling.tried == "digits/2"
    rolling.happen(Failed("again"))
    rolling.look(3)
    rolling.look(2)
    assert (rolling.changes, rolling.tried) == (3, "digits/2")


def test_the_next_move_says_what_was_promoted_as_stable():
    rolling = Rolling()
    rolling.look(2)
    rolling.promote()
    rolling.look(2)
    assert (rolling.changes, rolling.progress.phase) == (1, "promoted")
    rolling.look(3)
    written = to_document(rolling.rollout)
    assert written["stable"] == "digits/2"
    assert (written["follow"]["version"], written["follow"]["began"]) == (3, "digits/1")
    assert (rolling.progress.stable.key, rolling.tried) == ("digits/2", "digits/3")


def test_nothing_begins_while_a_promotion_is_under_way():
    rolling = Rolling()
    rolling.look(2)
    rolling.happen(Promote("better"))
    rolling.look(3)
    assert (rolling.progress.phase, rolling.tried) == ("promoting", "digits/2")
    rolling.happen(TargetsReady())
    rolling.look(3)
    assert (rolling.progress.stable.key, rolling.tried) == ("digits/2", "digits/3")


def test_what_is_served_is_told_as_of_a_document_with_a_canary():
    rolling = Rolling()
    rolling.look(2)
    served = served_by(rolling.rollout, rolling.progress)
    assert served.canary == Target("digits/2")
    assert "follow" not in to_document(served.rollout)
    assert to_document(served.rollout)["canary"]["model"] == "digits/2"


def test_a_version_that_is_a_shadow_already_is_refused_in_words():
    rolling = Rolling(document(shadows=["digits/2"]))
    with pytest.raises(DocumentError, match="digits/2 is already a target of this rollout"):
        moved(rolling.rollout, rolling.progress, 2)


# ------------------------------------------------------------------ edits


def test_an_edit_beside_leaves_the_version_under_way_where_it_is():
    rolling = Rolling()
    rolling.look(2)
    before = rolling.progress
    [effect] = rolling.edit(document(keepWarm="1m"))
    assert effect.kind == "edited"
    assert (rolling.tried, rolling.progress.step) == ("digits/2", before.step)
    rolling.look(2)
    assert rolling.changes == 1


def test_which_alias_a_promotion_moves_is_no_part_of_the_evidence():
    rolling = Rolling()
    rolling.look(2)
    rolling.edit(document(promote="production"))
    assert (rolling.rollout.follow.promote, rolling.progress.evidence_stage) == ("production", 1 + 1)
    assert rolling.progress.stage == 2


def test_an_edit_keeps_what_was_promoted_unless_it_says_another_stable():
    rolling = Rolling()
    rolling.look(2)
    rolling.promote()
    rolling.edit(document(timeout="2s"))
    assert rolling.progress.stable.key == "digits/2"
    rolling.look(3)
    rolling.edit(document(timeout="3s"))
    assert (rolling.progress.stable.key, rolling.tried) == ("digits/2", "digits/3")
    rolling.edit(document("digits/7"))
    assert (rolling.progress.stable.key, rolling.tried) == ("digits/7", "digits/3")
    assert rolling.rollout.follow.began is None


def test_an_edit_that_catches_up_with_a_promotion_begins_nothing():
    rolling = Rolling()
    rolling.look(2)
    rolling.promote()
    rolling.edit(document("digits/2"))
    rolling.look(2)
    assert (rolling.progress.phase, rolling.progress.stable.key) == ("idle", "digits/2")
    assert (rolling.changes, rolling.rollout.follow.version) == (1, None)


def test_an_edit_that_follows_another_alias_begins_with_that():
    rolling = Rolling()
    rolling.look(2)
    rolling.edit(document(alias="next"))
    assert rolling.tried is None
    rolling.look(5)
    assert rolling.tried == "digits/5"


def test_a_document_that_was_read_back_is_taken_at_its_word():
    rolling = Rolling()
    rolling.look(2)
    two = rolling.rollout
    rolling.look(3)
    rolling.edit(two)
    assert rolling.tried == "digits/2"


def test_an_edit_that_names_as_shadow_what_is_tried_is_refused():
    rolling = Rolling()
    rolling.look(2)
    with pytest.raises(DocumentError, match="already a target"):
        kept(rolling.rollout, document(shadows=["digits/2"]))


def test_an_edit_without_follow_is_any_edit():
    rolling = Rolling()
    rolling.look(2)
    plain = parse_one("digits", '{"stable": "digits/1"}', "f")
    assert kept(rolling.rollout, plain) is plain
    assert kept(None, rolling.rollout) is rolling.rollout


# ------------------------------------------------------------------ circles


def follows(*pairs, registered="digits"):
    found = {}
    for number, (alias, promote) in enumerate(pairs):
        name = f"r{number}"
        found[name] = document(f"{registered}/1", alias, promote, name)
    return found


def test_promotions_that_lead_round_in_a_circle_are_refused_and_those_in_a_line_are_not():
    assert circles(follows(("a", "b"), ("b", "c"), ("c", None))) == {}
    assert circles(follows(("a", "b"), ("a", "b"))) == {}
    found = circles(follows(("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("x", "a")))
    assert set(found) == {"r0", "r1", "r2"}
    assert "would begin r1, then r2, and in the end this one again" in found["r0"]


def test_aliases_of_different_models_are_different():
    there, back = follows(("a", "b")), follows(("b", "a"), registered="iris")
    assert circles({"there": there["r0"], "back": back["r0"]}) == {}


# ------------------------------------------------------------------ no loops


LINE = [("a", "b"), ("b", "c"), ("b", "d"), ("d", None)]


class World:
    """A registry, control's rollouts, and an outbox that may be late, repeated, or start anew."""

    def __init__(self):
        self.aliases = dict.fromkeys("abcd", 1)
        self.rollouts = {model: Rolling(rollout) for model, rollout in follows(*LINE).items()}
        self.outbox = []
        self.written = 0
        self.moves = 0
        self.asked = 0  # by people: resumes, and edits

    def move(self, alias, version):
        self.moves += self.aliases.get(alias) != version
        self.aliases[alias] = version

    def look(self, model):
        """By a webhook, a duplicate of one, a forged one, a poll, after a restart: it is all the same."""
        rolling = self.rollouts[model]
        rolling.look(self.aliases.get(rolling.rollout.follow.alias))

    def end(self, model, *, well):
        rolling = self.rollouts[model]
        if "promote" not in possible(rolling.rollout, rolling.progress) or not rolling.progress.live:
            return
        if well:
            rolling.promote()
            follow = rolling.rollout.follow
            if follow.promote is not None:
                self.outbox.append((follow.promote, follow.version))
        else:
            rolling.happen(Failed("worse"))

    def write(self):
        if self.written < len(self.outbox):
            alias, version = self.outbox[self.written]
            self.aliases[alias] = version
            self.written += 1

    def resume(self, model):
        rolling = self.rollouts[model]
        if rolling.progress.phase == "rolled_back":
            rolling.happen(Resume())
            self.asked += 1

    def settle(self):
        """Everything promoted, written and looked at, until nothing more comes of it."""
        for _ in range(1000):
            before = self.state()
            for model in self.rollouts:
                self.look(model)
                self.end(model, well=True)
            while self.written < len(self.outbox):
                self.write()
            if self.state() == before:
                return
        raise AssertionError("it goes on for ever")

    def state(self):
        return dict(self.aliases), {m: to_json(each.progress) for m, each in self.rollouts.items()}

    @property
    def changes(self):
        return sum(rolling.changes for rolling in self.rollouts.values())


models = st.sampled_from([f"r{number}" for number in range(len(LINE))])
happenings = st.lists(
    st.tuples(st.just("move"), st.sampled_from("abcd"), st.none() | st.integers(1, 4))
    | st.tuples(st.just("look"), models)
    | st.tuples(st.just("end"), models, st.booleans())
    | st.tuples(st.just("write"))
    | st.tuples(st.just("resume"), models),
    max_size=40,
)


@settings(max_examples=examples(200))
@given(happenings)
def test_changes_are_bounded_by_the_moves_of_others(happened):
    """A move of others changes each rollout that it leads to once at most, whatever is told twice or late."""
    world = World()
    for what, *of in happened:
        match what:
            case "move":
                world.move(*of)
            case "look":
                world.look(*of)
            case "end":
                world.end(of[0], well=of[1])
            case "write":
                world.write()
            case _:
                world.resume(*of)
    world.settle()
    assert world.changes <= (world.moves + world.asked) * len(LINE)
    settled, changes = world.state(), world.changes
    for model in world.rollouts:
        world.look(model)
    assert (world.state(), world.changes) == (settled, changes)


@settings(max_examples=examples(200))
@given(happenings)
def test_of_one_rollout_alone_there_are_no_more_changes_than_moves(happened):
    world = World()
    world.rollouts = {"r0": Rolling(document("digits/1", "a", "b", "r0"))}
    for what, *of in happened:
        if what == "move":
            world.move(*of)
        elif what == "end":
            world.end("r0", well=of[1])
        elif what == "look":
            world.look("r0")
        elif what == "write":
            world.write()
    assert world.changes <= world.moves


@settings(max_examples=examples(100))
@given(st.lists(st.sampled_from("23pfrax"), max_size=12))
def test_after_any_story_the_document_in_force_is_one_that_can_be_read_back(story):
    rolling = Rolling()
    for letter in story:
        allowed = possible(rolling.rollout, rolling.progress)
        match letter:
            case "2" | "3":
                rolling.look(int(letter))
            case "p" if "promote" in allowed:
                rolling.happen(Promote("p"), TargetsReady())
            case "x" if "promote" in allowed:
                rolling.happen(Promote("p"), PromotionFailed("no"))
            case "f" if rolling.progress.live:
                rolling.happen(Failed("f"))
            case "r" if "resume" in allowed:
                rolling.happen(Resume())
            case "a" if "abort" in allowed:
                rolling.happen(Abort("a"))
    written = to_document(rolling.rollout)
    assert parse_one("digits", json.dumps(written), "f") == rolling.rollout
    assert kept(rolling.rollout, document()) == replace(rolling.rollout) or rolling.rollout.follow.version
