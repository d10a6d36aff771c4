"""Rollout documents: text to rollouts, and rollouts to documents.

Law: what is not understood whole is refused whole, with line and column of every value at fault; and
`parse_one(model, json.dumps(to_document(rollout)), file) == rollout` for every rollout that came out of
here. Which models exist, and whether their signatures fit, is not asked here. Pure.
"""

import json
from dataclasses import replace
from functools import partial
from typing import Any

from router.rollout import kinds
from router.rollout.guards.drift import refuse_redacted
from router.rollout.guards.errors import ErrorsGuard
from router.rollout.guards.outcomes import AccuracyGuard, OutcomeGuard
from router.rollout.guards.registry import guards_to_document, parse_guards
from router.rollout.guards.segments import SegmentsGuard
from router.rollout.guards.speed import refuse_urls
from router.rollout.kinds import duration_text, rate_text
from router.rollout.reading import Reader, Readers, check_name, fields, header_name
from router.rollout.sections.candidates import (
    best_to_document,
    candidates_to_document,
    parse_best,
    parse_candidates,
    refuse_a_vain_test,
)
from router.rollout.sections.follow import follow_to_document, parse_follow, refuse_a_vain_follow, resolved
from router.rollout.sections.outcomes import outcome_to_document, parse_outcomes, parse_segments
from router.rollout.sections.placement import (
    parse_placement,
    parse_placement_of_shadow,
    placement_to_document,
    refuse_a_vain_placement,
)
from router.rollout.sections.rules import parse_compare, rule_to_document
from router.rollout.sections.steps import parse_steps, step_to_document
from router.rollout.sections.targets import parse_target, parse_with, target_entries, target_to_document
from router.rollout.values import (
    Canary,
    Examples,
    Follow,
    Guard,
    Outcome,
    Prove,
    Record,
    Rollout,
    Setting,
    SetWeight,
    Shadow,
)
from serving import document
from serving.document import DocumentError, Node, all_of, read_each


def parse(text: str | bytes, file: str) -> dict[str, Rollout]:
    """Read a file of rollouts.

    Args:
        text: one YAML mapping from public model names to rollouts.
        file: the name that errors show.

    Raises:
        DocumentError: when any part of it cannot be served; with the faults of every rollout.
    """
    rollouts, errors = parse_each(text, file)
    if errors:
        raise all_of(errors.values())
    return rollouts


def parse_each(text: str | bytes, file: str) -> tuple[dict[str, Rollout], dict[str, DocumentError]]:
    """Read a file of rollouts, of which some may be at fault.

    Returns:
        The rollouts that can be served and the faults of the others, each by public model name.

    Raises:
        DocumentError: it is no mapping of rollouts at all.
    """
    rollouts: dict[str, Rollout] = {}
    errors: dict[str, DocumentError] = {}
    for model, node in document.parse(text, file).entries().items():
        try:
            check_name(model, node)
            rollouts[model] = _rollout(model, node)
        except DocumentError as error:
            errors[model] = error
    return rollouts, errors


def parse_one(model: str, text: str | bytes, file: str) -> Rollout:
    """Read one rollout, which stands by itself.

    Args:
        model: the public name.
        text: one YAML or JSON mapping, as under the model's name in a file.
        file: the name that errors show.

    Raises:
        DocumentError: when any part of it cannot be served.
    """
    node = document.parse(text, file)
    check_name(model, node)
    return _rollout(model, node)


def of_our_own(model: str, value: object, file: str) -> Rollout:
    """The rollout of a document that control accepted and sends.

    Control may be newer: keys, guards and kinds of steps that this version does not know are left out.

    Raises:
        DocumentError: what is left of it cannot be served.
    """
    return _rollout(model, document.of_our_own(value, file))


def of_an_older_release(model: str, value: object, file: str) -> tuple[Rollout, str]:
    """The rollout of a document that this control, or the one before it, accepted and stored.

    Returns:
        The rollout, and why this release would not accept the document as it is; empty where it would. What
        it would not accept is read as the nearest that it does, or left out.

    Raises:
        DocumentError: what is left of it cannot be served.
    """
    try:
        return parse_one(model, json.dumps(value), file), ""
    except DocumentError as error:
        return of_our_own(model, value, file), str(error)


