"""Approvals and hooks in the state machine: what leads past their steps, and what never does."""

import json
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from control.rollouts.approving import attempt, step_of
from control.rollouts.events import (
    Abort,
    Approve,
    Edited,
    ForeignVerdict,
    IllegalTransition,
    NotEntitled,
    Pause,
    Promote,
    Reject,
    Resume,
    RunResult,
    Tick,
)
from control.rollouts.progress import advance, begin, possible
from control.rollouts.state import from_json, status_sentence, to_json
from harness.search import examples
from router.rollout.values import Approve as ApproveStep
from router.rollout.values import Canary, Rollout, Run, SetWeight, Target
from router.rollout.values import Pause as PauseStep
from serving.errors import ServingError

ONE, TWO = Target("digits/1"), Target("digits/2")
TWO_OF_RISK = ApproveStep(2, ("risk", "legal"), 60.0)
HOOK = Run("http://gate:8080/start", 30.0)


class Driver:
    """One rollout, with what happens to it."""

    def __init__(self, *steps, author="zoe"):
        self.document = Rollout("digits", ONE, Canary(TWO, None, steps))
        self.progress = begin(self.document, authors=(author,))
        self.now = 0.0

    def on(self, event):
        document = event.rollout if isinstance(event, Edited) else self.document
        self.progress, effects = advance(self.document, self.progress, event)
        self.document = document
        assert from_json(json.loads(json.dumps(to_json(self.progress)))) == self.progress
        return [effect.kind for effect in effects]

    def tick(self, seconds=1.0, **more):
        self.now += seconds
        return self.on(Tick(self.now, **more))

    def approve(self, person, *roles):
        return self.on(
            Approve(person, frozenset(roles), self.progress.stage, self.progress.step, "seen", 1e9)
        )

    def reject(self, person, *roles, reason="too early"):
        return self.on(Reject(person, frozenset(roles), self.progress.stage, self.progress.step, reason))

    @property
    def sentence(self):
        return status_sentence(self.document, self.progress)


def waiting():
    driver = Driver(SetWeight(5), TWO_OF_RISK, SetWeight(50), PauseStep())
    assert driver.tick() == ["approval_wanted"]
    return driver


def test_two_people_with_a_role_let_it_go_on_and_the_weight_stays_until_then():
    driver = waiting()
    assert driver.approve("ann", "risk") == ["approved"]
    assert (driver.progress.step, driver.progress.weight) == (1, 5)
    assert driver.sentence == (
        "step 2 of 4, digits/2 at 5%: waiting for approval by 2 of risk or legal, ann (risk) so far, 0 of at"
        " most 60 s"
    )
    assert driver.approve("ben", "viewer", "legal") == ["step"]
    assert (driver.progress.step, driver.progress.weight, driver.progress.approvals) == (2, 50, ())
    assert driver.progress.reason == "approved by ann (risk) and ben (legal)"


@pytest.mark.parametrize(
    ("person", "roles", "error", "why"),
    [
        ("zoe", ("risk",), NotEntitled, "zoe made this revision of 'digits', or edited it since"),
        ("ben", ("operator",), NotEntitled, "this needs the role risk or legal; ben has operator"),
        ("ann", ("legal",), IllegalTransition, "ann approved of this already; 2 of risk or legal, ann"),
    ],
)
def test_what_does_not_count_is_refused_in_words(person, roles, error, why):
    driver = waiting()
    driver.approve("ann", "risk")
    before = driver.progress
    with pytest.raises(error, match=why):
        driver.approve(person, *roles)
    assert driver.progress == before


def test_without_roles_any_operator_may():
    driver = Driver(ApproveStep(), PauseStep())
    with pytest.raises(NotEntitled, match="needs the role operator"):
        driver.approve("ann", "risk")
    assert driver.approve("ann", "operator") == ["paused"]


def test_who_looked_at_another_step_looks_again():
    driver = waiting()
    with pytest.raises(IllegalTransition, match="look again"):
        driver.on(Approve("ann", frozenset({"risk"}), driver.progress.stage - 1, 1, "seen", 1e9))


def test_a_rejection_pauses_with_its_reason_and_resuming_asks_anew():
    driver = waiting()
    driver.approve("ann", "risk")
    assert driver.reject("zoe", "risk") == ["paused"]
    assert (driver.progress.cause, driver.progress.reason) == (
        "rejected",
        "rejected by zoe (risk): too early",
    )
    driver.on(Resume())
    assert (driver.progress.phase, driver.progress.step, driver.progress.approvals) == ("progressing", 1, ())


def test_what_expires_is_paused_and_resuming_begins_the_time_again():
    driver = waiting()
    driver.approve("ann", "risk")
    kinds = [kind for _ in range(70) for kind in driver.tick(ready=False)]
    assert kinds == ["paused"]
    assert driver.progress.reason == (
        "it was not approved by 2 of risk or legal within 1m: only ann (risk) approved"
    )
    driver.on(Resume())
    assert driver.progress.waited_seconds == 0.0


def test_promoting_passes_by_no_approval_that_is_ahead():
    driver = waiting()
    assert "promote" not in possible(driver.document, driver.progress)
    with pytest.raises(IllegalTransition, match="would pass by step 2, which asks for approval"):
        driver.on(Promote("now"))
    driver.approve("ann", "risk")
    driver.approve("ben", "risk")
    assert driver.on(Promote("now")) == ["promoting"]


