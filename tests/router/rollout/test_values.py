import json
from dataclasses import FrozenInstanceError, replace

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.rollout import kinds
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.guards.drift import DriftGuard
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.latency import ClientsGuard, LatencyGuard
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.guards.promql import PromQLGuard
from router.rollout.guards.segments import SegmentsGuard
from router.rollout.guards.speed import SpeedGuard
from router.rollout.parser import parse, parse_each, parse_one, to_document
from router.rollout.rules import Argmax, Close, Cosine, Exact, JensenShannon, TopK
from router.rollout.values import (
    Bearer,
    Canary,
    ClientTls,
    Ejection,
    Examples,
    Follow,
    Health,
    Outcome,
    Pause,
    Placement,
    Prove,
    Record,
    Rollout,
    Segments,
    Server,
    SetWeight,
    Shadow,
    Target,
)
from serving.document import DocumentError

WHOLE = """\
digits:
  stable: digits/1
  canary:
    model: digits/2
    steps:
      - setWeight: 1
      - pause: {duration: 30s}
      - prove: {max: 30m}
      - setWeight: 25
      - prove: {max: 30m, onTimeout: rollback}
      - setWeight: 50
      - pause: {}
    mirror: 20
  shadows:
    - {model: digits/3, sample: 0.5%}
    - {model: digits/4, url: 'http://triton:8000/', sample: 100}
  sticky: {header: X-User-Id}
  compare:
    label: exact
    probabilities: {atol: 0.02}
    logits: {topk: 5}
  guards:
    errors: {maxRatio: 1.5, max: 1%}
    latency: {maxRatio: 1.25, mode: observe}
    speed: {min: 1.3}
    agreement: {output: label, min: 98%}
    orders: {promql: 'sum(rate(orders_total[5m]))', min: 10, mode: enforce, failureLimit: 3}
    accuracy: {outcome: label, margin: 1%}
    conversion: {outcome: conversion, maxDrop: 5%, mode: observe}
    complaints: {outcome: complaint, maxRise: 0}
    segments: {guard: errors}
  alpha: 2%
  timeout: 250ms
  keepWarm: 0s
  examples: {keep: 30, redact: [pixels, logits], inputs: true}
  record: {sample: 0.5%, inputs: false, redact: [pixels]}
  outcomes:
    label: {output: label, within: 7d}
    price: {output: price, range: [0, 500], within: 1h}
    conversion: {kind: binary, within: 1h}
    complaint: {kind: binary, better: lower, within: 2d}
    revenue: {kind: number, range: [0, 500], within: 90d}
  segments: {header: X-Country, max: 5}
iris:
  stable: {model: iris-xgb/12, url: 'https://[::1]:8443/base'}
prices:
  stable: prices/2
  follow:
    alias: challenger
    promote: champion
    canary: {steps: [{setWeight: 5}, {prove: {}}], mirror: 50}
    version: 3
    began: prices/1
  guards: {errors: {max: 1%}}
"""


TRIED = Canary(Target("prices/3"), weight=None, steps=(SetWeight(5), Prove()), mirror=50)


def test_a_whole_file_means_what_it_says():
    assert parse(WHOLE, "rollouts.yaml") == {
        "digits": Rollout(
            model="digits",
            stable=Target("digits/1"),
            canary=Canary(
                Target("digits/2"),
                weight=None,
                steps=(
                    SetWeight(1),
                    Pause(30),
                    Prove(1800),
                    SetWeight(25),
                    Prove(1800, "rollback"),
                    SetWeight(50),
                    Pause(),
                ),
                mirror=20,
            ),
            shadows=(
                Shadow(Target("digits/3"), 0.5),
                Shadow(Target("digits/4", "http://triton:8000")),
            ),
            sticky_header="x-user-id",
            compare={"label": Exact(), "probabilities": Close(atol=0.02), "logits": TopK(5)},
            guards=(
                ErrorsGuard(1.5, 0.01),
                LatencyGuard(1.25, "observe"),
                ClientsGuard(mode="observe"),
                SpeedGuard(1.3),
                AgreementGuard("label", 0.98),
                PromQLGuard("orders", "sum(rate(orders_total[5m]))", min=10, failure_limit=3, mode="enforce"),
                AccuracyGuard("accuracy", "label", 0.01),
                OutcomeGuard("conversion", "conversion", max_drop=0.05, mode="observe"),
                OutcomeGuard("complaints", "complaint", max_rise=0.0),
                SegmentsGuard("errors"),
            ),
            alpha=0.02,
            timeout_seconds=0.25,
            keep_warm_seconds=0,
            examples=Examples(30, ("pixels", "logits"), inputs=True),
            record=Record(0.5, inputs=False, redact=("pixels",)),
            outcomes=(
                Outcome("label", "label", 7 * 86_400, output="label"),
                Outcome("price", "label", 3600, output="price", range=(0, 500)),
                Outcome("conversion", "binary", 3600),
                Outcome("complaint", "binary", 2 * 86_400, better="lower"),
                Outcome("revenue", "number", 90 * 86_400, range=(0, 500)),
            ),
            segments=Segments("x-country", 5),
        ),
        "iris": Rollout("iris", Target("iris-xgb/12", "https://[::1]:8443/base")),
        "prices": Rollout(
            "prices",
            Target("prices/2"),
            canary=TRIED,
            follow=Follow("challenger", TRIED, "champion", "prices", 3, "prices/1"),
            guards=(ErrorsGuard(max=0.01),),
        ),
    }


