"""The shapes of the admin API's answers, for its OpenAPI document; `control.views.rollout` makes the values.

Durations are seconds, moments are seconds since 1970, weights and shares are percentages from 0 to 100.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from control.judging.verdicts import Verdict
from control.rollouts.state import Cause, Phase
from control.views.needs import Kind as NeedKind
from router.rollout.compare import Kind
from router.rollout.values import OutcomeKind


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Fault(BaseModel):
    """One fault of a document, and where it stands."""

    file: str
    line: int
    column: int
    detail: str


class Problem(BaseModel):
    """An error (RFC 9457); `file`, `line` and `column` name the place of the first fault of a document."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    faults: list[Fault] | None = None


class Status(_Shape):
    """Where a rollout is, and why."""

    phase: Phase
    sentence: str = Field(description="Phase and reason in words")
    step: int = Field(description="From 1; 0 without steps")
    waited_seconds: float
    cause: Cause | None
    reason: str
    stage: int = Field(description="Counts and evidence belong to a stage")


class WavesStatus(_Shape):
    """How far a canary has come that goes through its steps on the nodes of one label after the other."""

    now: str = Field(description="The label of the nodes on which it goes through them")
    done: list[str] = Field(description="Those where it answers all")
    left: list[str] = Field(description="Those that come next")


class Serving(_Shape):
    """What is wanted: what the data plane is told to serve."""

    stable: str
    canary: str | None
    weight: float
    mirror: float
    top_up: float = Field(description="Recorded requests a second on each node; 0: none")
    waves: WavesStatus | None = Field(description="Null of a canary that does not go from label to label")


class ServedRow(_Shape):
    """What is served: who answers as stable in so many workers, by what they say."""

    target: str
    sha256: str = Field(description="Of its bytes; empty where they are not known")
    workers: int
    wanted: bool = Field(description="It is what `serving` says, with the bytes that were accepted")


class PlacedStatus(_Shape):
    """On which nodes a candidate with a placement stands."""

    nodes: list[str] = Field(description="By name; none before they are chosen")
    of: int = Field(description="How many nodes there were when they were chosen")
    drawn: float = Field(description="Of a canary: percent of the draws on them that are its; else 0")


class TargetStatus(_Shape):
    """One target, and in which processes it is ready."""

    target: str
    role: str = Field(description="stable, canary, shadow or warm")
    sha256: str = Field(description="Of the accepted bytes; `unpinned` behind a URL, empty if not known")
    ready: dict[str, bool]
    problems: dict[str, str]
    placed: PlacedStatus | None = Field(description="Null of what is to be on all nodes")


class NodeStatus(_Shape):
    """One node: the oldest revision that a worker of it has in force."""

    node: str
    workers: int
    revision: int
    in_force: bool = Field(description="Every worker has the newest revision in force")


class InForceNodes(_Shape):
    """How many nodes serve what the rollout is at."""

    nodes: int = Field(description="All that are heard of and do not end")
    serving: int = Field(description="Of them, those of which every worker has it in force")
    needed: int = Field(description="So many must, before the time of a step counts")


class UnseenNode(_Shape):
    """A node that this control heard of and no longer does: it is cut off and serves on, or it is gone."""

    node: str
    seconds: float = Field(description="Since it was heard of")
    revision: int = Field(description="That it had in force then; 0: none")


class NeedView(_Shape):
    """One thing that needs a person; the most urgent are given first."""

    model: str | None = Field(description="The rollout; null: control itself, or its rollout file")
    kind: NeedKind
    title: str
    sentence: str = Field(description="What is the matter, and what to do")
    target: str = Field(description="Which it is about, or the name of a refused rollout; else empty")
    since: float = Field(description="When this control saw it first")


class ComparisonRow(_Shape):
    """One output of a shadow."""

    output: str
    comparisons: int
    differences: int


class SegmentRow(_Shape):
    """One segment, as the guard of segments sees it."""

    value: str = Field(
        description="Of the header; `other`: all without a place of their own, `none`: without the header"
    )
    canary: int = Field(description="Errors of the canary in it")
    stable: int = Field(description="Errors of stable in it")
    log_harm: float = Field(description="Natural logarithm of its e-value for harm")
    named: bool = Field(
        description="Whether it may be called harmed; of those, in expectation at most one in twenty is not"
    )


