"""The outcome of a test as a report: checks, tables, notes. Pure."""

from control.judging.aa_report import Share, percent
from control.judging.verdicts import GuardVerdict, Verdict, duration, e_value
from understudy.offline.figures import Accuracy, Speed
from understudy.offline.outcome import Tested
from understudy.reports.report import Check, Outcome, Report, Table

OUTCOMES: dict[Verdict, Outcome] = {"proven": "passed", "harmful": "failed", "undecided": "undecided"}


def report(tested: Tested) -> Report:
    """What is shown of a test."""
    judgement = tested.judgement
    return Report(
        tested.title,
        judgement.verdict,
        OUTCOMES[judgement.verdict],
        tuple(_check(guard) for guard in judgement.guards),
        (_figures(tested), _segments(tested), _confusion(tested), _failures(tested)),
        tested.notes,
        tested.seconds,
    )


def _check(guard: GuardVerdict) -> Check:
    if guard.mode == "observe":
        return Check(f"{guard.guard} (observed)", "noted", guard.reason)
    return Check(guard.guard, OUTCOMES[guard.verdict], guard.reason)


def bounds(found: Share) -> str:
    """A share, its counts and its bounds."""
    if not found.trials:
        return "none"
    return (
        f"{percent(found.events / found.trials)} ({found.events:,} of {found.trials:,};"
        f" {percent(found.least)} to {percent(found.most)})"
    )


def _figures(tested: Tested) -> Table:
    base, candidate = tested.base, tested.candidate
    rows = [
        ("rows that fail", f"{base.failures:,}", f"{candidate.failures:,}", ""),
        ("memory, at most", _bytes(base.peak_bytes), _bytes(candidate.peak_bytes), "process of its own"),
    ]
    rows += [(f"{each.output}: rows that differ", "", bounds(each.differing), "") for each in tested.outputs]
    if tested.speed is not None:
        rows += _speed(tested.speed)
    if tested.accuracy is not None:
        rows.append(_accuracy(tested))
    columns = ("", base.key, candidate.key, "candidate less, or to, base")
    return Table("Figures, with bounds at 95%", columns, tuple(rows))


def _speed(speed: Speed) -> list[tuple[str, str, str, str]]:
    ratio = f"{speed.ratio:.4g} times ({speed.least:.4g} to {speed.most:.4g}), {speed.pairs:,} pairs"
    return [
        ("a run, median", duration(speed.base[0]), duration(speed.candidate[0]), ratio),
        ("a run, p99", duration(speed.base[1]), duration(speed.candidate[1]), ""),
    ]


def _accuracy(tested: Tested) -> tuple[str, str, str, str]:
    found = tested.accuracy
    assert found is not None
    if not isinstance(found, Accuracy):
        apart = f"{found.difference:+.3g} ({found.least:+.3g} to {found.most:+.3g}), {found.rows:,} rows"
        return (
            f"{found.output}: mean distance to the labels",
            f"{found.base:.4g}",
            f"{found.candidate:.4g}",
            apart,
        )
    words = (
        f"{_points(found.difference)} points ({_points(found.least)} to {_points(found.most)}); only the"
        f" candidate is right on {found.only_candidate:,} rows, only the base on {found.only_base:,}; e-value"
        f" {e_value(found.log_better)} for better, {e_value(found.log_worse)} for worse"
    )
    return f"{found.output}: right", bounds(found.base), bounds(found.candidate), words


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _segments(tested: Tested) -> Table:
    rows = tuple(
        (" and ".join(segment.conditions), bounds(segment.differing), bounds(segment.elsewhere))
        for segment in tested.segments
    )
    return Table(
        "Worst segments (found on one half of the rows, measured on the other)",
        ("rows with", "differ", "all others differ"),
        rows,
    )


def _confusion(tested: Tested) -> Table:
    rows = tuple((cell.base, cell.candidate, f"{cell.rows:,}") for cell in tested.confusion)
    return Table("What differs, most rows first", (tested.base.key, tested.candidate.key, "rows"), rows)


def _failures(tested: Tested) -> Table:
    rows = tuple((failure,) for failure in tested.failures)
    return Table("Rows on which only the candidate failed, the first ones", ("row",), rows)
