"""What the comparisons with a shadow say, held against the agreement guards of its rollout. Pure.

Law: a shadow answers nobody, so nothing follows from a verdict on it: it is a comparison, and says so. Each
of the m agreement guards is tested as it would be of a canary, whatever its mode: harm at m / alpha (all have
equal parts of it), proof at 1 / alpha. Outputs without a guard are counted and not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from control.judging.judge import judge
from control.judging.verdicts import GuardVerdict, Verdict, guards_as_json
from router.counting.stage_counts import StageCounts
from router.rollout.guards.agreement import AgreementGuard
from router.rollout.values import Rollout

Agreement = Mapping[str, tuple[int, int]]
"""By output: comparisons, and how many of them differed."""


@dataclass(frozen=True, slots=True)
class ShadowVerdict:
    """One shadow, compared.

    Args:
        target: its key.
        verdict: what the agreement guards say; None where the rollout has none.
        sentence: the same in words.
        comparisons: by output, how many there were and how many differed, since the evidence began.
        guards: each agreement guard; of a shadow all of them only observe.
    """

    target: str
    verdict: Verdict | None
    sentence: str
    comparisons: Agreement
    guards: tuple[GuardVerdict, ...]


def shadow_verdict(rollout: Rollout, target: str, stages: Sequence[Agreement]) -> ShadowVerdict:
    """Judge what was compared with a shadow.

    Args:
        rollout: the document.
        target: the shadow's key.
        stages: what was compared since the evidence began, one for each stage.
    """
    total: dict[str, tuple[int, int]] = {}
    for stage in stages:
        for output, (comparisons, differences) in stage.items():
            before = total.get(output, (0, 0))
            total[output] = before[0] + comparisons, before[1] + differences
    ruled = {output: pair for output, pair in sorted(total.items()) if rollout.rules_on(output)}
    guards = [replace(guard, mode="enforce") for guard in rollout.guards_of(AgreementGuard)]
    if not guards:
        return ShadowVerdict(
            target, None, f"{_counted(ruled)}; no agreement guard says what is tolerated", ruled, ()
        )
    found = judge(guards, [StageCounts(0.0, agreement=total)], rollout.alpha)
    words = {
        "harmful": "differs more than is tolerated",
        "proven": "agrees as the guards demand",
        "undecided": "undecided",
    }[found.verdict]
    facts = "; ".join(
        f"{guard.guard}: {guard.reason.partition(': ')[2]}"
        for guard in found.guards
        if found.verdict != "harmful" or guard.verdict == "harmful"
    )
    sentence = f"{words} ({facts}); a comparison only, nothing follows from it"
    observed = tuple(replace(guard, mode="observe") for guard in found.guards)
    return ShadowVerdict(target, found.verdict, sentence, ruled, observed)


def as_json(found: ShadowVerdict) -> dict[str, Any]:
    """The verdict as JSON values; e-values stay natural logarithms."""
    rows = [
        {"output": output, "comparisons": comparisons, "differences": differences}
        for output, (comparisons, differences) in found.comparisons.items()
    ]
    return {
        "target": found.target,
        "verdict": found.verdict,
        "sentence": found.sentence,
        "comparisons": rows,
        "guards": guards_as_json(found.guards),
    }


def _counted(agreement: Agreement) -> str:
    if not agreement:
        return "nothing was compared yet"
    return ", ".join(
        f"{differences:,} of {comparisons:,} comparisons of {output} differed"
        for output, (comparisons, differences) in agreement.items()
    )
