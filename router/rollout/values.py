"""The rollout of one public model name, as values: what a rollout document means once it is accepted.

Law: a value of these types that came out of `router.rollout.parser` can be served as it stands; nothing
downstream checks weights, names, ratios or limits again. Weights, `mirror` and `sample` are percentages
(0 to 100); `alpha` and the limits of guards are fractions (0 to 1); every duration is in seconds. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

from router.rollout.rules import Rule

Mode = Literal["enforce", "observe"]
Per = Literal["key", "body"] | int
"""The unit of a guard: a sticky key (a request where there is none), a body, or so many seconds."""
OnTimeout = Literal["pause", "rollback"]
OutcomeKind = Literal["label", "binary", "number"]
Better = Literal["higher", "lower"]
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class Bearer:
    """Where a node finds a bearer token; one of both is empty.

    Args:
        env: name of an environment variable of the node.
        file: name of a file in the folder of the node's `--target-files`.
    """

    env: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """How HTTPS is spoken; files are names in the folder of the node's `--target-files`, and empty for none.

    Args:
        ca: certificates that the server's is checked by; empty for those of the system.
        certificate: shown to the server, in PEM, with the chain behind it.
        key: of that certificate.
        name: which the server's certificate has to be for; empty for the host of the URL.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """How often a server is asked whether its model is ready, and what it takes to believe that it is not.

    Args:
        interval_seconds: between two questions.
        timeout_seconds: of one of them.
        failures: in a row, after which a model that was ready is not.
    """

    interval_seconds: float = 1.0
    timeout_seconds: float = 2.0
    failures: int = 1


@dataclass(frozen=True, slots=True)
class Ejection:
    """When a server that fails requests gets none for a while.

    Args:
        after: so many failures in a row.
        longest_seconds: without a request; the first time it is a second, and twice as long each time after.
    """

    after: int = 5
    longest_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """How the server behind a URL is asked.

    Args:
        name: of the model there; empty where it is the same.
        version: there; `none` where it is asked for without one; empty where it is the same, or the server
            has no versions.
        timeout_seconds: of one request; None for the rollout's alone, which holds in any case.
        connect_seconds: for a connection to be made, TLS included.
        connections: open at a time from each process.
        keep_alive_seconds: after which one that is not needed is closed.
        headers: sent with each request: names in lower case, and values.
        bearer: the credential; None for none.
        tls: how HTTPS is spoken.
        health: how it is asked whether it is ready.
        eject: when it gets no requests for a while.
    """

    name: str = ""
    version: str = ""
    timeout_seconds: float | None = None
    connect_seconds: float = 1.0
    connections: int = 64
    keep_alive_seconds: float = 4.0
    headers: tuple[tuple[str, str], ...] = ()
    bearer: Bearer | None = None
    tls: ClientTls = ClientTls()
    health: Health = Health()
    eject: Ejection = Ejection()


AS_USUAL = Server()
"""How a server is asked of which a document says nothing."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request can be answered: a model of the repository, or the same behind a URL.

    Args:
        model: `name/version`, e.g. `digits/2`.
        url: base of an OIP v2 server that has the model, without a slash at the end; None means here.
        server: how that server is asked.
    """

    model: str
    url: str | None = None
    server: Server = AS_USUAL

    @property
    def name(self) -> str:
        """The name of the model, without its version."""
        return self.model.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version, a positive whole number as text."""
        return self.model.rpartition("/")[2]

    @property
    def key(self) -> str:
        """What tells targets apart: `digits/2`, or `digits/2@http://host:8000` for one elsewhere."""
        return self.model if self.url is None else f"{self.model}@{self.url}"

    @property
    def who(self) -> "Target":
        """Who answers, whatever connections and credentials lead there."""
        return Target(self.model, self.url, Server(self.server.name, self.server.version))


@dataclass(frozen=True, slots=True)
class SetWeight:
    """From here on the canary gets this percentage of the requests."""

    percent: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds, or with None until a person resumes."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Prove:
    """Wait until every enforced guard is proven; after `max_seconds`, do what `on_timeout` says."""

    max_seconds: float | None = None
    on_timeout: OnTimeout = "pause"