class EffectRow(_Shape):
    """How far the canary is from stable, over all that the guard has counted."""

    unit: Literal["change", "difference", "ratio", "share"] = Field(
        description="By which share of stable's it is more; by how much a share is more than stable's; how"
        " many times stable's it is; the share itself. Fractions"
    )
    estimate: float | None = Field(description="The likeliest; null where nothing is known of it")
    least: float | None = Field(description="What it is at least; null where there is no interval")
    greatest: float | None = Field(
        description="What it is at most; null where there is no interval, or no bound above"
    )
    confidence: float = Field(description="With which each end holds by itself, at all looks together")
    asymptotic: bool = Field(description="Whether the interval is an approximation for many events")


class GuardView(_Shape):
    """One guard, judged; e-values as natural logarithms."""

    guard: str
    mode: str
    verdict: Verdict
    reason: str
    log_harm: float | None
    log_safe: float | None
    log_line: float | None
    log_proof_line: float | None
    more_to_harm: int | None
    more_to_proof: int | None
    doubt: str = Field(description="what the guard cannot see, or an assumption that its counts do not keep")
    proves: bool = Field(description="Whether promotion waits for it; else it speaks for harm only")
    recorded: int = Field(0, description="Comparisons in it that are of recorded requests")
    segments: list[SegmentRow] = Field(
        [], description="Those with errors, of the guard of segments, the worst first"
    )
    effect: EffectRow | None = Field(None, description="Null where the guard cannot tell")


class ShadowView(_Shape):
    """What the comparisons with a shadow say; nothing follows from it."""

    target: str
    verdict: Verdict | None = Field(
        description="By the agreement guards, whatever their mode; null without any"
    )
    sentence: str
    comparisons: list[ComparisonRow]
    guards: list[GuardView]


class AAStatus(_Shape):
    """An A/A test that runs: stable is its own canary until it ends."""

    started_by: str
    seconds: float = Field(description="It ends after so long in which the copy was ready")
    requests: int | None = Field(description="It ends sooner when so many were counted")
    waited_seconds: float


class SegmentsView(_Shape):
    """Segments with errors, as their guard last saw them."""

    header: str = Field(description="Whose value names them")
    rows: list[SegmentRow] = Field(description="The worst first")


class PairsView(_Shape):
    """Mirrored requests whose answers are kept until their label is told."""

    seen: int = Field(description="That sandboxes looked at, since each of them started")
    kept: int = Field(description="With both answers, in the database now")
    left_out: dict[str, int] = Field(description="Without a pair, by reason")


class LabelsOfGuard(_Shape):
    """What labels have come to since the canary is judged, for one guard."""

    guard: str
    outcome: str
    scored: int = Field(description="Labels that were held against both answers")
    gained: int = Field(description="Only the canary was right; 0 where the label has a range")
    same: int = Field(description="Both were right, or both wrong")
    lost: int = Field(description="Only stable was right")
    unscored: dict[str, int] = Field(description="Labels that count for nothing (yet), by reason")


class LabelsView(_Shape):
    """Labels, and the pairs of answers that they are held against."""

    pairs: PairsView
    guards: list[LabelsOfGuard]


class OutcomeView(_Shape):
    """What was told of the answers of a rollout, for one outcome."""

    name: str
    kind: OutcomeKind
    taken: int = Field(description="In the stages that are judged")
    waiting: int = Field(description="Of them, those that have not entered the evidence")
    first_until: float | None = Field(description="When the first of these does; null for none")
    left_out: dict[str, int] = Field(description="By reason, since this control began")


class JudgementView(_Shape):
    """What all guards together say of one candidate."""

    verdict: Verdict
    reason: str
    guards: list[GuardView]
    hold: str | None = Field(
        description="Why its evidence is not trusted: its draws did not fall as they should"
    )


class CandidateView(_Shape):
    """One candidate of an A/B/n test, beside stable."""

    number: int = Field(description="Its place in the document, from 1; receipts have it")
    target: str
    weight: float = Field(description="Its share in the document")
    mirror: float
    on: bool = Field(description="Whether it answers; else stable has its share")
    reason: str = Field(description="Why it was taken off; empty while it is on")
    ready: dict[str, bool] = Field(description="Worker -> whether it is ready there")
    judgement: JudgementView | None = Field(description="As last judged; null where it is not")


