"""`segments`: weighed and in words; which segment a canary will fail in nobody can foretell. Pure.

Each place of `router.counting.segments` is held to what all traffic is held to, by the same test. The mean of
their e-values is one against "no segment is harmed", whatever they have to do with each other, so that the
guard costs what one guard costs. A place that nothing has failed in yet has the e-value 1 and its part of the
mean: it is laid down before anyone knows which values will come.
"""

from collections.abc import Sequence

import numpy as np

from control.judging.evidence import Evidence, Floats, label_ratios
from control.judging.guard_evidence import AHEAD, GuardEvidence, Past, Pooled, Segmented, Tests
from control.judging.guards.judged import Judged
from control.judging.guards.simulation import Traffic
from control.judging.outcomes.segments import discoveries, no_group_harmed
from control.judging.verdicts import SegmentVerdict
from router.counting.segments import OTHER
from router.rollout.guards.segments import SegmentsGuard

NAMED_WRONGLY = 0.05
"""Of the segments that are named as harmed, in expectation at most this share is not."""
IN_WORDS = 3
"""So many are told in a sentence; the view has all."""


def _weigh(_guard: SegmentsGuard, pooled: Pooled, past: Past) -> GuardEvidence | str:
    asked = past.segmented
    if asked is None:
        return "nobody said how segments are judged"
    requests = tuple(
        float(sum(role.requests for role in roles))
        for roles in zip(*((row.canary, row.stable) for row in pooled.rows), strict=True)
    )
    if requests[0] == 0.0:
        return pooled.nobody_new or "no canary request was counted yet"
    tests = Tests(past)
    places = (*asked.places.values, OTHER)
    errors = _by_place(asked, pooled, places)
    ahead = [pooled.ahead(canary, stable, (requests[0], requests[1])) for canary, stable in errors]
    weight = ahead[0][0]
    canary_errors, stable_errors = (np.stack([events[role] for events in ahead]) for role in (1, 2))
    ratios = label_ratios(weight, canary_errors, stable_errors, asked.max_ratio)
    harm = np.zeros((asked.places.most + 1, len(AHEAD)))  # of a place without errors the e-value is 1
    for number, place in enumerate(places):
        harm[number] = tests.log_e(f"segments/{place}", ratios[:, number])
    nothing = np.full_like(harm, -np.inf)
    segments = _verdicts(places, errors, harm[:, 0])
    doubt = "; ".join(filter(None, [pooled.nobody_new, _too_many(asked, segments)]))
    return GuardEvidence(
        no_group_harmed(Evidence(harm, nothing)),
        _in_words(asked, segments, [each for each in segments if each.named] or segments[:1]),
        "; ".join(filter(None, [_in_words(asked, segments, segments[:1]), doubt])),
        "",
        tests.ratios,
        doubt,
        segments=segments,
    )


def _by_place(asked: Segmented, pooled: Pooled, places: Sequence[str]) -> Floats:
    """Errors; shape (places, roles, rows), the canary's first."""
    found = np.zeros((len(places), 2, len(pooled.rows)))
    for number, row in enumerate(pooled.rows):
        folded = asked.places.folded(row.segments)
        for place, value in enumerate(places):
            if value in folded:
                found[place, :, number] = folded[value][:2]
    return found


def _verdicts(places: Sequence[str], errors: Floats, harm: Floats) -> tuple[SegmentVerdict, ...]:
    """Those with errors, the worst first; the places that are empty count among those that may be named."""
    named = discoveries(harm, NAMED_WRONGLY)
    counts = errors.sum(axis=2).astype(int).tolist()
    found = [
        SegmentVerdict(value, canary, stable, float(harm[number]), bool(named[number]))
        for number, (value, (canary, stable)) in enumerate(zip(places, counts, strict=True))
        if canary + stable
    ]
    return tuple(sorted(found, key=lambda each: -each.log_harm))


def _in_words(asked: Segmented, segments: Sequence[SegmentVerdict], told: Sequence[SegmentVerdict]) -> str:
    if not segments:
        return "no request of any segment failed"
    all_canary, all_stable = (
        sum(counts) for counts in zip(*((s.canary, s.stable) for s in segments), strict=True)
    )
    words = [
        f"{asked.header}={each.value}: {each.canary:,} of the canary's {all_canary:,} failures against"
        f" {each.stable:,} of stable's {all_stable:,}"
        for each in told[:IN_WORDS]
    ]
    if len(told) > IN_WORDS:
        words.append(f"and {len(told) - IN_WORDS} segments more")
    return f"errors in segment {'; '.join(words)}"


def _too_many(asked: Segmented, segments: Sequence[SegmentVerdict]) -> str:
    """In words that some values have no place of their own; or empty."""
    full = len(asked.places.values) == asked.places.most
    if not full or all(each.value != OTHER for each in segments):
        return ""
    return (
        f"requests of more than {asked.places.most} values of {asked.header} failed: those that came after"
        f" the first {asked.places.most} are one segment together, {OTHER}"
    )


def _untold(_guard: SegmentsGuard, _traffic: Traffic) -> str:
    return "nobody knows in which segment a canary will fail"


JUDGED: dict[type, Judged] = {SegmentsGuard: Judged(_weigh, lambda *_: None, _untold)}
