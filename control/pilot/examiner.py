"""Puts the judge's questions together: which counts speak about the canary, held against which baseline.

Law: harm is judged on everything since the evidence began, proof on the present stage only, so that each
`prove` step asks for proof at its own weight. Where compute times are told span by span, their edges are
fixed once per evidence, from what stable did in the first spans, which are not tested. What the tests of harm
have come to is kept in the store once a tick. A control that takes over goes on from there with what
processes count from then on: what they counted since the last tick is lost, and nothing is counted twice. Of
outcomes nothing is lost: they are in the database.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from control.fleet.nodes import Nodes
from control.fleet.stage_sums import SeenSpan
from control.fleet.sticky_keys import Place
from control.judging.aa_report import AAReport, aa_report
from control.judging.client_waits import ClientWaits, WaitEdges
from control.judging.evidence import BETS, Floats, span_bets
from control.judging.guard_evidence import DrawnUsers, Past, Segmented
from control.judging.judge import judge, remembered
from control.judging.latency_edges import LatencyEdges, latency_edges
from control.judging.latency_spans import TimedSpans
from control.judging.measurements import Measurements, measured
from control.judging.outcomes.best import BestOf
from control.judging.outcomes.stage_outcomes import StageOutcomes
from control.judging.restarts import Remembered, Restarts
from control.judging.unit_bets import TimedUnits, UnitBets, weighed
from control.judging.verdicts import GuardVerdict, Judgement
from control.metrics import BEST_EVIDENCE, BEST_LINE, GUARD_EVIDENCE, GUARD_LINE
from control.pilot.prometheus import Prometheus
from control.rollouts.aa import judged_in_aa
from control.rollouts.writer import Entry
from router.counting.segments import Places
from router.counting.stage_counts import SpanTimes, StageCounts, merged
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import ClientsGuard, LatencyGuard
from router.rollout.guards.promql import PromQLGuard
from router.rollout.guards.segments import SegmentsGuard
from router.rollout.values import Guard, Rollout
from serving.telemetry.cells import Family, Metrics

TICK_SECONDS = 60.0
"""How often the tests of harm lay down a part of their stake, and are kept."""


_EXACT = "outcomes/"
"""Tests of what the database holds: a control that takes over has it all, and goes on within the tick."""


_ALL = "all sides"
"""In place of a candidate: what is shown of the search for the best. No target has such a key."""
_Gauge = tuple[Family, tuple[str, ...]]


class Of(NamedTuple):
    """Who is judged: a rollout's canary, or in an A/B/n test the candidate of this key."""

    model: str
    candidate: str = ""

    def place(self, stage: int) -> Place:
        """Where it is counted in a stage."""
        return Place(self.model, stage, self.candidate)

    def name(self, guard: str) -> str:
        """What a guard is called in the metrics."""
        return f"{self.candidate}: {guard}" if self.candidate else guard


@dataclass(slots=True)
class _Case:
    """What is remembered of one evidence."""

    evidence_stage: int
    restored: bool = False  # from what an earlier control had kept
    tests: dict[str, Remembered] = field(default_factory=dict)
    tick_ends: float | None = None
    edges: LatencyEdges | None = None
    baseline: dict[int, int] = field(default_factory=dict)  # stable's times, for the edges
    timed: dict[int, TimedSpans] = field(default_factory=dict)  # by stage
    waits: dict[int, ClientWaits] = field(default_factory=dict)  # by stage
    wait_edges: dict[int, WaitEdges] = field(default_factory=dict)  # by stage, as kept
    left: Floats = field(default_factory=lambda: np.zeros(len(BETS)))  # sums of the span test's bets
    taken: dict[int, int] = field(default_factory=dict)  # by stage: the last span in those sums
    by_time: dict[tuple[int, str], TimedUnits] = field(default_factory=dict)  # by stage and guard
    measurements: dict[str, Measurements] = field(default_factory=dict)
    measured_at: dict[str, float] = field(default_factory=dict)
    greatest: dict[str, float] = field(default_factory=dict)  # of an A/A: e-values for harm, by guard
    alarms: dict[str, str] = field(default_factory=dict)  # of an A/A: by guard or "draws", what was said
    segments: tuple[str, ...] = ()  # values that have a place of their own, in the order of their coming