def test_until_the_alias_is_known_there_is_no_canary_and_its_steps_are_checked_all_the_same():
    said = "{stable: m/1, follow: {alias: challenger, model: other, canary: %s}}"
    rollout = parse_one("m", said % "{weight: 5}", "f")
    assert rollout.canary is None
    assert rollout.follow == Follow("challenger", Canary(Target("other/0"), 5.0), model="other")
    with pytest.raises(DocumentError, match="nothing can be proven here") as refused:
        parse_one("m", said % "{steps: [{prove: {}}]}", "f")
    assert refused.value.path.endswith("follow.canary.steps[0]")


def test_beside_follow_no_canary_is_named_and_the_error_says_where_to_say_its_share():
    with pytest.raises(DocumentError, match="say its share or steps below `follow`") as refused:
        parse("m:\n  stable: m/1\n  follow: {alias: next, canary: {weight: 5}}\n  canary: m/2\n", "f.yaml")
    assert (refused.value.line, refused.value.column) == (4, 11)


def test_a_version_that_is_a_target_already_is_no_canary():
    with pytest.raises(DocumentError, match="m/1 is already a target"):
        parse_one("m", "{stable: m/1, follow: {alias: next, canary: {}, version: 1}}", "f")


def test_what_is_left_out_has_its_default():
    rollout = parse_one("m", "{stable: m/1, canary: m/2, shadows: [m/3]}", "f")
    assert rollout == Rollout(
        model="m",
        stable=Target("m/1", None),
        canary=Canary(Target("m/2"), weight=0, steps=(), mirror=0),
        shadows=(Shadow(Target("m/3"), sample=100),),
        sticky_header=None,
        compare={},
        guards=(),
        alpha=0.01,
        timeout_seconds=1,
        keep_warm_seconds=600,
        examples=Examples(keep=100, redact=(), inputs=False),
        record=None,
        outcomes=(),
        segments=None,
    )
    guards = parse_one("m", "{stable: m/1, guards: {errors: {max: 1%}, q: {promql: up, max: 1}}}", "f").guards
    assert guards == (
        ErrorsGuard(None, 0.01, "enforce"),
        PromQLGuard("q", "up", None, 1, 60, 0, 0, "observe"),
    )


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_latency_asks_about_clients_too_in_its_own_mode_unless_told_otherwise(mode):
    text = "{stable: m/1, guards: {latency: {maxRatio: 1.25, mode: %s%s}}}"
    model = LatencyGuard(1.25, mode)
    assert parse_one("m", text % (mode, ""), "f").guards == (model, ClientsGuard(1.5, 0.005, 5, mode))
    told = ", clients: {maxRatio: 2, slack: 20ms, slice: 1m, mode: observe}"
    assert parse_one("m", text % (mode, told), "f").guards == (model, ClientsGuard(2, 0.02, 60, "observe"))


def test_an_empty_mapping_is_no_rollouts():
    assert parse("{}", "f") == {}


def test_targets_and_guards_have_names():
    here, there = Target("a.b/12"), Target("a.b/12", "http://h:1")
    assert (here.name, here.version, here.key, there.key) == ("a.b", "12", "a.b/12", "a.b/12@http://h:1")
    guards = (
        ErrorsGuard(1.5),
        LatencyGuard(1.5),
        ClientsGuard(),
        AgreementGuard("o", 0.5),
        PromQLGuard("q", "up", 1),
        AccuracyGuard("a", "label", 0.01),
        OutcomeGuard("b", "conversion", 0.05),
        SegmentsGuard(),
        SpeedGuard(1.5),
        DriftGuard("o", 0.5),
    )
    names = [
        "errors",
        "latency",
        "latency:clients",
        "agreement:o",
        "q",
        "a",
        "b",
        "segments",
        "speed",
        "drift",
    ]
    assert [guard.name for guard in guards] == names


def test_a_rollout_does_not_change():
    with pytest.raises(FrozenInstanceError):
        Target("a/1").model = "b/1"


