"""`understudy rollouts plan`: what a rollout should take, and what it would catch, before it starts.

The simulation is `control.planning.plan`'s. Traffic and errors are those of the model's present stable,
measured at the admin door over a few seconds unless they are given. Compute times come from `/metrics`, whose
buckets are wider than the guard's: within each they are taken to be log-uniform.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import typer
from prometheus_client.parser import text_string_to_metric_families

from control.judging.guards.simulation import Behaviour, Least, Traffic
from control.judging.verdicts import share
from control.planning.candidates import planned_best, planned_candidates, untold_best, untold_guards
from control.planning.harms import harms, left_out
from control.planning.outcomes import Share, beside, needed, told_outcomes
from control.planning.placed import on_its_nodes, placed_note
from control.planning.plan import PlannedStep, plan
from control.rollouts.state import asked
from router.counting.latency import bucket
from router.rollout.parser import parse, parse_one, to_document
from router.rollout.values import Approve, Pause, Rollout, Run, SetWeight
from serving.document import DocumentError
from understudy.arguments import fraction
from understudy.commands.figures import scrape, since
from understudy.output import emit_json, fail, table

_PARTS = 20
"""Into how many equal parts (of its logarithm) a bucket of `/metrics` is cut."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the document and the traffic come from.

    Args:
        client: opens the admin door.
        checked: the body of its answer; ends the command with its problem.
        file: a rollout file instead of the document in force.
    """

    client: Callable[[], AbstractContextManager[httpx.Client]]
    checked: Callable[[httpx.Response], Any]
    file: Path | None

    def rollout(self, model: str) -> Rollout:
        """The document; ends the command where there is none."""
        if self.file is None:
            with self.client() as client:
                answer = self.checked(client.get(f"/v1/rollouts/{model}"))
                return parse_one(model, orjson.dumps(answer["document"]), str(client.base_url))
        try:
            rollouts = parse(self.file.read_bytes(), str(self.file))
        except OSError as error:
            fail(f"{self.file}: {error.strerror}")
        except DocumentError as error:
            fail(str(error))
        if model not in rollouts:
            fail(f"{self.file}: no rollout for model {model!r}")
        return rollouts[model]

    def _metrics(self) -> str:
        with self.client() as client:  # anew each time: control closes a connection that idles
            return client.get("/metrics").raise_for_status().text

    def traffic(self, rollout: Rollout, given: float | None, seconds: float) -> Traffic:
        """What stable does today; with a file and a given traffic nobody is asked, and latency is unknown."""
        known = Traffic(given or 0.0, 0.0)
        if self.file is None or given is None:
            known = today(self._metrics, rollout, seconds if given is None else None)
        mirror = rollout.canary.mirror / 100 if rollout.canary is not None else 0.0
        return replace(known, requests_per_second=given or known.requests_per_second, mirror=mirror)


def simulate(
    source: Source,
    model: str,
    requests_per_second: float | None,
    over_seconds: float,
    least: Least,
    outcomes: Sequence[str],
    ahead: float,
    *,
    json: bool,
) -> None:
    """The command, behind its options."""
    rollout = source.rollout(model)
    if not rollout.candidates and (rollout.canary is None or not rollout.canary.steps):
        fail(f"{model}: its document has no steps to plan, and no candidates")
    told = told_outcomes(rollout, shares(rollout, outcomes))
    traffic = replace(source.traffic(rollout, requests_per_second, over_seconds), outcomes=told)
    if rollout.candidates:
        run_test(rollout, traffic, least, ahead, json=json)
    else:
        run(rollout, traffic, least, json=json)


def shares(rollout: Rollout, said: Sequence[str]) -> dict[str, Share]:
    """Of outcomes by name, from `conversion=5%` and, of a label, `label=10%,6%`.

    Raises:
        BadParameter: it is not that, or of no outcome of the rollout.
    """
    found = {}
    for each in said:
        name, _, numbers = each.partition("=")
        if rollout.outcome(name) is None:
            known = ", ".join(outcome.name for outcome in rollout.outcomes) or "none"
            raise typer.BadParameter(f"--outcome {each}: no outcome of this rollout; it has {known}")
        parts = [fraction(part) for part in numbers.split(",")]
        if len(parts) > 2 or not all(parts):
            raise typer.BadParameter(
                f"--outcome {each}: expected {name}=5%, or of a label also the share of labels about which"
                f" just one of the two is right: {name}=5%,6%"
            )
        found[name] = Share(*parts)
    return found


def today(look: Callable[[], str], rollout: Rollout, seconds: float | None) -> Traffic:
    """What stable does now, from two looks; ends the command when there is no traffic.

    Args:
        look: the text of `/metrics`.
        rollout: whose name and stable.
        seconds: between the looks; None only reads the compute times.
    """
    stable = rollout.stable.key
    text = look()
    if seconds is None:
        return Traffic(0.0, 0.0, latency(text, stable))
    before, began = scrape(text, rollout.model), time.monotonic()
    time.sleep(seconds)
    text = look()
    seen, took = since(before, scrape(text, rollout.model)).requests, time.monotonic() - began
    if not seen.total():
        fail(f"{rollout.model}: no request in {took:.3g} s; say how many there will be with --traffic")
    answered = sum(count for (target, _, _), count in seen.items() if target == stable)
    failed = sum(count for (target, _, code), count in seen.items() if target == stable and int(code) >= 500)
    return Traffic(seen.total() / took, failed / answered if answered else 0.0, latency(text, stable))


def latency(metrics: str, stable: str) -> dict[int, int]:
    """Stable's compute times as buckets of `router.counting.latency`, from the text of `/metrics`."""
    edges = sorted(
        (float(sample.labels["le"]), int(sample.value))
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "understudy_inference_seconds_bucket" and sample.labels["target"] == stable
    )
    found: dict[int, int] = {}
    for (low, below), (high, upto) in pairwise(edges):
        if math.isinf(high):
            break
        whole, rest = divmod(upto - below, _PARTS)
        for part in range(_PARTS):
            index = bucket(low * (high / low) ** ((part + 0.5) / _PARTS))
            found[index] = found.get(index, 0) + whole + (part < rest)
    return {index: answers for index, answers in found.items() if answers}