def test_any_edit_drops_approvals_and_makes_its_maker_an_author():
    driver = waiting()
    driver.approve("ann", "risk")
    driver.on(Edited(replace(driver.document, keep_warm_seconds=1.0), by="ben"))
    assert (driver.progress.step, driver.progress.approvals) == (1, ())
    with pytest.raises(NotEntitled, match="ben made"):
        driver.approve("ben", "risk")
    driver.approve("ann", "risk")
    driver.on(Edited(replace(driver.document, timeout_seconds=2.0), by="ben"))
    assert (driver.progress.step, driver.progress.approvals) == (1, ())
    driver.approve("ann", "risk")
    canary = replace(driver.document.canary, steps=(TWO_OF_RISK, PauseStep()))
    driver.on(Edited(replace(driver.document, canary=canary), by="eve"))
    assert (driver.progress.step, driver.progress.approvals, driver.progress.authors) == (0, (), ("eve",))


def test_a_hook_that_answers_lets_it_go_on_or_halts_it():
    driver = Driver(HOOK, SetWeight(5), PauseStep())
    assert driver.sentence.endswith("waiting for the hook http://gate:8080/start, 0 of at most 30 s")
    asked = attempt(driver.progress)
    assert driver.on(RunResult(asked, passed=False, reason="tests are red")) == ["paused"]
    assert driver.progress.reason == "the hook halted it: tests are red"
    driver.on(Resume())
    with pytest.raises(ForeignVerdict):
        driver.on(RunResult(asked, passed=True))
    assert driver.on(RunResult(attempt(driver.progress), passed=True)) == ["step"]
    assert (driver.progress.step, driver.progress.reason) == (1, "the hook let it go on")


def test_a_hook_that_never_answers_pauses_it():
    driver = Driver(HOOK, PauseStep())
    kinds = [kind for _ in range(40) for kind in driver.tick(hook="it answered with status 503")]
    assert kinds == ["paused"]
    assert driver.progress.reason == (
        "the hook did not let it go on within 30 s: it answered with status 503"
    )


# ------------------------------------------------------------------ whatever happens
PEOPLE = {
    "ann": {"risk"},
    "ben": {"risk", "operator"},
    "eve": {"legal"},
    "joe": {"operator"},
    "vic": {"viewer"},
}
STEPS = st.lists(
    st.one_of(
        st.builds(SetWeight, st.sampled_from([1.0, 50.0])),
        st.builds(
            ApproveStep,
            st.integers(1, 3),
            st.sampled_from([(), ("risk",), ("risk", "legal")]),
            st.sampled_from([None, 6.0]),
        ),
        st.just(Run("http://gate:8080", 9.0)),
        st.just(PauseStep(2.0)),
    ),
    min_size=1,
    max_size=4,
).map(tuple)


class AnyApprovals(RuleBasedStateMachine):
    """The model counts by itself who approved of the present document, stage and step."""

    @initialize(steps=STEPS, author=st.sampled_from(sorted(PEOPLE)))
    def start(self, steps, author):
        self.driver = Driver(*steps, author=author)
        self.authors = {author}
        self.given: set[str] = set()

    def on(self, event):
        before, step = self.driver.progress, step_of(self.driver.document, self.driver.progress)
        try:
            self.driver.on(event)
        except ServingError:
            assert self.driver.progress is before
            return False
        after = self.driver.progress
        if isinstance(event, Approve):
            self.given.add(event.person)
        moved = (after.stage, after.step) != (before.stage, before.step)
        if moved and isinstance(step, ApproveStep) and after.step > before.step:
            assert len(self.given) >= step.by
        if after.phase == "promoting" and before.phase != "promoting":
            left = self.driver.document.canary.steps[before.step + isinstance(step, ApproveStep) :]
            assert not any(isinstance(each, ApproveStep) for each in left) or before.cause == "load"
        again = isinstance(event, Resume) and before.cause in {"rejected", "expired", "hook"}
        if moved or again or isinstance(event, Edited):
            self.given = set()
        return True

    @rule(person=st.sampled_from(sorted(PEOPLE)), late=st.sampled_from([0, 0, 0, 1]))
    def approve(self, person, late):
        progress, step = self.driver.progress, step_of(self.driver.document, self.driver.progress)
        event = Approve(person, frozenset(PEOPLE[person]), progress.stage - late, progress.step, "seen", 1.0)
        taken = self.on(event)
        if not isinstance(step, ApproveStep) or late:
            assert not taken
        elif taken:
            assert person not in self.authors
            assert PEOPLE[person] & set(step.roles or ("operator",))

    @rule(
        seconds=st.sampled_from([1.0, 1.0, 5.0]), verdict=st.sampled_from([None, None, "proven", "harmful"])
    )
    def tick(self, seconds, verdict):
        self.driver.now += seconds
        self.on(Tick(self.driver.now, verdict, "x", self.driver.progress.stage))

    @rule(event=st.sampled_from([Resume(), Promote("x"), Pause("x"), Abort("x")]))
    def person(self, event):
        self.on(event)

    @rule(person=st.sampled_from(sorted(PEOPLE)))
    def reject(self, person):
        progress = self.driver.progress
        self.on(Reject(person, frozenset(PEOPLE[person]), progress.stage, progress.step, "no"))

    @rule(passed=st.booleans())
    def hook(self, passed):
        self.on(RunResult(attempt(self.driver.progress), passed))

    @rule(person=st.sampled_from(sorted(PEOPLE)), seconds=st.sampled_from([1.0, 2.0]))
    def edit(self, person, seconds):
        edited = replace(self.driver.document, timeout_seconds=seconds)
        if edited != self.driver.document:
            self.on(Edited(edited, by=person))
            again = self.driver.progress.authors == (person,)
            self.authors = {person} if again else self.authors | {person}

    @invariant()
    def approvals_are_those_that_count(self):
        held = self.driver.progress.approvals
        assert {each.person for each in held} <= self.given
        assert len({each.person for each in held}) == len(held)


AnyApprovals.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
test_any_approvals = AnyApprovals.TestCase