# ------------------------------------------------------------------ there and back

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
models = st.builds("{}/{}".format, names, st.integers(1, 10**10 - 1))
urls = st.from_regex(r"https?://(h|[a-z_.-]{1,9}|\[::1\])(:80)?(/[a-zA-Z0-9._~-]{1,5}){0,2}", fullmatch=True)
words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True)
times = st.integers(1000, 3000).map(lambda milliseconds: milliseconds / 1000)
printed = st.from_regex(r"[!-~]([ -~]{0,5}[!-~])?", fullmatch=True)
servers = st.builds(
    Server,
    name=st.just("") | words,
    version=st.just("") | words,
    timeout_seconds=st.none() | times,
    connect_seconds=times,
    connections=st.integers(1, 10_000),
    keep_alive_seconds=times,
    headers=st.dictionaries(st.from_regex(r"x-[a-z]{1,3}", fullmatch=True), printed, max_size=3).map(
        lambda found: tuple(found.items())
    ),
    bearer=st.none() | st.builds(Bearer, file=words) | st.just(Bearer(env="UNDERSTUDY_TARGET_A")),
    tls=st.builds(ClientTls, ca=st.just("") | words, name=st.just("h"))
    | st.builds(ClientTls, certificate=words, key=words),
    health=st.builds(Health, times, times, st.integers(1, 100)),
    eject=st.builds(Ejection, st.integers(1, 100), times),
)


def asked(target, server):
    """How a URL of any kind may be asked."""
    if target.url is None:
        return target
    return replace(
        target, server=server if target.url.startswith("https") else replace(server, tls=ClientTls())
    )


targets = st.builds(asked, st.builds(Target, models, st.none() | urls), st.just(Server()) | servers)
percents = st.floats(0, 100)
inside = st.floats(0, 1, exclude_min=True, exclude_max=True)
durations = st.floats(1e-6, 366 * 86400) | st.sampled_from([1.0, 30.0, 90.0, 600.0, 3600.0, 5400.0, 0.25])
texts = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]) | st.just(" "), min_size=1, max_size=30
)
modes = st.sampled_from(["enforce", "observe"])
ratios = st.floats(1, 1000)
finite = st.floats(allow_nan=False, allow_infinity=False)
limits = st.floats(0, allow_infinity=False)

proves = st.just(Prove()) | st.builds(Prove, durations, st.sampled_from(["pause", "rollback"]))
steps = st.lists(
    st.builds(SetWeight, st.floats(0.1, 100)) | st.builds(Pause, st.none() | durations) | proves,
    min_size=1,
    max_size=6,
).map(lambda found: (SetWeight(1.0), *found))
rules = st.one_of(
    st.sampled_from([Exact(), Argmax()]),
    st.builds(Close, limits, limits),
    st.builds(TopK, st.integers(1, 10**6)),
    st.builds(Cosine, st.floats(-1, 1)),
    st.builds(JensenShannon, st.floats(0, 1)),
)
errors_guards = (
    st.tuples(st.none() | ratios, st.none() | inside)
    .filter(any)
    .flatmap(lambda limits: st.builds(ErrorsGuard, *map(st.just, limits), modes))
)
latency_guards = st.builds(LatencyGuard, ratios.map(lambda ratio: max(ratio, 1.1)), modes)
speed_guards = st.builds(SpeedGuard, ratios.map(lambda ratio: max(ratio, 1.1)), modes)
drift_guards = st.builds(DriftGuard, texts, inside, modes)
slices = st.integers(1, 60).map(lambda spans: 5 * spans)
clients_guards = st.builds(ClientsGuard, ratios, st.floats(0, 600), slices, modes)
bounds = (
    st.tuples(finite, finite).map(lambda pair: (min(pair), max(pair)))
    | st.tuples(finite, st.none())
    | st.tuples(st.none(), finite)
)


@st.composite
def promql_guards(draw, name):
    low, high = draw(bounds)
    interval = draw(st.floats(1, 366 * 86400))
    counts = draw(st.tuples(st.integers(0, 1000), st.integers(0, 1000)))
    return PromQLGuard(name, draw(texts), low, high, interval, *counts, draw(modes))


headers = st.from_regex(r"[!#$%&'*+.^_`|~0-9a-z-]{1,20}", fullmatch=True)
changes = st.floats(0, 1, exclude_max=True)
ranges = st.tuples(finite, finite).map(sorted).map(tuple).filter(lambda pair: pair[0] < pair[1])
within = st.floats(1, 90 * 86_400)
betters = st.sampled_from(["higher", "lower"])


def outcomes_named(name):
    return st.one_of(
        st.builds(Outcome, st.just(name), st.just("label"), within, texts, st.none() | limits),
        st.builds(Outcome, st.just(name), st.just("label"), within, texts, range=ranges),
        st.builds(Outcome, st.just(name), st.just("binary"), within, better=betters),
        st.builds(
            Outcome, st.just(name), st.just("number"), within, better=betters, range=st.none() | ranges
        ),
    )


def outcome_guards(name, outcome):
    named = st.just(name), st.just(outcome.name)
    if outcome.kind == "label":
        return st.builds(AccuracyGuard, *named, changes, modes)
    limit = "max_drop" if outcome.better == "higher" else "max_rise"
    return st.builds(OutcomeGuard, *named, **{limit: changes}, mode=modes)