def to_document(rollout: Rollout) -> dict[str, Any]:
    """The rollout as its canonical document: what JSON can hold, defaults spelled out.

    Equal rollouts have equal documents, and `parse_one` reads the rollout back from the JSON of one.
    """
    document: dict[str, Any] = {"stable": target_to_document(rollout.stable)}
    if (follow := rollout.follow) is not None:
        document["follow"] = follow_to_document(follow, _share_document(follow.template))
    elif (canary := rollout.canary) is not None:
        document["canary"] = {**target_entries(canary.target), **_share_document(canary)}
    if rollout.candidates:
        document["candidates"] = candidates_to_document(rollout.candidates)
    if rollout.best is not None:
        document["best"] = best_to_document(rollout.best)
    if rollout.shadows:
        document["shadows"] = [
            {
                **target_entries(each.target),
                "sample": each.sample,
                **placement_to_document(each.placement),
            }
            for each in rollout.shadows
        ]
    if rollout.sticky_header is not None:
        document["sticky"] = {"header": rollout.sticky_header}
    if rollout.compare:
        document["compare"] = {output: rule_to_document(rule) for output, rule in rollout.compare.items()}
    if rollout.guards:
        document["guards"] = guards_to_document(rollout.guards)
    if (record := rollout.record) is not None:
        redact = list(record.redact)
        document["record"] = {"sample": record.sample, "inputs": record.inputs, "redact": redact}
    if rollout.outcomes:
        document["outcomes"] = {each.name: outcome_to_document(each) for each in rollout.outcomes}
    if rollout.segments is not None:
        document["segments"] = {"header": rollout.segments.header, "max": rollout.segments.max}
    return document | {
        "alpha": rollout.alpha,
        "timeout": duration_text(rollout.timeout_seconds),
        "keepWarm": duration_text(rollout.keep_warm_seconds),
        "examples": {
            "keep": rollout.examples.keep,
            "redact": list(rollout.examples.redact),
            "inputs": rollout.examples.inputs,
        },
    }


def _share_document(canary: Canary) -> dict[str, Any]:
    """What a canary is given, and how, without who it is."""
    steps = [step_to_document(step) for step in canary.steps]
    share = {"steps": steps} if steps else {"weight": canary.weight}
    top_up = {"topUp": rate_text(canary.top_up)} if canary.top_up > 0 else {}
    deadline = duration_text(canary.progress_deadline_seconds)
    placement = placement_to_document(canary.placement)
    return {**share, "mirror": canary.mirror, **top_up, "progressDeadline": deadline, **placement}


def _rollout(model: str, node: Node) -> Rollout:
    rollout = resolved(Rollout(model, **fields(node, ["stable"], _ROLLOUT)))
    if not node.lenient:
        refuse_a_vain_follow(rollout, node.entries())
    _refuse_a_target_twice(rollout, node.entries())
    if not node.lenient:
        _refuse_a_vain_canary(rollout, node.entries())
        _refuse_guards_of_nothing(rollout, node.entries())
        refuse_a_vain_test(rollout, node.entries())
    if len(json.dumps(to_document(rollout))) > document.MAX_BYTES:
        node.fail(f"as JSON, with defaults spelled out, larger than {document.MAX_BYTES} bytes")
    return rollout


def _refuse_a_vain_canary(rollout: Rollout, entries: dict[str, Node]) -> None:
    """Of a canary that is followed too, before it is known which one that is."""
    if rollout.follow is not None:
        canary, node = rollout.follow.template, entries["follow"].entries()["canary"]
    elif rollout.canary is not None:
        canary, node = rollout.canary, entries["canary"]
    else:
        return
    if canary.steps:
        _refuse_endless_proofs(rollout, canary, node.entries()["steps"])
    if canary.top_up > 0:
        _refuse_a_vain_top_up(rollout, node.entries()["topUp"])
    if canary.placement is not None:
        refuse_a_vain_placement(rollout, canary, node.entries())