@dataclass(frozen=True, slots=True)
class Approve:
    """Wait until so many different people approved of what they saw.

    Args:
        by: how many; who made the revision is never one of them.
        roles: one of which each of them has; empty for any operator.
        expires_seconds: after which the rollout is paused; None for no limit.
    """

    by: int = 1
    roles: tuple[str, ...] = ()
    expires_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Ask a webhook, and wait until it lets the rollout go on.

    Args:
        url: which gets a signed POST, again and again until it answers.
        timeout_seconds: after which the rollout is paused.
    """

    url: str
    timeout_seconds: float = 600.0


Step = SetWeight | Pause | Prove | Approve | Run


@dataclass(frozen=True, slots=True)
class Placement:
    """On which nodes a candidate stands; without one, on all.

    Args:
        nodes: percentage of the live nodes, rounded up; above 0, up to 100, which it is beside waves.
        waves: labels of nodes; the canary goes through its steps on those of one after the other.
    """

    nodes: float = 100.0
    waves: tuple[str, ...] = ()

    def drawn(self, share: float) -> float:
        """What of the draws on its nodes makes this share of all draws, in percent.

        So it is with very many nodes: of few they are a greater part, which leaves each of them less.
        """
        return min(100.0, share * 100.0 / self.nodes)


@dataclass(frozen=True, slots=True)
class Canary:
    """The candidate that answers clients.

    Args:
        target: where it runs.
        weight: fixed percentage of the requests; None exactly when there are steps.
        steps: what to go through before promotion; the weight is 0 until the first `SetWeight`.
        mirror: percentage of stable's requests that the canary runs too, for comparison.
        top_up: recorded requests a second that it runs too on each node; 0 for none.
        progress_deadline_seconds: how long it may be ready nowhere before its steps are held.
        placement: on which nodes it stands; None for all.
    """

    target: Target
    weight: float | None = 0.0
    steps: tuple[Step, ...] = ()
    mirror: float = 0.0
    top_up: float = 0.0
    progress_deadline_seconds: float = 600.0
    placement: Placement | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """A canary that is the version at which an alias of MLflow stands.

    Args:
        alias: which alias.
        template: the canary; before the first version its own is 0, which no model has.
        promote: the alias that a promotion moves to the version; None for none.
        model: name of the registered model.
        version: the version that is tried, or was last; None before the first.
        began: the stable that was edited last, where that of the document was put there by a promotion.
    """

    alias: str
    template: Canary
    promote: str | None = None
    model: str = ""
    version: int | None = None
    began: str | None = None


@dataclass(frozen=True, slots=True)
class Best:
    """When an A/B/n test ends: the best of stable and its candidates is found, or the time is over.

    Args:
        outcome: of which the best side has most, or least where lower is better.
        max_seconds: after which it ends undecided; None for no limit.
        promote: whether the best candidate is promoted at once; else a person does.
    """

    outcome: str
    max_seconds: float | None = None
    promote: bool = False


@dataclass(frozen=True, slots=True)
class Shadow:
    """A candidate whose answers no client sees; it runs `sample` percent of the requests where it stands."""

    target: Target
    sample: float = 100.0
    placement: Placement | None = None


@dataclass(frozen=True, slots=True)
class Units:
    """What a guard weighs by units, each of which weighs the same.

    Args:
        per: the unit.
        limit: the tolerated mean share of events, between 0 and 1 (excluded).
        output: whose comparisons are weighed, and differ; empty for the canary's requests, which fail.
    """

    per: Per
    limit: float
    output: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a proof is asked for.

    Args:
        weight: the canary's percentage of the requests.
        mirror: percentage of stable's requests that it runs too.
        here: whether it and stable are both models of the repository.
        top_up: recorded requests a second that it runs too.
    """

    weight: float
    mirror: float
    here: bool
    top_up: float = 0.0