@st.composite
def guard_lists(draw, outcomes, *, segments, here):
    """Guards that a rollout with these outcomes may have, perhaps segments, and all its models here."""
    agreement = draw(st.lists(st.builds(AgreementGuard, texts, inside, modes), max_size=3))
    taken = ("errors", "latency", "speed", "agreement", "drift", "segments")
    free = draw(st.sets(names.filter(lambda name: name not in taken), max_size=4))
    errors = draw(st.lists(errors_guards, max_size=1))
    held = segments and any(guard.max_ratio is not None for guard in errors)
    groups = [
        errors,
        draw(st.just([]) | st.tuples(latency_guards, clients_guards)),
        draw(st.lists(speed_guards, max_size=1)) if here else [],
        list({guard.output: guard for guard in agreement}.values()),
        draw(st.lists(drift_guards, max_size=1)),
        draw(st.lists(st.builds(SegmentsGuard, mode=modes), max_size=1)) if held else [],
    ]
    for name in sorted(free):
        of = draw(st.sampled_from([None, *outcomes]))
        groups.append([draw(promql_guards(name) if of is None else outcome_guards(name, of))])
    return tuple(guard for group in draw(st.permutations(groups)) for guard in group)


def placements(canary=None):
    """On enough nodes for each of the shares that a canary takes."""
    steps = () if canary is None else canary.steps
    shares = [step.percent for step in steps if isinstance(step, SetWeight)]
    fixed = 0.0 if canary is None else canary.weight or 0.0
    nodes = st.builds(Placement, st.floats(max(0.001, fixed, *shares), 100))
    labels = st.from_regex(kinds.LABEL.pattern, fullmatch=True)
    waves = st.lists(labels, min_size=1, max_size=4, unique=True)
    return nodes | waves.map(lambda each: Placement(waves=tuple(each))) if steps else nodes


@st.composite
def rollouts(draw):
    stable, *others = draw(st.lists(targets, min_size=1, max_size=5, unique_by=lambda target: target.key))
    outcomes = tuple(draw(outcomes_named(name)) for name in sorted(draw(st.sets(names, max_size=3))))
    segments = draw(st.none() | st.builds(Segments, headers, st.integers(1, 100)))
    here = all(target.url is None for target in (stable, *others))
    guards = draw(guard_lists(outcomes, segments=segments is not None, here=here))
    kept = {outcome.output for outcome in outcomes}  # what guards tell of may not be redacted
    kept |= {guard.output for guard in guards if isinstance(guard, DriftGuard)}
    redacted = st.lists(texts.filter(lambda name: name not in kept), max_size=3, unique=True).map(tuple)
    canary = None
    if others and draw(st.booleans()):
        target, mirror = others.pop(), draw(percents)
        canary = Canary(target, draw(percents), (), mirror)
        if draw(st.booleans()):
            elsewhere = (guard for guard in guards if not guard.name.startswith("latency"))
            guards = (LatencyGuard(2.0), ClientsGuard(), *elsewhere)
            canary = Canary(target, None, draw(steps), mirror)
        canary = replace(canary, placement=draw(st.none() | placements(canary)))
    placed = canary is not None and canary.placement is not None
    follow = None
    if canary is not None and canary.target.url is None and stable.url is None and draw(st.booleans()):
        promote, began = draw(st.none() | st.just("champion")), draw(st.none() | st.just("m/7"))
        version = draw(st.none() | st.just(int(canary.target.version)))
        template = canary if version else replace(canary, target=Target(f"{canary.target.name}/0"))
        follow = Follow("challenger", template, promote, canary.target.name, version, began)
        canary = canary if version else None
    return Rollout(
        model=draw(names),
        stable=stable,
        canary=canary,
        shadows=tuple(Shadow(target, draw(percents), draw(st.none() | placements())) for target in others),
        sticky_header=None if placed else draw(st.none() | headers),
        compare=draw(st.dictionaries(texts, rules, max_size=4)),
        guards=guards,
        alpha=draw(inside),
        timeout_seconds=draw(st.floats(0.001, 600)),
        keep_warm_seconds=draw(durations | st.just(0.0)),
        examples=Examples(
            draw(st.integers(0, 1000)),
            draw(redacted),
            draw(st.booleans()),
        ),
        record=draw(st.none() | st.builds(Record, percents, st.booleans(), redacted)),
        outcomes=outcomes,
        segments=segments,
        follow=follow,
    )


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(rollouts())
def test_a_rollout_is_read_back_from_its_document(rollout):
    document = to_document(rollout)
    for text in (json.dumps(document), orjson.dumps(document), json.dumps(document, indent=2)):
        found = parse_one(rollout.model, text, "f")
        assert found == rollout
        assert to_document(found) == document