def _refuse_a_target_twice(rollout: Rollout, entries: dict[str, Node]) -> None:
    seen = {rollout.stable.key}
    candidates = []
    if rollout.canary is not None:
        candidates.append((rollout.canary.target, entries["canary" if rollout.follow is None else "follow"]))
    if rollout.candidates:
        targets = (each.target for each in rollout.candidates)
        candidates += zip(targets, entries["candidates"].sequence(), strict=True)
    if rollout.shadows:
        targets = (shadow.target for shadow in rollout.shadows)
        candidates += zip(targets, entries["shadows"].sequence(), strict=True)
    for target, node in candidates:
        if target.key in seen:
            node.fail(f"{target.key} is already a target of this rollout")
        seen.add(target.key)


def _refuse_endless_proofs(rollout: Rollout, canary: Canary, steps: Node) -> None:
    enforced = [guard for guard in rollout.guards if guard.mode == "enforce"]
    here = canary.target.url is None and rollout.stable.url is None
    at = Setting(0.0, canary.mirror, here, canary.top_up)
    for step, node in zip(canary.steps, steps.sequence(), strict=True):
        if isinstance(step, SetWeight):
            share = step.percent
            at = replace(at, weight=canary.placement.drawn(share) if canary.placement else share)
        elif isinstance(step, Prove) and not any(guard.can_prove(at) for guard in enforced):
            node.fail(
                "nothing can be proven here: it takes an enforced guard, errors (behind a URL also latency)"
                " at a weight above 0, agreement with a mirror above 0 or a topUp, latency or speed of models"
                " of the repository, or one on an outcome: on a label with a mirror above 0, on another at a"
                " weight between 0 and 100"
            )


def _refuse_a_vain_top_up(rollout: Rollout, node: Node) -> None:
    """What is recorded has to be whole, and to count by its user or by itself."""
    if rollout.record is None:
        node.fail("it runs requests of the prediction log: say `record: {}` beside canary, too")
    if not rollout.record.inputs:
        node.fail("it runs recorded inputs, which `record: {inputs: false}` leaves out")
    if rollout.redacted:
        names = ", ".join(sorted(rollout.redacted))
        node.fail(f"it runs whole requests, and {names[:160]} is redacted: leave out topUp, or that")
    if rollout.stable.url is not None:
        node.fail("it holds recorded answers against the bytes that gave them, and a URL's are not known")
    if other := next((guard for guard in rollout.guards if _weighs_otherwise(guard)), None):
        node.fail(
            f"{other.name} weighs equal bodies or times, and those of a recorded request are lost: say"
            " `per: key` there, or leave out topUp"
        )


def _refuse_guards_of_nothing(rollout: Rollout, entries: dict[str, Node]) -> None:
    """What guards look at has to be in the document, too."""
    guards = entries["guards"].entries() if rollout.guards else {}
    for of_label in rollout.guards_of(AccuracyGuard):
        label = _outcome_of(rollout, of_label.outcome, guards[of_label.name], "margin", {"label"})
        _refuse_a_redacted_label(rollout, label, guards[of_label.name])
    for guard in rollout.guards_of(OutcomeGuard):
        node, said = guards[guard.name], "maxDrop" if guard.max_rise is None else "maxRise"
        outcome = _outcome_of(rollout, guard.outcome, node, said, {"binary", "number"})
        fits = "maxDrop" if outcome.better == "higher" else "maxRise"
        if said != fits:
            node.fail(f"of {outcome.name} {outcome.better} is better: say {fits}, not {said}")
    refuse_urls(rollout, guards)
    refuse_redacted(rollout, guards)
    for segments in rollout.guards_of(SegmentsGuard):
        node = guards[segments.name]
        if rollout.segments is None:
            node.fail("the segments are not known: say `segments: {header: x-country}` beside guards")
        if not any(guard.max_ratio is not None for guard in rollout.guards_of(ErrorsGuard)):
            node.fail("each segment is held to `errors: {maxRatio: ...}`, which is not there: say that, too")


def _refuse_a_redacted_label(rollout: Rollout, label: Outcome, guard: Node) -> None:
    """To be held against labels, both answers go to control, which keeps them until the labels come."""
    if label.output in rollout.redacted:
        guard.entries()["outcome"].fail(
            f"{label.name} is the truth for {label.output[:160]!r}, which is redacted, and answers that are"
            " held against labels are kept by control: leave it out of `redact`, or leave out this guard"
        )