class SideView(_Shape):
    """One side of the search for the best: stable, or a candidate."""

    target: str
    on: bool = Field(description="Whether it is still compared")
    units: float = Field(description="At it with the outcome; of a label: held against its answers")
    total: float = Field(description="The sum of their values; 0 of a label")
    to_stable: float | None = Field(
        description="How many times stable's, for each draw; of a label: the mean gain over stable. Null"
        " where nothing is known"
    )


class BestView(_Shape):
    """How the search for the best stands."""

    outcome: str
    promote: bool = Field(description="Whether the best is promoted at once")
    found: str | None = Field(description="The side that was shown to be the best; null for none yet")
    leader: str | None = Field(description="The side that is nearest to it; no verdict")
    reason: str
    seconds_left: float | None = Field(
        description="Until it ends undecided; null without a limit, or where it has ended"
    )
    sides: list[SideView]


class GivenApproval(_Shape):
    """An approval that counts."""

    person: str
    role: str = Field(description="By which of their roles")
    at: float = Field(description="Seconds since 1970")


class WantedApproval(_Shape):
    """Whose approval is waited for."""

    by: int = Field(description="How many different people")
    from_: list[str] = Field(alias="from", description="Roles, one of which each of them has")
    given: list[GivenApproval]
    missing: int
    not_by: list[str] = Field(description="Who made the revision, or edited it since its steps began")
    seen: str = Field(description="What stands for all that is shown here; to be sent with an approval")
    evidence: dict[str, Any] = Field(description="Stage, step, digests of the targets, verdicts")


class AskedHook(_Shape):
    """The webhook that is asked."""

    url: str
    attempt: str = Field(description="Its `webhook-id` is MODEL/ATTEMPT")


class WaitingFor(_Shape):
    """What a rollout waits for at an `approve` or `run` step."""

    approval: WantedApproval | None
    run: AskedHook | None
    expires: float | None = Field(description="Seconds until it is paused; null for no limit")


class RefusalView(_Shape):
    """An approval that did not count."""

    at: float = Field(description="Seconds since 1970")
    model: str = Field(description="Empty where nobody known asked, as by a forged link")
    person: str
    reason: str


class FollowView(_Shape):
    """Which alias of MLflow a rollout follows, and how that goes."""

    alias: str
    promote: str | None = Field(description="The alias that a promotion moves; null for none")
    model: str = Field(description="The registered model")
    at: int | None = Field(description="The version that is tried, or was last; null before the first")
    seen: int | None = Field(description="Where the alias stood when MLflow was last asked")
    problem: str = Field(description="Why it is not followed as it should be; empty where it is")


class RolloutView(_Shape):
    """One rollout."""

    model: str
    revision: int
    kind: str = Field(
        description="Which door its revision came through: file, api, autopilot, repository (there was no "
        "rollout file, and the highest version was chosen), ..."
    )
    status: Status
    aa: AAStatus | None
    needs: list[NeedView] = Field(description="What needs a person")
    actions: list[str] = Field(description="What a person may do to it now: pause, resume, promote, abort")
    waiting_for: WaitingFor | None = Field(description="Null unless it is at an `approve` or `run` step")
    serving: Serving
    follow: FollowView | None = Field(description="Null where the document names its canary itself")
    candidates: list[CandidateView] = Field(description="Of an A/B/n test, in the document's order")
    best: BestView | None = Field(description="Null where the document asks for no best")
    served: list[ServedRow]
    shadows: list[ShadowView]
    guards: list[GuardView] = Field(description="As last judged; none where there is no canary to judge")
    segments: SegmentsView | None = Field(description="Null where nobody looks at segments now")
    outcomes: list[OutcomeView]
    labels: LabelsView | None = Field(description="Null where no guard looks at labels")
    targets: list[TargetStatus]
    nodes: list[NodeStatus]
    out_of_sight: list[UnseenNode] = Field(
        description="Nodes not heard of for 5 s that did not say that they end, for an hour"
    )
    applied: dict[str, int] = Field(description="Worker -> revision in force there")
    in_force: InForceNodes
    in_force_everywhere: bool
    document: dict[str, Any]


class Shares(_Shape):
    """Percent of the requests by target, and the targets that only run copies."""

    shares: dict[str, float]
    shadows: list[str]