class Guard(Protocol):
    """A condition on the canary: each kind of them is a module of `router.rollout.guards`."""

    @property
    def name(self) -> str:
        """Its name, which no other guard of the rollout has."""

    @property
    def mode(self) -> Mode:
        """Whether a verdict acts or is only shown."""

    @property
    def counted(self) -> bool:
        """Whether it rests on counts, and so takes a part of alpha."""

    @property
    def proves(self) -> bool:
        """Whether promotion waits for it; else it speaks for harm only."""

    @property
    def units(self) -> Units | None:
        """What it weighs by units; None where it does not."""

    def can_prove(self, at: Setting) -> bool:
        """Whether it can be proven there at all, however long one waits."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Which comparisons are kept to be looked at; values are user data, and are held in memory only.

    Args:
        keep: at most so many; 0 keeps none.
        redact: inputs and outputs whose values are never kept.
        inputs: whether the request is kept too, so that it can be sent again.
    """

    keep: int = 100
    redact: tuple[str, ...] = ()
    inputs: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Which answers go to the prediction log of a node that keeps one.

    Args:
        sample: percentage of the answers, drawn by request, by key where there is one.
        inputs: whether the inputs go there too.
        redact: inputs and outputs whose values never leave the worker; nor do those of `Examples.redact`.
    """

    sample: float = 100.0
    inputs: bool = True
    redact: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes known of an answer, or of its user, after it was given.

    Args:
        name: as outcomes are told under; no other outcome of the rollout has it.
        kind: `label` is the truth for an output, `binary` happens or does not, `number` is an amount.
        within_seconds: how long after its request it is taken. What is no label enters the evidence then, and
            never when it is told.
        output: of a label, the output that it is the truth for, of one value for each request.
        tolerance: of a label that is a number, how far an output may be from it and be right; None where it
            must be equal, or where `range` makes a loss of the distance.
        better: whether more of it is good; of a label always higher.
        range: the least and the greatest value, beyond which none is taken. A number with one is judged
            exactly. Of a label the distance over this range is the loss. None for no bounds.
    """

    name: str
    kind: OutcomeKind
    within_seconds: float
    output: str = ""
    tolerance: float | None = None
    better: Better = "higher"
    range: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Segments:
    """Parts of the traffic, named by the value of a header.

    Args:
        header: in lower case.
        max: at most so many; the values that come after them are one more together.
    """

    header: str
    max: int = 20


@dataclass(frozen=True, slots=True)
class Rollout:
    """How one public model name is served.

    Args:
        model: the public name, which need not be the name of a target's model.
        stable: the target that answers what the canary does not.
        canary: the candidate, or None.
        candidates: of an A/B/n test, at least two, each with a fixed weight above 0; their sum is below 100.
            There is no canary beside them, and no sticky header. Else empty.
        best: when an A/B/n test ends; None: when a person says so.
        shadows: candidates that only run copies.
        sticky_header: lower-case name of the header whose value is the key of the split; None draws.
        compare: rule per output; an output that is judged without one has
            `router.rollout.compare.default_rule`.
        guards: conditions on the canary, in the order of the document; their names differ.
        alpha: the risk of a false verdict of either kind over the whole rollout.
        timeout_seconds: time one request may take, retries included.
        keep_warm_seconds: how long the old stable stays loaded after a promotion.
        examples: which comparisons are kept to be looked at.
        record: which answers go to the prediction log; None for none.
        outcomes: what is told later of its answers; their names differ.
        segments: parts of its traffic that guards look at by themselves; None for none.
        follow: where its canary comes from; None where the document names it.
    """

    model: str
    stable: Target
    canary: Canary | None = None
    candidates: tuple[Canary, ...] = ()
    best: Best | None = None
    shadows: tuple[Shadow, ...] = ()
    sticky_header: str | None = None
    compare: Mapping[str, Rule] = field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    alpha: float = 0.01
    timeout_seconds: float = 1.0
    keep_warm_seconds: float = 600.0
    examples: Examples = Examples()
    record: Record | None = None
    outcomes: tuple[Outcome, ...] = ()
    segments: Segments | None = None
    follow: Follow | None = None

    @property
    def all_candidates(self) -> tuple[Canary, ...]:
        """Whom clients may meet beside stable: the canary, or the candidates of an A/B/n test."""
        return self.candidates if self.canary is None else (self.canary, *self.candidates)

    @property
    def placed(self) -> bool:
        """Whether a candidate of it is to stand on some nodes only."""
        placements = [each.placement for each in self.all_candidates]
        placements += [each.placement for each in self.shadows]
        return any(placement is not None and not placement.waves for placement in placements)

    @property
    def waves(self) -> tuple[str, ...]:
        """Labels of the nodes on which its canary goes through its steps, one after the other; else none."""
        placement = None if self.canary is None else self.canary.placement
        return () if placement is None else placement.waves

    @property
    def redacted(self) -> frozenset[str]:
        """Inputs and outputs whose values are recorded nowhere."""
        recorded = () if self.record is None else self.record.redact
        return frozenset((*recorded, *self.examples.redact))

    def guards_of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """The guards of one kind."""
        return tuple(guard for guard in self.guards if isinstance(guard, kind))

    def outcome(self, name: str) -> Outcome | None:
        """The outcome of this name; None where the rollout has none."""
        return next((each for each in self.outcomes if each.name == name), None)

    def rules_on(self, output: str) -> bool:
        """Whether comparisons of this output are judged: those that `compare` or a guard names.

        A document that names none is judged on all, by their defaults.
        """
        named = self.compare.keys() | {
            guard.units.output for guard in self.guards if guard.units is not None and guard.units.output
        }
        return not named or output in named