def _outcome_of(rollout: Rollout, name: str, guard: Node, limit: str, kinds_of_it: set[str]) -> Outcome:
    """The outcome of a guard, of one of these kinds."""
    outcome = rollout.outcome(name)
    if outcome is None:
        known = ", ".join(each.name for each in rollout.outcomes) or "none"
        guard.entries()["outcome"].fail(f"{name[:140]!r} is no outcome of this rollout; known: {known}")
    if outcome.kind not in kinds_of_it:
        guard.fail(f"{limit} is for a {' or a '.join(sorted(kinds_of_it))}, and {name} is a {outcome.kind}")
    return outcome


def _weighs_otherwise(guard: Guard) -> bool:
    """Whether the unit of its comparisons is neither a user nor a request."""
    return guard.units is not None and bool(guard.units.output) and guard.units.per != "key"


def _canary(node: Node) -> Canary:
    target, found = parse_with(node, _SHARE)
    return Canary(target, **_one_share(node, found))


def _follow(node: Node) -> Follow:
    return parse_follow(node, lambda canary: _one_share(canary, fields(canary, [], _SHARE)))


def _one_share(node: Node, found: dict[str, Any]) -> dict[str, Any]:
    if "steps" in found:
        if "weight" in found:
            node.entries()["weight"].fail("a fixed weight and steps exclude each other")
        found["weight"] = None
    return found


def _shadows(node: Node) -> tuple[Shadow, ...]:
    nodes = node.sequence()
    if len(nodes) > kinds.SHADOWS.most:
        nodes[kinds.SHADOWS.most].fail(f"more than {kinds.SHADOWS.most} shadows")
    return tuple(read_each(partial(_shadow, shadow) for shadow in nodes))


def _shadow(node: Node) -> Shadow:
    placement: Reader = ("placement", parse_placement_of_shadow)
    target, found = parse_with(node, {"sample": ("sample", kinds.SHARE.read), "placement": placement})
    return Shadow(target, **found)


def _sticky(node: Node) -> str:
    return header_name(node.mapping(["header"])["header"])


def _examples(node: Node) -> Examples:
    readers: Readers = {
        "keep": ("keep", kinds.KEPT.read),
        "redact": ("redact", _redacted),
        "inputs": ("inputs", kinds.INPUTS.read),
    }
    return Examples(**fields(node, [], readers))


def _record(node: Node) -> Record:
    readers: Readers = {
        "sample": ("sample", kinds.SHARE.read),
        "inputs": ("inputs", kinds.INPUTS.read),
        "redact": ("redact", _redacted),
    }
    return Record(**fields(node, [], readers))


def _redacted(node: Node) -> tuple[str, ...]:
    nodes = node.sequence()
    if len(nodes) > kinds.REDACTED.most:
        nodes[kinds.REDACTED.most].fail(f"more than {kinds.REDACTED.most} names")
    names: list[str] = []
    for each in nodes:
        if each.string() in names:
            each.fail(f"{each.string()[:160]!r} is named already")
        names.append(each.string())
    return tuple(names)


_SHARE: Readers = {
    "weight": ("weight", kinds.SHARE.read),
    "steps": ("steps", parse_steps),
    "mirror": ("mirror", kinds.SHARE.read),
    "topUp": ("top_up", kinds.TOP_UP.read),
    "progressDeadline": ("progress_deadline_seconds", kinds.PROGRESS_DEADLINE.read),
    "placement": ("placement", parse_placement),
}
"""What a canary says beside its target."""
_ROLLOUT: Readers = {
    "stable": ("stable", parse_target),
    "canary": ("canary", _canary),
    "follow": ("follow", _follow),
    "candidates": ("candidates", parse_candidates),
    "best": ("best", parse_best),
    "shadows": ("shadows", _shadows),
    "sticky": ("sticky_header", _sticky),
    "compare": ("compare", parse_compare),
    "guards": ("guards", parse_guards),
    "alpha": ("alpha", kinds.LIMIT.read),
    "timeout": ("timeout_seconds", kinds.TIMEOUT.read),
    "keepWarm": ("keep_warm_seconds", kinds.KEEP_WARM.read),
    "examples": ("examples", _examples),
    "record": ("record", _record),
    "outcomes": ("outcomes", parse_outcomes),
    "segments": ("segments", parse_segments),
}