class ProposalView(_Shape):
    """What a change would do."""

    model: str
    changed: bool
    begins_again: Literal["", "evidence", "rollout"] = Field(
        description="What of the rollout that is there begins again"
    )
    revision: int = Field(description="What it is based on; 0 when there is no such rollout yet")
    before: Shares | None
    after: Shares
    load: list[str] = Field(description="Targets that are not loaded yet")
    warnings: list[str]
    status: str
    document: dict[str, Any]


class RevisionView(_Shape):
    """One row of the audit log; without a document the rollout was deleted."""

    revision: int
    model: str
    at: float
    actor: str
    kind: str
    reason: str
    event: str | None = Field(description="What happened to the rollout; null where nobody is to be told")
    evidence: Any
    document: dict[str, Any] | None
    digests: dict[str, str] = Field(description="SHA-256 of the accepted bytes, by name/version")
    lineage: dict[str, dict[str, str]] = Field(
        description="By name/version, what was claimed of where a model comes from, and by whom, when this"
        " revision accepted it; nothing where it accepted none"
    )


class ModelView(_Shape):
    """One version of the repository, and the rollouts that use it."""

    name: str
    version: str
    sha256: str = Field(
        description="Of its bytes, as last verified or as accepted in a rollout; empty where neither was done"
    )
    rollouts: list[str]


class ClaimView(_Shape):
    """One thing that is said of a model; who says it, not whether it is so."""

    about: str
    value: str
    said_by: str = Field(
        description="MLflow, config.yaml, the model's file, or what a lineage.json calls itself"
    )
    link: str = Field(description="Where to read on; empty where there is no such place")


class LineageView(_Shape):
    """What is claimed of where a model comes from."""

    claims: list[ClaimView]
    unknown: list[str] = Field(description="What nobody says anything about")
    problems: list[str] = Field(description="What was to be read and could not")


class OriginView(_Shape):
    """One local target of a rollout, and what is claimed of where it comes from."""

    target: str
    role: str = Field(description="stable, canary, shadow or warm")
    sha256: str = Field(description="Of the accepted bytes; empty if not known")
    lineage: LineageView


class ModelDetail(_Shape):
    """One version of a model: which bytes, what it takes and gives, and where it comes from."""

    name: str
    version: str
    rollouts: list[str] = Field(description="That use it")
    place: str = Field(description="The folder or URL that it is from; empty if not known")
    ok: bool = Field(description="It can be served")
    reason: str = Field(description="Why it cannot")
    sha256: str = Field(description="Of its bytes; empty where they could not be read")
    bytes: int = Field(description="Of all its files")
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    independent: bool = Field(description="It is proven that no row influences another one's result")
    dependence: str = Field(description="Why a row may; empty where that is proven")
    graph: str = Field(description="How its steps are run; empty where it is one model")
    lineage: LineageView


class RecordsRow(_Shape):
    """What became of all that a node had to record of one model; the outcomes add up to the requests."""

    model: str
    kind: str = Field(description="request: answers to clients; comparison: of candidates with them")
    requests: int
    outcomes: dict[str, int] = Field(
        description="sampled_out, written, pending, and dropped: full, too_large, store_away, writer_gone, "
        "worker_gone"
    )


class NodeRow(BaseModel):
    """One process of the data plane, as it last reported."""

    instance: str
    node: str
    label: str = Field(description="Of its node, as workers say it; empty for none")
    kind: str
    candidate: str | None
    revision: int = Field(description="Of this control's that is in force there; 0: none")
    refused: str = Field(description="Why it takes no snapshot; empty: it does")
    ready: list[str]
    problems: dict[str, str]
    draining: bool
    heard_seconds_ago: float
    counts: list[dict[str, Any]]
    records: list[RecordsRow] | None = Field(
        description="Of a node's supervisor; null where it keeps no prediction log"
    )


class ProcessRow(_Shape):
    """One process; `cpu` is the CPUs it kept busy between the last two reports, null before the second."""

    kind: str
    name: str
    pid: int
    cpu: float | None
    memory_bytes: int


class MachineRow(_Shape):
    """One machine; `busy` is the share, 0 to 1, of its CPUs that were."""

    cpus: int
    busy: float | None
    memory_bytes: int
    available_bytes: int


