"""What a report leaves out control has, whatever is lost, late or said twice."""

from dataclasses import replace

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.fleet.nodes import Nodes
from router.counting.stage_counts import RoleCounts, StageCounts
from router.sync import moved, tables
from router.wire.ledger import Ledger
from router.wire.node_use import Answered, MachineUse, NodeUse
from router.wire.report import (
    NODES_SPEAK,
    ROWS_MOVE,
    WIRE,
    Report,
    ServedReport,
    StageReport,
    TargetReport,
    encoded,
)

PLACES = [("a", 1, ""), ("a", 2, "m/2"), ("a", 2, "m/3"), ("b", 1, "")]


def counts(requests: int, second: float) -> StageCounts:
    role = RoleCounts(requests, requests)
    return StageCounts(0.5, role, role, open_span=int(second // 5), settled_until=second)


def row(model: str, problem: str) -> TargetReport:
    return TargetReport(model=model, target="m/1", role="stable", ready=not problem, problem=problem)


def use(*answered: Answered) -> NodeUse:
    machine = MachineUse(cpus=1, busy_seconds=0.0, memory_bytes=1, available_bytes=1)
    return NodeUse(answered=answered, compared=(), processes=(), machine=machine)


def answers(found: NodeUse | None) -> dict[str, int] | None:
    return None if found is None else {each.model: each.requests for each in found.answered}


NOTHING_SAID = Report.model_construct(targets=(), served=(), use=None)


def report(telling, whole=NOTHING_SAID) -> Report:
    for _ in telling.places():
        pass
    told = telling.told
    rows = [
        StageReport(model=model, stage=stage, candidate=candidate, counts=found)
        for (model, stage, candidate), found in told.counts.items()
    ]
    said = Report(
        wire=WIRE, instance="w", node="n", kind="worker", revision=1, wait=0,
        number=told.number, base=told.base, settled_until=told.settled_until, counts=rows,
    )  # fmt: skip
    said = said.model_copy(update={"use": whole.use, **(moved(whole, told, WIRE) if told.moved else {})})
    return Report.model_validate(orjson.loads(encoded(said)))


class Exchanges(RuleBasedStateMachine):
    """A process that counts, a network that loses and delays, a control that is started again."""

    @initialize()
    def begin(self):
        self.ledger, self.nodes = Ledger(), Nodes()
        self.now = dict.fromkeys(PLACES[:2], counts(0, 1000.0))
        self.targets: dict[tuple[str, str, str], TargetReport] = {}
        self.answered: dict[str, Answered] = {}  # which only grows
        self.use: NodeUse | None = None
        self.under_way: Report | None = None  # the exchange's; hurried ones go beside it
        self.late: list[Report] = []
        self.exact = False

    @rule(place=st.sampled_from(PLACES), more=st.integers(0, 2), seconds=st.sampled_from([0.0, 0.1, 7.0]))
    def count(self, place, more, seconds):
        before = self.now.get(place, counts(0, 1000.0))
        self.now[place] = counts(before.canary.requests + more, before.settled_until + seconds)
        self.exact = False

    @rule(seconds=st.sampled_from([0.1, 7.0]))
    def time_passes(self, seconds):
        latest = max(found.settled_until for found in self.now.values()) + seconds
        self.now = {place: counts(found.canary.requests, latest) for place, found in self.now.items()}
        self.exact = False

    @rule(model=st.sampled_from("abc"), problem=st.sampled_from(["", "away"]), gone=st.booleans())
    def a_target_changes(self, model, problem, gone):
        found = row(model, problem)
        self.targets = {place: each for place, each in self.targets.items() if each.model != model}
        if not gone:
            self.targets[found.place] = found
        self.exact = False

    @rule(model=st.sampled_from("ab"))
    def it_answers(self, model):
        requests = self.answered[model].requests + 1 if model in self.answered else 1
        row = Answered(model=model, target="m/1", role="stable", requests=requests, failures=0, latency=[])
        self.answered[model] = row
        self.use = use(*self.answered.values())
        self.exact = False

    @rule()
    def its_metrics_cannot_be_read(self):
        self.use = None
        self.exact = False

    @rule()
    def hurry(self):
        self.late.append(self.told(hurried=True))

    @rule(arrives=st.booleans())
    def begin_an_exchange(self, arrives):
        """The one before, if it is not over, was not answered."""
        self.under_way = self.told()
        if not arrives:
            self.late.append(self.under_way)

    @precondition(lambda self: self.late)
    @rule(which=st.integers(0, 5))
    def one_comes_late(self, which):
        self.hear(self.late.pop(which % len(self.late)))
        self.exact = False

    @precondition(lambda self: self.under_way is not None)
    @rule(answered=st.booleans())
    def end_the_exchange(self, answered):
        said, self.under_way = self.under_way, None
        if said in self.late:
            self.late.remove(said)
        taken = self.hear(said)
        if not answered:
            return
        if taken:
            self.ledger.answered()
        else:
            self.ledger.begin_anew()

    def told(self, *, hurried: bool = False) -> Report:
        served = {
            each.model: ServedReport(model=each.model, target=each.target)
            for each in self.targets.values()
            if each.ready
        }
        whole = Report.model_construct(
            targets=tuple(self.targets.values()), served=tuple(served.values()), use=self.use
        )
        return report(self.ledger.telling(self.now, tables(whole), hurried=hurried), whole)

    @rule()
    def control_starts_again(self):
        self.nodes = Nodes()
        self.exact = False

    def hear(self, said: Report) -> bool:
        if self.nodes.lacks(said):
            return False
        self.nodes.hear(said, 0.0)
        return True

    @rule()
    def a_quiet_moment(self):
        """Whatever happened: after at most two exchanges that are answered, control has everything."""
        self.late.clear()
        self.begin_an_exchange(arrives=True)
        self.end_the_exchange(answered=True)
        self.begin_an_exchange(arrives=True)
        self.end_the_exchange(answered=True)
        self.exact = True

    @invariant()
    def control_has_what_was_counted(self):
        if not self.exact:
            return
        [heard] = self.nodes.alive(0.0)
        assert heard.targets == self.targets
        assert answers(heard.report.use) == answers(self.use)
        assert heard.served.keys() == {each.model for each in self.targets.values() if each.ready}
        assert {place: bare(found) for place, found in heard.counts.items()} == {
            place: bare(found) for place, found in self.now.items()
        }
        latest = max(found.settled_until for found in self.now.values())
        for place, found in heard.counts.items():
            assert found.settled_until <= self.now[place].settled_until, "never farther than it is"
            if self.now[place].settled_until == latest:
                assert found.settled_until > latest - 1.0


def bare(found: StageCounts) -> StageCounts:
    return replace(found, settled_until=0.0, open_span=0)


TestExchanges = Exchanges.TestCase
TestExchanges.settings = settings(deadline=None, stateful_step_count=40)


def test_only_what_changed_is_told():
    ledger = Ledger()
    first = report(ledger.telling({PLACES[0]: counts(5, 7.0), PLACES[1]: counts(3, 7.0)}))
    assert (len(first.counts), first.base) == (2, 0)
    ledger.answered()
    second = report(ledger.telling({PLACES[0]: counts(6, 8.0), PLACES[1]: counts(3, 8.0)}))
    assert [(row.model, row.stage, row.candidate) for row in second.counts] == [PLACES[0]]
    assert (second.base, second.settled_until) == (1, 8.0)


def test_keys_are_told_whatever_is_left_out():
    ledger, found = Ledger(), counts(5, 7.0)
    report(ledger.telling({PLACES[0]: found}))
    ledger.answered()
    with_key = replace(found, error_keys=((7,), ()), error_seconds=((6,), ()))
    assert len(report(ledger.telling({PLACES[0]: with_key})).counts) == 1
    ledger.answered()
    assert report(ledger.telling({PLACES[0]: found})).counts == ()


def test_a_stage_that_waits_for_a_request_is_told_and_holds_no_other_back():
    ledger, stuck = Ledger(), counts(5, 7.0)
    report(ledger.telling({PLACES[0]: stuck, PLACES[1]: counts(1, 7.0)}))
    ledger.answered()
    said = report(ledger.telling({PLACES[0]: stuck, PLACES[1]: counts(1, 20.0)}))
    assert [(row.model, row.stage, row.candidate) for row in said.counts] == [PLACES[0]]
    assert said.settled_until == 20.0


def test_a_control_of_before_is_told_all_rows_where_one_has_changed():
    ledger = Ledger()
    before, after = row("a", ""), row("a", "away")
    targets = {before.place: before, row("b", "").place: row("b", "")}
    report(ledger.telling({}, (targets, {}, {}, {})))
    ledger.answered()
    targets |= {after.place: after}
    told = ledger.telling({}, (targets, {}, {}, {})).told
    whole = Report.model_construct(targets=tuple(targets.values()), served=(), use=None)
    assert moved(whole, told, NODES_SPEAK) == {"targets": whole.targets, "served": ()}
    assert moved(whole, told, ROWS_MOVE)["targets"] == [after]
    ledger.answered()
    told = ledger.telling({}, (targets, {}, {}, {})).told
    assert moved(whole, told, NODES_SPEAK)["unchanged"]