def run(rollout: Rollout, traffic: Traffic, least: Least, *, json: bool) -> None:
    """Simulate and print; `least` is the smallest harm worth catching."""
    assert rollout.canary is not None  # whoever calls has seen to it
    there, traffic_there = on_its_nodes(rollout, traffic)
    assert there.canary is not None
    good = Behaviour(traffic.error_rate)
    # The seed makes the good canaries the same ones each time.
    plans = {
        name: plan(there.canary.steps, rollout.guards, rollout.alpha, traffic_there, harmful, good)
        for name, harmful in (harms(rollout, traffic, least) or {"": good}).items()
    }
    steps = zip(rollout.canary.steps, next(iter(plans.values())), strict=True)
    first = tuple(replace(line, step=step) for step, line in steps)
    caught = {name: [step.caught for step in planned] for name, planned in plans.items() if name}
    notes = [f"left out: {reason}" for reason in left_out(rollout, traffic)] + beside(rollout, traffic)
    notes += placed_note(rollout)
    needs = needed(there, traffic_there, least)
    if json:
        emit_json({**_as_json(rollout, traffic, first, caught, notes), "outcomes": [*map(asdict, needs)]})
        return
    columns = ["step", "median", "95%", "good ones past it", *(f"caught: {name}" for name in caught)]
    rows = [
        [_text(line), _time(line.seconds_median), _time(line.seconds_p95), share(line.passed), *found]
        for line, *found in zip(
            first, *([share(s) for s in by_step] for by_step in caught.values()), strict=True
        )
    ]
    title = f"{traffic.requests_per_second:g} requests/s, {share(traffic.error_rate)} of stable's fail"
    table(f"{rollout.model}: {title}", columns, rows)
    for note in [*(each.words() for each in needs), *notes]:
        typer.echo(note)


def run_test(rollout: Rollout, traffic: Traffic, least: Least, ahead: float, *, json: bool) -> None:
    """Simulate an A/B/n test and print: harm in each candidate, and one that is `ahead` of the others."""
    candidates = planned_candidates(rollout, traffic, least)
    best, untold = planned_best(rollout, traffic, ahead), untold_best(rollout, traffic)
    notes = [f"left out: {reason}" for reason in untold_guards(rollout, traffic)]
    notes += [untold] * bool(untold)
    if json:
        emit_json(
            {
                "model": rollout.model,
                "requests_per_second": traffic.requests_per_second,
                "error_rate": traffic.error_rate,
                "notes": notes,
                "candidates": [*map(asdict, candidates)],
                "best": [*map(asdict, best)],
            }
        )
        return
    harmful = [
        [each.target, f"{each.weight:g}%", harm, *map(share, caught.values())]
        for each in candidates
        for harm, caught in each.caught.items()
    ]
    title = f"{traffic.requests_per_second:g} requests/s, {share(traffic.error_rate)} of stable's fail"
    if harmful:
        looks = next(iter(candidates[0].caught.values()))
        table(
            f"{rollout.model}: {title}",
            ["candidate", "share", "harm", *(f"taken off in {look}" for look in looks)],
            harmful,
        )
    for note in [*(each.words() for each in best), *notes]:
        typer.echo(note)


def _as_json(
    rollout: Rollout,
    traffic: Traffic,
    planned: Sequence[PlannedStep],
    caught: Mapping[str, Sequence[float]],
    notes: Sequence[str],
) -> dict[str, Any]:
    steps = to_document(rollout)["canary"]["steps"]
    return {
        "model": rollout.model,
        "requests_per_second": traffic.requests_per_second,
        "error_rate": traffic.error_rate,
        "notes": list(notes),
        "steps": [
            {
                "step": step,
                "seconds_median": line.seconds_median,
                "seconds_p95": line.seconds_p95,
                "passed": line.passed,
                "caught": {name: found[number] for name, found in caught.items()},
            }
            for number, (step, line) in enumerate(zip(steps, planned, strict=True))
        ],
    }


def _text(line: PlannedStep) -> str:
    match line.step:
        case SetWeight(percent):
            return f"setWeight {percent:g}%"
        case Pause(None):
            return "pause until resumed"
        case Pause(seconds):
            return f"pause {_time(seconds)}"
        case Approve() as step:
            return f"approved by {asked(step)}"
        case Run(url):
            return f"run {url}"
        case prove:
            most = prove.max_seconds
            return "prove" if most is None else f"prove, at most {_time(most)}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, scale in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"