class LoadRow(_Shape):
    """One node; no machine for a control on its own."""

    node: str
    machine: MachineRow | None
    records: list[RecordsRow] | None = Field(description="Null where the node keeps no prediction log")
    processes: list[ProcessRow]


class TargetPoint(_Shape):
    """One target: the last second's rates; share and latencies of the last ten seconds."""

    target: str
    role: str
    share: float | None = Field(description="Percent of the answers; null without any")
    requests_per_second: float
    failures_per_second: float = Field(description="With those that stable answered in its place")
    p50_seconds: float | None
    p99_seconds: float | None


class AgreementPoint(_Shape):
    """One output of one candidate, over the last ten seconds; `agreement` is a fraction.

    An output that is not ruled is compared and not judged: `compare` and the guards name others.
    """

    target: str
    output: str
    comparisons: int
    agreement: float | None
    ruled: bool


class GuardPoint(_Shape):
    """One guard; e-values as natural logarithms."""

    guard: str
    verdict: str
    log_harm: float | None
    log_safe: float | None
    log_line: float | None
    log_proof_line: float | None


class PointView(_Shape):
    """One second of a rollout."""

    at: float
    stage: int
    phase: Phase
    weight: float
    targets: list[TargetPoint]
    agreement: list[AgreementPoint]
    guards: list[GuardPoint]


class Health(_Shape):
    """All is well."""

    status: str


class ExampleView(BaseModel):
    """One output of one mirrored request; its values are the first ones in row-major order."""

    id: str
    at: str = Field(description="RFC 3339")
    stage: int
    target: str = Field(description="The candidate")
    output: str
    distance: float
    verdict: Literal["same", "different"]
    kind: Kind
    datatype: str = Field(description="Of the reference; empty when it has no such output")
    shape: list[int]
    reference: list[Any]
    candidate_datatype: str
    candidate_shape: list[int]
    candidate: list[Any]
    cut: bool = Field(description="There are more values than these")
    redacted: bool = Field(description="The document keeps the values back")
    request: dict[str, Any] | None = Field(
        description="Open Inference Protocol JSON; null unless inputs are kept"
    )
    receipt: str = Field(
        description="Of the reference's answer; empty unless the rollout's answers carry one"
    )


class ExamplesView(_Shape):
    """What is kept of the comparisons of a rollout."""

    examples: list[ExampleView]
    seen: int = Field(
        description="Comparisons that living and former sandboxes looked at, of the asked output if any"
    )


class DriftFeatureView(_Shape):
    """How far a feature is from the profile."""

    name: str
    side: Literal["input", "output"]
    rows: int = Field(description="Values that were counted, the missing ones too")
    psi: float = Field(description="Population stability index, in nats")
    noise: float = Field(description="What it is on average for so few rows if nothing changed")
    kl: float = Field(description="Kullback-Leibler divergence of now from the profile, in nats")
    js: float = Field(description="Jensen-Shannon distance to the base 2, 0 to 1")
    wasserstein: float | None = Field(
        description="What numbers moved on average, in standard deviations of the profile"
    )
    missing: float = Field(description="Share of values")
    missing_before: float
    outside: float = Field(description="Share of values beyond all of the profile, or none of its categories")
    outside_before: float
    constant: bool = Field(description="All values are one now, and were not in the profile")


class DriftTargetView(_Shape):
    """What was seen of a target that has a profile."""

    target: str
    profile: str = Field(description="Where the rows of the profile are from; empty where there is none")
    profile_rows: int
    since: float | None = Field(description="From when on answers are counted, seconds since 1970")
    answers: int = Field(description="Good answers that came to those who count")
    left_out: int = Field(description="Of these, not counted: too many in a second, or of another shape")
    of: float = Field(description="Answers there were, as far as the sample of the record tells")
    problem: str
    features: list[DriftFeatureView] = Field(description="Those that moved most first")


class DriftView(_Shape):
    """Drift of the targets of a rollout against their profiles: numbers to look at, and no verdict."""

    model: str
    window_seconds: int = Field(description="For how long answers count")
    targets: list[DriftTargetView]
    problem: str = Field(description="Why nothing is watched; empty where something is")


class ShareView(_Shape):
    """Events among trials, and the bounds of the true share, each by itself at 95%."""

    events: int
    trials: int
    least: float
    most: float