@settings(deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, 12), st.text("0 ab:-{}[]'%/,\n", max_size=3))
def test_a_damaged_file_is_read_or_refused_but_never_breaks_the_reader(at, cut, put):
    try:
        found = parse(WHOLE[:at] + put + WHOLE[at + cut :], "f")
    except DocumentError:
        return
    for model, rollout in found.items():
        assert parse_one(model, json.dumps(to_document(rollout)), "f") == rollout


# ------------------------------------------------------------------ refusals

BAD_MODELS = [
    "m",
    "m/0",
    "m/01",
    "m/12345678901",
    "m/-1",
    "m/1.0",
    "m/\u0661",
    "\u043c/1",
    "../m/1",
    ".m/1",
    "a/b/1",
    '"m/1\\n"',
    "m" * 129 + "/1",
    "/m/1",
    "m//1",
    '"m /1"',
]
BAD_URLS = [
    "ftp://h",
    "h:80",
    "http://",
    "http://h:99999",
    "http://h:0",
    "http://u:p@h",
    "http://h/?q",
    "http://h/#f",
    "http://h/a b",
    "http://h/%2e",
    "http://[::1",
    "file:///etc",
    "HTTP://h",
]
OF_THREE = """\
stable: m/1
outcomes:
  y: {output: y, within: 1h}
  c: {kind: binary, within: 1h}
  l: {kind: number, better: lower, within: 1h}
"""
# The mark ¦ stands before the value at fault.
REFUSED = [
    ("¦[]", "expected a mapping"),
    ("¦canary: m/2", "'stable' is missing"),
    ("stable: m/1\nstabel: ¦m/2", "unknown key"),
    ("stable: ¦null", "expected a mapping, got nothing"),
    *((f"stable: ¦{model}", "digits/2") for model in BAD_MODELS),
    *((f"stable: {{model: m/1, url: ¦'{url}'}}", "expected http://host:port") for url in BAD_URLS),
    ("stable: {model: m/1, url: ¦'http://[:::]'}", "IPv6"),
    ("stable: {model: m/1, uri: ¦http://h}", "unknown key"),
    ("stable: ¦{url: 'http://h'}", "'model' is missing"),
    ("stable: m/1\ncanary: ¦m/1", "already a target"),
    ("stable: m/1\ncanary: m/2\nshadows: [m/3, ¦m/2]", "already a target"),
    ("stable: m/1\nshadows: [m/3, ¦{model: m/3, sample: 1}]", "already a target"),
    (
        "stable: m/1\nshadows: [" + "".join(f"m/{i}, " for i in range(2, 18)) + "¦m/18]",
        "more than 16 shadows",
    ),
    ("stable: m/1\nshadows: [{model: m/2, sample: ¦101}]", "0 to 100"),
    ("stable: m/1\nshadows: [{model: m/2, placement: {nodes: ¦0%}}]", "above 0 and up to 100"),
    ("stable: m/1\nshadows: [{model: m/2, placement: ¦10%}]", "expected a mapping"),
    ("stable: m/1\nshadows: [{model: m/2, placement: {waves: ¦[us]}}]", "a shadow has none"),
    (
        "stable: m/1\nsticky: {header: h}\ncanary: {model: m/2, placement: ¦{nodes: 10%}}",
        "leave out `sticky`",
    ),
    ("stable: m/1\nshadows: ¦m/2", "expected a list"),
    *(
        (f"stable: m/1\ncanary: {{model: m/2, {entry}}}", part)
        for entry, part in [
            ("weight: ¦101", "0 to 100"),
            ("weight: 1, placement: ¦{waves: [us]}", "say `steps`, not a fixed weight"),
            ("steps: [setWeight: 1], placement: {waves: ¦[]}", "1 to 16 labels"),
            ("steps: [setWeight: 1], placement: {waves: [us, ¦us]}", "a wave already"),
            ("steps: [setWeight: 1], placement: {waves: [¦-us]}", "expected a label"),
            ("placement: ¦{}", "by one of them"),
            ("steps: [setWeight: 1], placement: ¦{waves: [us], nodes: 10}", "by one of them"),
            ("placement: {nodes: 10}, weight: ¦10.5", "a share of at most 10, or a placement on more"),
            ("placement: {nodes: 10}, steps: [setWeight: 10, ¦setWeight: 11]", "a share of at most 10,"),
            ("weight: ¦-0.1", "0 to 100"),
            ("weight: ¦.nan", "0 to 100"),
            ("weight: ¦.inf", "0 to 100"),
            ("weight: ¦1e999", "0 to 100"),
            ("weight: ¦ten", "expected a number"),
            ("weight: ¦null", "expected a number"),
            ("mirror: ¦100.1", "0 to 100"),
            ("weight: ¦1, steps: [setWeight: 1]", "exclude each other"),
            ("steps: ¦[]", "1 to 64 steps"),
            ("steps: ¦[" + "pause: {}, " * 65 + "]", "1 to 64 steps"),
            ("steps: [¦pause]", "expected a mapping"),
            ("steps: [¦{}]", "expected one of setWeight"),
            ("steps: [¦{pause: {}, setWeight: 1}]", "expected one of setWeight"),
            ("steps: [wait: ¦{}]", "unknown key"),
            ("steps: [setWeight: ¦101]", "0 to 100"),
            ("steps: [pause: ¦null]", "expected a mapping"),
            ("steps: [pause: {duration: ¦30}]", "with a unit"),
            ("steps: [pause: {duration: ¦0s}]", "got '0s'"),
            ("steps: [setWeight: 1, prove: {max: 1m, onTimeout: ¦promote}]", "pause, rollback"),
            ("steps: [setWeight: 1, prove: {onTimeout: ¦pause}]", "without max"),
        ]
    ),
    ("stable: m/1\nsticky: ¦x-user", "expected a mapping"),
    ("stable: m/1\nsticky: ¦{}", "'header' is missing"),
    ("stable: m/1\nsticky: {header: ¦'x user'}", "name of a header"),
    ("stable: m/1\nsticky: {header: ¦'x:y'}", "name of a header"),
    *(
        (f"stable: m/1\ncompare: {{o: {rule}}}", part)
        for rule, part in [
            ("¦close", "exact, argmax"),
            ("¦[exact]", "exact, argmax"),
            ("¦{}", "expected exact"),
            ("¦{atol: 1, topk: 2}", "expected exact"),
            ("{atol: ¦-1}", "expected a number"),
            ("{rtol: ¦.nan}", "expected a number"),
            ("{topk: ¦0}", "expected 1"),
            ("{topk: ¦1.5}", "whole number"),
            ("{cosine: ¦1.01}", "-1 to 1"),
            ("{js: ¦2}", "0 to 1"),
            ("{delta: ¦2}", "unknown key"),
        ]
    ),
    *(
        (f"stable: m/1\nguards: {{{guard}}}", part)
        for guard, part in [
            ("errors: ¦{}", "maxRatio, max or both"),
            ("errors: ¦null", "expected a mapping"),
            ("errors: ¦{mode: observe}", "maxRatio, max or both"),
            ("errors: {maxRatio: ¦0.99}", "from 1"),
            ("errors: {maxRatio: ¦.inf}", "from 1"),
            ("errors: {max: ¦0}", "ends excluded"),
            ("errors: {max: ¦100%}", "ends excluded"),
            ("errors: {max: 1%, mode: ¦warn}", "enforce, observe"),
            ("latency: ¦{}", "'maxRatio' is missing"),
            ("latency: {maxRatio: ¦1.05}", "from 1.1"),
            ("agreement: ¦[]", "at least one output"),
            ("agreement: ¦{output: o}", "'min' is missing"),
            ("agreement: {output: o, min: ¦98}", "0 to 1"),
            ("agreement: {output: o, min: ¦1}", "ends excluded"),
            ("agreement: [{output: o, min: 0.5}, ¦{output: o, min: 0.6}]", "has a guard already"),
            ("pace: ¦{}", "on a value (`promql`) or on an outcome (`outcome`)"),
            ("pace: ¦{maxRatio: 2}", "'pace' is none of errors, latency, speed, agreement, drift, segments"),
            ("speed: ¦{}", "'min' is missing"),
            ("speed: {min: ¦1}", "from 1.1"),
            ("speed: {min: 2, promql: ¦up}", "unknown key"),
            ("pace: ¦{promql: up, outcome: o, min: 1}", "outcome and promql exclude each other"),
            ("paid: ¦{outcome: o}", "expected one of margin (of a label), maxDrop and maxRise"),
            ("paid: {outcome: ¦o, margin: 1%}", "'o' is no outcome of this rollout; known: none"),
            ("paid: {outcome: o, margin: ¦100%}", "the end excluded"),
            ("paid: {outcome: o, maxDrop: ¦-1}", "expected a number from 0"),
            ("paid: {outcome: o, margin: 1%, maxDrop: ¦1%}", "unknown key"),
            ("paid: {outcome: ¦7, maxRise: 1%}", "expected text"),
            ("'a b': ¦{outcome: o, maxRise: 1%}", "a name has"),
            ("errors: {max: 1%}, segments: ¦{guard: errors}", "the segments are not known"),
            ("segments: {guard: ¦latency}", "errors"),
            ("segments: ¦{}", "'guard' is missing"),
            ("pace: {promql: up, min: 1, maxRatio: ¦2}", "unknown key"),
            ("pace: ¦{promql: up}", "min, max or both"),
            ("pace: {promql: up, min: 2, max: ¦1}", "less than min"),
            ("pace: {promql: ¦'', min: 2}", "characters"),
            ("pace: {promql: up, min: ¦.nan}", "expected a number"),
            ("pace: {promql: up, min: 1, interval: ¦1ms}", "1 s to"),
            ("pace: {promql: up, min: 1, failureLimit: ¦-1}", "0 to 1000"),
            ("'agreement:o': ¦{promql: up, min: 1}", "a name has"),
            (
                "".join(f"g{i}: {{promql: up, min: 1}}, " for i in range(32)) + "errors: ¦{max: 0.5}",
                "more than 32",
            ),
        ]
    ),
    ("stable: m/1\nalpha: ¦0", "ends excluded"),
    ("stable: m/1\nalpha: ¦1", "ends excluded"),
    ("stable: m/1\ntimeout: ¦11m", "to 600 s"),
    ("stable: m/1\ntimeout: ¦1", "with a unit"),
    ("stable: m/1\nkeepWarm: ¦forever", "with a unit"),
    ("stable: m/1\nexamples: ¦100", "expected a mapping"),
    ("stable: m/1\nexamples: {keep: ¦1001}", "0 to 1000"),
    ("stable: m/1\nexamples: {keep: ¦yes}", "whole number"),
    ("stable: m/1\nexamples: {inputs: ¦1}", "true or false"),
    ("stable: m/1\nexamples: {redact: ¦x}", "a list"),
    ("stable: m/1\nexamples: {redact: [x, ¦x]}", "named already"),
    ("stable: m/1\nexamples: {redact: [" + "".join(f"x{i}, " for i in range(64)) + "¦y]}", "more than 64"),
    ("stable: m/1\nexamples: {every: ¦1}", "unknown key"),
    ("stable: m/1\nrecord: ¦true", "expected a mapping"),
    ("stable: m/1\nrecord: {sample: ¦101%}", "0 to 100"),
    ("stable: m/1\nrecord: {inputs: ¦1}", "true or false"),
    ("stable: m/1\nrecord: {redact: [x, ¦x]}", "named already"),
    ("stable: m/1\nrecord: {keep: ¦1}", "unknown key"),
    *(
        (f"stable: m/1\noutcomes: {outcomes}", part)
        for outcomes, part in [
            ("¦{}", "1 to 16 outcomes, got 0"),
            ("¦{" + ", ".join(f"o{i}: {{kind: binary, within: 1h}}" for i in range(17)) + "}", "got 17"),
            ("¦[label]", "expected a mapping"),
            ("{'a b': ¦{kind: binary, within: 1h}}", "a name has"),
            ("{o: ¦{within: 1h}}", "expected `output`, of which it is the truth, or `kind: binary`"),
            ("{o: {kind: ¦amount, within: 1h}}", "expected one of label, binary, number"),
            ("{o: ¦{output: y}}", "'within' is missing"),
            ("{o: ¦{kind: label, within: 1h}}", "'output' is missing"),
            ("{o: {output: y, within: ¦91d}}", "to 7776000 s"),
            ("{o: {output: y, within: ¦0.5s}}", "expected 1 s"),
            ("{o: {output: y, better: ¦lower, within: 1h}}", "unknown key"),
            ("{o: {output: y, tolerance: 1, range: ¦[0, 1], within: 1h}}", "not both"),
            ("{o: {output: y, tolerance: ¦-1, within: 1h}}", "expected a number"),
            ("{o: {kind: binary, range: ¦[0, 1], within: 1h}}", "unknown key"),
            ("{o: {kind: binary, better: ¦more, within: 1h}}", "higher, lower"),
            ("{o: {kind: number, range: ¦[1], within: 1h}}", "such as [0, 500]"),
            ("{o: {kind: number, range: ¦[1, 1], within: 1h}}", "is not above the least"),
            ("{o: {kind: number, range: [1, ¦.inf], within: 1h}}", "expected a number"),
        ]
    ),
    *(
        (
            OF_THREE + f"guards: {{g: {guard}}}",
            part,
        )
        for guard, part in [
            ("{outcome: ¦x, maxDrop: 1%}", "'x' is no outcome of this rollout; known: y, c, l"),
            ("¦{outcome: y, maxDrop: 1%}", "maxDrop is for a binary or a number, and y is a label"),
            ("¦{outcome: c, margin: 1%}", "margin is for a label, and c is a binary"),
            ("¦{outcome: c, maxRise: 1%}", "of c higher is better: say maxDrop, not maxRise"),
            ("¦{outcome: l, maxDrop: 1%}", "of l lower is better: say maxRise, not maxDrop"),
        ]
    ),
    ("stable: m/1\nsegments: {header: ¦'x y'}", "the name of a header"),
    ("stable: m/1\nsegments: {header: x, max: ¦0}", "1 to 100"),
    (
        "stable: m/1\nsegments: {header: x}\nguards: {errors: {max: 1%}, segments: ¦{guard: errors}}",
        "each segment is held to `errors: {maxRatio: ...}`",
    ),
]