class _Seen(NamedTuple):
    """What is known of a rollout at one look.

    Args:
        stages: the counts that speak about the canary, by stage.
        lately: those of them that came since this control heard the processes, where an earlier one judged
            what had come before; else all.
        in_order: `lately`, a place for each stage from the first that is judged.
        beside: what is known beside counts, of all these stages.
    """

    stages: dict[int, StageCounts]
    lately: dict[int, StageCounts]
    in_order: list[StageCounts]
    beside: Past


class Examiner:
    """Judges rollouts.

    Args:
        nodes: the counts.
        prometheus: values for PromQL guards.
        metrics: shows the e-values.
        outcomes: what outcomes of a rollout have come to, by guard: each stage that is judged, in order. Of
            an A/B/n test it is asked for each candidate (`Entry.each`), of whose number the entry then is.
        best_of: how the sides of an A/B/n test compare by the outcome of its `best`, over the stages that are
            judged; None where nothing is known of it. It is asked with the entry as it is.
    """

    def __init__(
        self,
        nodes: Nodes,
        prometheus: Prometheus,
        metrics: Metrics,
        outcomes: Callable[[Entry], Mapping[str, Sequence[StageOutcomes]]] = lambda _: {},
        best_of: Callable[[Entry], BestOf | None] = lambda _: None,
    ) -> None:
        self._outcomes = outcomes
        self._best_of = best_of
        self._nodes = nodes
        self._metrics = metrics
        self._prometheus = prometheus
        self._cases: dict[Of, _Case] = {}
        self._kept: Mapping[str, Mapping[str, Any]] = {}
        self._unkept: set[str] = set()
        self._shown: dict[Of, set[_Gauge]] = {}
        self.judgements: dict[str, Judgement] = {}
        """The latest of each rollout that has a canary to judge."""
        self.arms: dict[str, dict[str, Judgement]] = {}
        """The latest of each candidate that is on, by key, of each A/B/n test that has guards."""
        self.best: dict[str, BestOf] = {}
        """How the sides of each A/B/n test compare that asks for the best."""
        self._aa: dict[str, tuple[int, AAReport]] = {}  # of each that runs, with its stage

    def take_up(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from what a control has kept in the store; what is in memory is older, or of another life."""
        self._kept = kept
        self._cases.clear()

    def to_keep(self) -> list[tuple[str, dict[str, Any]]]:
        """What is to be kept since this was last asked, by model."""
        unkept, self._unkept = self._unkept, set()
        return [(model, self._kept_of(model)) for model in sorted(unkept & {of.model for of in self._cases})]

    def _kept_of(self, model: str) -> dict[str, Any]:
        cases = {of.candidate: _to_json(case) for of, case in self._cases.items() if of.model == model}
        # Releases that know no A/B/n tests ask for the stage first, and find no evidence of theirs.
        return cases.get("", {"evidence_stage": 0, "candidates": cases})

    def examine_test(self, entry: Entry, each: Mapping[str, Entry], now: float) -> Mapping[str, Judgement]:
        """Judge each candidate of an A/B/n test, as `examine`, and hold all sides against each other.

        Args:
            entry: the test as it is.
            each: it as each of its candidates sees it (`Entry.each`), by key.
            now: as of `examine`.

        Returns:
            The judgements by key of the candidate, in the order of the document; none without guards.
        """
        model = entry.rollout.model
        self._forget_but(model, each.keys())
        found = {}
        for target, one in each.items():
            judgement = self.examine(one, now)
            if judgement is not None:
                found[target] = judgement
        best = self._best_of(entry) if entry.rollout.best is not None else None
        if best is not None:
            self.best[model] = best
            least = {(BEST_EVIDENCE, (model, target)): value for target, value in best.least().items()}
            self._show(Of(model, _ALL), least | {(BEST_LINE, (model,)): best.line})
        return found

    def examine(self, entry: Entry, now: float) -> Judgement | None:
        """Judge a rollout as it stands; None when there is no canary or no guard.

        Args:
            entry: the rollout.
            now: monotonic seconds, as the nodes were heard.
        """
        entry = _judged(entry)
        progress, rollout = entry.progress, entry.rollout
        model = rollout.model
        of = _of(entry)
        if not progress.live or not rollout.guards:
            self._forget_but(model, set())
            return None
        if not of.candidate:
            self._forget_but(model, {""})
        case = self._case(of, progress.judged_from)
        seen = self._see(entry, case, now)
        found = _combined(self._judge_all(entry, case, seen, now), self._judge_present(entry, case, seen))
        if progress.aa is not None:
            found = self._examine_aa(entry, case, found, seen.stages)
        if of.candidate:
            self.arms.setdefault(model, {})[of.candidate] = found
        else:
            self.judgements[model] = found
        self._show(of, _gauges(of, found))
        return found

    def _see(self, entry: Entry, case: _Case, now: float) -> _Seen:
        """What is known of a rollout now; spans and seconds that are complete enter its tests."""
        progress, rollout, of = entry.progress, entry.rollout, _of(entry)
        numbers = range(progress.judged_from, progress.stage + 1)
        for stage in numbers:
            self._nodes.settle(of.place(stage), 2.0 * rollout.timeout_seconds, now)
        stages = self._stages(entry)
        self._take_spans(of, case, stages, rollout, now)
        lately = stages if not case.restored else self._stages(entry, since_heard=True)
        # A stage that nobody has reported yet keeps its place: tests are told apart by it.
        in_order = [lately.get(stage, StageCounts(0.0)) for stage in numbers]
        self._take_seconds(entry, case, stages, now)
        beside = Past(
            segmented=_segmented(rollout, case, in_order),
            outcomes=self._outcomes(entry),
            users=self._users(entry, in_order),
            **self._places(entry, now),
        )
        return _Seen(stages, lately, in_order, beside)

    def _judge_all(self, entry: Entry, case: _Case, seen: _Seen, now: float) -> Judgement:
        """By all stages, and what the tests have come to before: for harm."""
        rollout = entry.rollout
        sticky = rollout.sticky_header is not None
        past = replace(
            seen.beside,
            left=case.left,
            tests=case.tests,
            timed=TimedSpans.all(case.timed.values()),
            clients=[case.waits[stage] for stage in sorted(case.waits)],
            units=self._units(entry, case, seen.stages, seen.lately),
        )
        for_harm = rollout.guards, seen.in_order
        judgement = judge(*for_harm, rollout.alpha, case.measurements, past, sticky=sticky)
        if case.tick_ends is None:
            case.tick_ends = now + TICK_SECONDS
        if now >= case.tick_ends:
            case.tests = remembered(*for_harm, past, sticky=sticky)
            case.tick_ends = now + TICK_SECONDS
            self._unkept.add(rollout.model)
        return judgement

    def _judge_present(self, entry: Entry, case: _Case, seen: _Seen) -> Judgement:
        """By the present stage alone: for a proof."""
        rollout, stage = entry.rollout, entry.progress.stage
        present = [seen.stages[stage]] if stage in seen.stages else []
        past = replace(
            seen.beside,
            timed=case.timed.get(stage),
            units=self._units(entry, case, dict.fromkeys([stage], *present) if present else {}),
            outcomes={guard: found[-1:] for guard, found in seen.beside.outcomes.items()},
            users=seen.beside.users[-1:],
        )
        sticky = rollout.sticky_header is not None
        return judge(rollout.guards, present, rollout.alpha, case.measurements, past, sticky=sticky)

    def _examine_aa(
        self, entry: Entry, case: _Case, found: Judgement, stages: Mapping[int, StageCounts]
    ) -> Judgement:
        """Remember how far the guards came; what is shown of them observes, since nothing follows from it."""
        model, known = entry.rollout.model, len(case.alarms)
        for guard in found.guards:
            if guard.log_harm is not None:
                case.greatest[guard.guard] = max(case.greatest.get(guard.guard, 0.0), guard.log_harm)
            if guard.verdict == "harmful":
                case.alarms.setdefault(guard.guard, guard.reason)
        if found.hold is not None:
            case.alarms.setdefault("draws", found.hold)
        if len(case.alarms) > known:
            self._unkept.add(model)
        stage = entry.progress.stage
        counts = stages.get(stage, StageCounts(0.0))
        report = aa_report(entry.rollout, found.guards, case.greatest, case.alarms, counts)
        self._aa[model] = stage, report
        return replace(found, guards=tuple(replace(guard, mode="observe") for guard in found.guards))

    def aa_report(self, entry: Entry) -> AAReport | None:
        """What the A/A of a rollout has shown; None before the first look at it."""
        stage, report = self._aa.get(entry.rollout.model, (0, None))
        return report if stage == entry.progress.stage else None

    def aa_requests(self, entry: Entry) -> int:
        """How many requests the A/A of a rollout has counted."""
        report = self.aa_report(entry)
        return 0 if report is None else report.stable.requests + report.canary.requests

    def aa_evidence(self, entry: Entry) -> dict[str, Any] | None:
        """The A/A that runs, as last looked at, as JSON values; None where there is none."""
        progress, report = entry.progress, self.aa_report(entry)
        if progress.aa is None:
            return None
        return {
            "revision": entry.revision,
            "target": progress.stable.key,
            "started_by": progress.aa.by,
            "weight": progress.weight,
            "mirror": progress.aa.mirror,
            "seconds": progress.aa.seconds,
            "requests": progress.aa.requests,
            "waited_seconds": progress.waited_seconds,
            "report": None if report is None else asdict(report),
        }

    def _users(self, entry: Entry, stages: Sequence[StageCounts]) -> list[DrawnUsers]:
        """Sticky users who were drawn anew, stage by stage; none where no process tells of them."""
        model, first = entry.rollout.model, entry.progress.judged_from
        if entry.rollout.sticky_header is None:
            return []
        users = [
            DrawnUsers(stage.weight, *self._nodes.keys.drawn(Place(model, number)))
            for number, stage in enumerate(stages, first)
        ]
        return users if any(each.canary + each.stable for each in users) else []

    def _places(self, entry: Entry, now: float) -> dict[str, Any]:
        """How compute times are compared: side by side, or span by span where one side is behind a URL."""
        progress = entry.progress
        candidate = progress.candidate or ""
        paired = progress.stable.url is None and "@" not in candidate
        problem = self._nodes.pairing_problem(entry.rollout.model, candidate, now)
        canary = entry.rollout.canary
        wanted = canary is not None and canary.top_up > 0 and progress.live and progress.aa is None
        top_up = self._nodes.top_up_problem(entry.rollout.model, candidate, now) if wanted else ""
        return {"paired": paired, "pairing": problem if paired else "", "top_up": top_up}

    def _take_spans(
        self,
        of: Of,
        case: _Case,
        stages: Mapping[int, StageCounts],
        rollout: Rollout,
        now: float,
    ) -> None:
        """Enter the spans that all workers have completed since the last look, each once."""
        latency = next(iter(rollout.guards_of(LatencyGuard)), None)
        clients = next(iter(rollout.guards_of(ClientsGuard)), None)
        for stage in stages:
            last = case.taken.get(stage, 0)
            for number, seen in self._nodes.spans(of.place(stage), now, after=last).items():
                case.left = case.left + span_bets(*seen.counts)
                case.taken[stage] = number
                if latency is not None and (seen.times.canary or seen.times.stable):
                    _take_times(case, stage, seen.times, latency.max_ratio)
                if clients is not None and (seen.waits.canary or seen.waits.stable):
                    _take_waits(case, stage, number, seen, clients)

    def _take_seconds(self, entry: Entry, case: _Case, stages: Mapping[int, StageCounts], now: float) -> None:
        """Enter the seconds that all have completed since the last look into units of time, each once."""
        of, candidate = _of(entry), entry.progress.candidate
        for guard in entry.rollout.guards:
            weighs = guard.units
            if weighs is None or not isinstance(weighs.per, int):
                continue
            for stage in stages:
                units = case.by_time.get((stage, guard.name), TimedUnits())
                seen = self._nodes.seconds(of.place(stage), candidate, weighs.output, now)
                for second, pair in seen.items():
                    units = units.taken(second, *pair, weighs.per, weighs.limit)
                case.by_time[stage, guard.name] = units

    def _units(
        self,
        entry: Entry,
        case: _Case,
        stages: Mapping[int, StageCounts],
        lately: Mapping[int, StageCounts] | None = None,
    ) -> dict[str, UnitBets]:
        """What the bets on units have won in these stages, by guard.

        With `lately` (the counts for harm) a user counts in the first stage only that has seen it.
        """
        found: dict[str, UnitBets] = {}
        for guard in entry.rollout.guards:
            weighs = guard.units
            if weighs is None:
                continue
            if isinstance(weighs.per, int):
                timed = (case.by_time.get((stage, guard.name), TimedUnits()).bets for stage in stages)
                found[guard.name] = sum(timed, UnitBets())
            elif weighs.per == "key" and entry.rollout.sticky_header is not None:
                shares: Counter[float] = Counter()
                for stage in stages:
                    counts = (lately or stages).get(stage, StageCounts(0.0))
                    shares += self._shares(entry, guard, stage, counts, fresh=lately is not None)
                found[guard.name] = weighed(shares, weighs.limit)
                if not weighs.output:
                    firsts = entry, found[guard.name], lately or stages, weighs.limit
                    found[guard.name] = self._with_firsts(*firsts)
        return found

    def _with_firsts(
        self, entry: Entry, units: UnitBets, stages: Mapping[int, StageCounts], limit: float
    ) -> UnitBets:
        """Beside the bets on units those on first requests, which need not wait for a unit to end."""
        firsts: Counter[float] = Counter()
        for stage, counts in stages.items():
            requests, failed = self._nodes.keys.first_requests(Place(entry.rollout.model, stage))
            alone, alone_failed = counts.keyless.get("canary", (0, 0))
            firsts[1.0] += failed + alone_failed
            firsts[0.0] += requests - failed + alone - alone_failed
        return replace(units, harm=np.concatenate([weighed(firsts, limit).harm, units.harm]))

    def _shares(
        self,
        entry: Entry,
        guard: Guard,
        stage: int,
        counts: StageCounts,
        *,
        fresh: bool,
    ) -> Counter[float]:
        """The shares of users in one stage; a request without a key is a unit of its own."""
        agreement = guard.units is not None and bool(guard.units.output)
        name = guard.name if agreement else "canary"
        origin = entry.progress.candidate or "" if agreement else ""
        units = self._nodes.keys.shares(Place(entry.rollout.model, stage), name, origin)
        requests, events = counts.keyless.get(name, (0, 0))
        return (units.fresh if fresh else units.all) + Counter({1.0: events, 0.0: requests - events})

    def forget_outcomes(self) -> None:
        """Outcomes were lost: what their tests had come to was of those, and they begin now."""
        for case in self._cases.values():
            case.tests = {name: test for name, test in case.tests.items() if not name.startswith(_EXACT)}

    def forget(self, model: str) -> None:
        """There is nothing to judge, or nothing any more."""
        self._forget_but(model, set())

    def _forget_but(self, model: str, candidates: Collection[str]) -> None:
        """Forget who is judged no longer: all of a rollout but these; empty is a sole canary."""
        wanted = {*candidates, _ALL} if any(candidates) else candidates
        for of in [of for of in (*self._cases, *self._shown) if of.model == model]:
            if of.candidate not in wanted:
                self._cases.pop(of, None)
                self._show(of, {})
        if "" not in candidates:
            self._aa.pop(model, None)
            self.judgements.pop(model, None)
        if not any(candidates):
            self.best.pop(model, None)
        kept = {key: found for key, found in self.arms.pop(model, {}).items() if key in candidates}
        if kept:
            self.arms[model] = kept

    def _show(self, of: Of, shown: Mapping[_Gauge, float]) -> None:
        """Have these values of it in the metrics, and no others."""
        for family, labels in self._shown.pop(of, set()) - shown.keys():
            self._metrics.gauge(family, *labels).withdraw()
        for (family, labels), value in shown.items():
            self._metrics.gauge(family, *labels).set(value)
        if shown:
            self._shown[of] = set(shown)

    async def measure(self, entry: Entry, now: float, wall: float) -> None:
        """Ask Prometheus what is due for a rollout's PromQL guards.

        Args:
            entry: the rollout.
            now: monotonic seconds, for the intervals.
            wall: seconds since 1970.
        """
        entry = _judged(entry)
        progress = entry.progress
        guards = entry.rollout.guards_of(PromQLGuard)
        if not progress.live or not guards:
            return
        case = self._case(_of(entry), progress.judged_from)
        for guard in guards:
            last = case.measured_at.get(guard.name)
            if last is None or now - last >= guard.interval_seconds:
                case.measured_at[guard.name] = now
                value = await self._prometheus.value(guard.query, wall)
                before = case.measurements.get(guard.name, Measurements())
                case.measurements[guard.name] = measured(guard, before, value)

    def _case(self, of: Of, evidence_stage: int) -> _Case:
        case = self._cases.get(of)
        if case is None or case.evidence_stage != evidence_stage:
            kept = self._kept.get(of.model)
            if of.candidate and kept is not None:
                kept = kept.get("candidates", {}).get(of.candidate)
            case = self._cases[of] = _restored(kept, evidence_stage)
        return case

    def _stages(self, entry: Entry, *, since_heard: bool = False) -> dict[int, StageCounts]:
        """The counts that speak about the canary, by stage.

        With `since_heard` only what processes counted since this control heard them.
        """
        progress, of = entry.progress, _of(entry)
        counts: dict[int, StageCounts] = {}
        for stage in range(progress.judged_from, progress.stage + 1):
            found = self._nodes.counts(of.place(stage), progress.candidate, since_heard=since_heard)
            if found is not None:
                counts[stage] = found
        return counts


def _gauges(of: Of, judgement: Judgement) -> dict[_Gauge, float]:
    """What the guards say, for the metrics."""
    shown: dict[_Gauge, float] = {}
    for guard in judgement.guards:
        values = (
            (GUARD_EVIDENCE, "harm", guard.log_harm),
            (GUARD_EVIDENCE, "safe", guard.log_safe),
            (GUARD_LINE, "harm", guard.log_line),
            (GUARD_LINE, "safe", guard.log_proof_line),
        )
        shown |= {
            (family, (of.model, of.name(guard.guard), direction)): value
            for family, direction, value in values
            if value is not None
        }
    return shown


def _of(entry: Entry) -> Of:
    return Of(entry.rollout.model, (entry.progress.candidate or "") if entry.number else "")


def _judged(entry: Entry) -> Entry:
    """The rollout as it is judged: in an A/A test it has guards where the document has none."""
    return entry if entry.progress.aa is None else replace(entry, rollout=judged_in_aa(entry.rollout))


def _segmented(rollout: Rollout, case: _Case, stages: Sequence[StageCounts]) -> Segmented | None:
    """How segments are judged; values that have come since the last look are given their places."""
    ratio = next((guard.max_ratio for guard in rollout.guards_of(ErrorsGuard)), None)
    if rollout.segments is None or ratio is None or not rollout.guards_of(SegmentsGuard):
        return None
    places = Places(rollout.segments.max, case.segments).seen(stage.segments for stage in stages)
    case.segments = places.values
    return Segmented(rollout.segments.header, places, ratio)


def _take_times(case: _Case, stage: int, times: SpanTimes, ratio: float) -> None:
    """Test the times of a span; until there are edges, they are for the edges."""
    if case.edges is None:
        case.baseline = merged(case.baseline, times.stable)
        case.edges = latency_edges(case.baseline)
        return
    before = case.timed.get(stage) or TimedSpans.none(case.edges, ratio)
    case.timed[stage] = before.after(times)


def _take_waits(case: _Case, stage: int, number: int, seen: SeenSpan, guard: ClientsGuard) -> None:
    """Test how long clients of a span waited; a stage's edges are those of the stages before."""
    waits = case.waits.get(stage)
    if waits is None:
        waits = ClientWaits.after(guard, (case.waits[past] for past in case.waits if past < stage))
        waits = replace(waits, edges=case.wait_edges.get(stage, waits.edges))
    case.waits[stage] = waits = waits.taken(number, seen.counts, seen.waits)
    if waits.edges is not None:
        case.wait_edges[stage] = waits.edges


def _to_json(case: _Case) -> dict[str, Any]:
    edges = case.edges
    return {
        "evidence_stage": case.evidence_stage,
        "tests": {name: test.restarts.to_json() for name, test in case.tests.items()},
        "bases": {name: list(test.base) for name, test in case.tests.items() if name.startswith(_EXACT)},
        "taken": {str(stage): number for stage, number in case.taken.items()},
        "seconds": [[stage, guard, units.last] for (stage, guard), units in case.by_time.items()],
        "edges": None if edges is None else [list(edges.quantiles), edges.ceiling],
        "greatest": dict(case.greatest),
        "alarms": dict(case.alarms),
        "segments": list(case.segments),
        "wait_edges": [[stage, *(list(role) for role in found)] for stage, found in case.wait_edges.items()],
    }


def _restored(kept: Mapping[str, Any] | None, evidence_stage: int) -> _Case:
    """The case that was kept of this evidence; a new one without it."""
    if kept is None or kept["evidence_stage"] != evidence_stage:
        return _Case(evidence_stage)
    edges, bases = kept["edges"], kept.get("bases", {})
    return _Case(
        evidence_stage,
        restored=True,
        tests={
            name: Remembered(Restarts.from_json(test), tuple(bases.get(name, ())))
            for name, test in kept["tests"].items()
        },
        taken={int(stage): number for stage, number in kept["taken"].items()},
        by_time={(stage, guard): TimedUnits(last=last) for stage, guard, last in kept.get("seconds", [])},
        edges=None if edges is None else LatencyEdges(tuple(edges[0]), edges[1]),
        greatest=dict(kept.get("greatest", {})),
        alarms=dict(kept.get("alarms", {})),
        segments=tuple(kept.get("segments", ())),
        wait_edges={
            stage: WaitEdges(tuple(stable), tuple(canary))
            for stage, stable, canary in kept.get("wait_edges", [])
        },
    )


def _combined(everything: Judgement, here: Judgement) -> Judgement:
    """Harm from all stages, proof from the present one."""
    guards = tuple(
        _one(whole, present) for whole, present in zip(everything.guards, here.guards, strict=True)
    )
    if everything.verdict == "harmful":
        return replace(everything, guards=guards)
    verdict = "undecided" if everything.hold is not None else here.verdict
    if verdict == "harmful":  # the present stage alone is not what harm is judged on
        verdict = "undecided"
    return Judgement(verdict, everything.hold or here.reason, guards, everything.hold)


def _one(whole: GuardVerdict, present: GuardVerdict) -> GuardVerdict:
    if not whole.proves:
        return whole
    if whole.verdict == "harmful":
        return replace(whole, log_safe=present.log_safe, more_to_proof=present.more_to_proof)
    shown = present
    if present.verdict == "harmful":  # it is judged on the whole, and does not prove anything now
        reason = f"undecided: {whole.reason.partition(': ')[2]}"
        shown = whole if whole.verdict != "proven" else replace(whole, verdict="undecided", reason=reason)
    return replace(
        shown,
        log_harm=whole.log_harm,
        log_safe=present.log_safe,
        more_to_harm=whole.more_to_harm,
        more_to_proof=present.more_to_proof,
        tell_effect=whole.tell_effect,
    )