class AARole(_Shape):
    """What one of the two did: requests that were counted, and those that failed."""

    requests: int
    failures: ShareView


class AAGuard(_Shape):
    """One guard over the whole test; e-values as natural logarithms."""

    guard: str
    verdict: Verdict
    alarm: str = Field(
        description="What it said when it first called the copy harmful; empty if it never did"
    )
    log_greatest: float | None = Field(description="The greatest e-value for harm that was seen")
    log_line: float | None = Field(description="What that must reach")
    reason: str


class AAOutput(_Shape):
    """The noise of one output."""

    output: str
    rule: str
    default: bool = Field(description="The document has no rule for it")
    differences: ShareView
    farthest: float = Field(description="The greatest distance by the rule")
    suggestion: str = Field(description="The least tolerance above the noise; empty if none was seen")


class AALatency(_Shape):
    """The copy timed beside stable; `ratios` are those of half, 90% and 99% of the pairs, rounded up."""

    pairs: int
    max_ratio: float
    slower: ShareView
    ratios: list[float]
    suggestion: str


class AAReportView(_Shape):
    """What an A/A test has shown; every alarm is a false one."""

    stable: AARole
    canary: AARole
    alarms: int
    draws: str = Field(description="What the test of the draws said when it alarmed; empty if it did not")
    guards: list[AAGuard]
    outputs: list[AAOutput]
    latency: AALatency
    sentences: list[str] = Field(description="What follows, for a person")


class AAView(_Shape):
    """An A/A test that runs, or the last one that ended."""

    model: str
    running: bool
    ended: str | None = Field(description="Why it ended")
    ended_by: str | None = Field(description="Who ended it; `autopilot` where it ended by itself")
    cut_short: bool = Field(
        description="An edit or a deletion ended it: the report says what was seen until then"
    )
    revision: int = Field(description="That it was started with")
    target: str
    started_by: str
    weight: float
    mirror: float
    seconds: float
    requests: int | None
    waited_seconds: float
    report: AAReportView | None = Field(description="Null before the first look")


class ReceiptView(_Shape):
    """What a receipt says of its answer."""

    model: str | None = Field(description="The rollout; null where control knows no name of that hash")
    stage: int
    role: str = Field(description="Who answered: stable or canary")
    drawn: str | None = Field(
        description="Whom the draw chose; null where nothing was drawn: the client named a target, or the"
        " canary was not ready, ejected or busy"
    )
    candidate: int | None = Field(
        description="Number of the candidate that was drawn, or answered: its place in an A/B/n test's"
        " document, 1 of a canary; null for none"
    )
    arrived: float = Field(description="When the request did, to a microsecond")
    node: str | None = Field(description="Where it was answered; null where no such node is there now")
    worker: int = Field(description="Which of its workers answered")
    counter: int = Field(description="Of that worker's receipts, modulo 2^24")
    sticky_key_hash: str = Field(description="Hash of the sticky key, 16 hexadecimal digits; empty for none")


class ReceiptKeyView(_Shape):
    """A key that signs receipts, without its secret."""

    id: int
    made: float


class EvidenceView(BaseModel):
    """The guards of a rollout as last judged; null before the first look, and in an A/B/n test."""

    model: str
    revision: int
    stage: int
    alpha: float
    judgement: dict[str, Any] | None
    candidates: dict[str, dict[str, Any]] = Field({}, description="Of an A/B/n test: the same by target")


class VerdictView(_Shape):
    """What is to be said of a candidate now."""

    model: str
    candidate: str | None = Field(description="Who was asked for; null where the rollout has none")
    verdict: Literal["proven", "harmful", "undecided", "promoted", "taken_off", "none"] = Field(
        description="What guards say of it, or what became of it; none: it is no candidate of the rollout"
    )
    reason: str
    phase: Phase
    stage: int
    revision: int


class ExportView(BaseModel):
    """All that is known of a rollout; `rollout` and `evidence` are null once it is deleted."""

    model: str
    made_at: float = Field(description="Seconds since 1970")
    made_by: str
    understudy: str = Field(description="The version that wrote it")
    rollout: RolloutView | None
    evidence: EvidenceView | None
    revisions: list[RevisionView] = Field(description="The audit log, the latest first")