@pytest.mark.parametrize(("text", "part"), REFUSED)
def test_what_cannot_be_served_is_refused_where_it_stands(text, part):
    before, after = text.split("¦")
    with pytest.raises(DocumentError) as caught:
        parse_one("m", before + after, "f.yaml")
    assert part in caught.value.message
    lines = before.split("\n")
    assert str(caught.value).startswith(f"f.yaml:{len(lines)}:{len(lines[-1]) + 1}: ")


def test_every_fault_of_a_file_is_named_in_its_order_and_what_is_good_is_read():
    text = (
        "good: {stable: m/1}\nm:\n  stable: m\n  canary: {model: m/2, steps: [setWeight: 101, pause: 3]}\n"
        "  guards: {errors: {}, latency: {maxRatio: 0}}\n  alfa: 1\na/b: {stable: m/1}\n"
    )
    places = ["3:11", "4:43", "4:55", "5:20", "5:44", "6:9", "7:6"]
    rollouts, errors = parse_each(text, "f")
    assert (list(rollouts), list(errors)) == (["good"], ["m", "a/b"])
    with pytest.raises(DocumentError) as caught:
        parse(text, "f")
    lines = str(caught.value).split("\n")
    assert [line.partition(": ")[0] for line in lines] == [f"f:{place}" for place in places]
    assert lines == [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("model", ["", ".m", "a/b", "..", "m ", "\u043c", "m" * 129, "a\x00", "-m"])
def test_a_public_name_is_a_plain_name(model):
    with pytest.raises(DocumentError, match="f:1:1: a name has"):
        parse_one(model, "stable: m/1", "f")


def test_a_bad_public_name_is_refused_at_its_rollout():
    with pytest.raises(DocumentError, match=r"^f:2:6: a/b: a name has"):
        parse("ok: {stable: m/1}\na/b: {stable: m/1}", "f")


def test_the_same_model_here_and_elsewhere_are_two_targets():
    assert parse_one("m", "{stable: m/1, canary: {model: m/1, url: 'http://h'}}", "f").canary is not None


CANARY = "stable: m/1\ncanary: {model: m/2, mirror: %s, steps: %s}\nguards: %s"


@pytest.mark.parametrize(
    ("mirror", "steps", "guards"),
    [
        (0, "[setWeight: 1, prove: {}]", "{errors: {max: 1%}}"),
        (0, "[setWeight: 1, prove: {}]", "{latency: {maxRatio: 2}, q: {promql: up, min: 1, mode: enforce}}"),
        (1, "[prove: {}]", "{agreement: {output: o, min: 0.9}}"),
        (0, "[prove: {}]", "{latency: {maxRatio: 1.25}}"),
        (0, "[setWeight: 5, setWeight: 1, prove: {}]", "{errors: {maxRatio: 2}}"),
    ],
)
def test_a_proof_that_can_be_had_may_be_asked_for(mirror, steps, guards):
    assert parse_one("m", CANARY % (mirror, steps, guards), "f").canary is not None


@pytest.mark.parametrize(
    ("mirror", "steps", "guards"),
    [
        (0, "[setWeight: 1, prove: {}]", "{}"),
        (0, "[setWeight: 1, prove: {}]", "{errors: {max: 1%, mode: observe}}"),
        (0, "[setWeight: 1, prove: {}]", "{q: {promql: up, min: 1, mode: enforce}}"),
        (0, "[setWeight: 1, prove: {}]", "{agreement: {output: o, min: 0.9}}"),
        (0, "[prove: {}]", "{errors: {max: 1%}}"),
        (0, "[setWeight: 1, setWeight: 0, prove: {}]", "{errors: {max: 1%}}"),
    ],
)
def test_a_proof_that_cannot_be_had_is_refused(mirror, steps, guards):
    with pytest.raises(DocumentError, match=r"^f:2:\d+: .*nothing can be proven here"):
        parse_one("m", CANARY % (mirror, steps, guards), "f")


def test_a_rollout_too_large_to_be_written_down_is_refused():
    outputs = ", ".join(f"o{i}: {{topk: 1}}" for i in range(13_000))
    with pytest.raises(DocumentError, match=r"^f:1:1: as JSON"):
        parse_one("m", f"{{stable: m/1, compare: {{{outputs}}}}}", "f")


@pytest.mark.parametrize(
    ("rest", "judged"),
    [
        ("", {"label", "scores"}),
        (", compare: {label: exact}", {"label"}),
        (", guards: {agreement: {output: scores, min: 0.9}}", {"scores"}),
        (", compare: {label: exact}, guards: {agreement: {output: scores, min: 0.9}}", {"label", "scores"}),
        (", compare: {other: exact}", set()),
    ],
)
def test_only_outputs_that_are_named_are_judged_or_all_where_none_is(rest, judged):
    document = f"{{stable: m/1, canary: {{model: m/2, mirror: 1}}{rest}}}"
    rollout = parse_one("m", document, "f")
    assert {output for output in ("label", "scores") if rollout.rules_on(output)} == judged
