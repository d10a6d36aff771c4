"""A variant beside the model that it was made from, in words. Pure."""

from control.judging.aa_report import Share
from understudy.offline.figures import Accuracy
from understudy.variants.making import Made


def rows_of(made: Made) -> list[list[str]]:
    """Of a table: what, the model's, the variant's, and how they compare."""
    small, large = made.sizes[1], made.sizes[0]
    rows = [["size", _kilobytes(large), _kilobytes(small), f"{small / large:.2f} times"]]
    if speed := made.tested.speed:
        faster = f"{1 / speed.ratio:.2f} times as fast ({1 / speed.most:.2f} to {1 / speed.least:.2f})"
        rows.append(
            ["a run, median", _microseconds(speed.base[0]), _microseconds(speed.candidate[0]), faster]
        )
        rows.append(["p99", _microseconds(speed.base[1]), _microseconds(speed.candidate[1]), ""])
    rows += [[each.output, "", "", _agreeing(each.differing)] for each in made.tested.outputs]
    if isinstance(right := made.tested.accuracy, Accuracy):
        rows.append([f"{right.output}: right", _right(right.base), _right(right.candidate), ""])
    return rows


def words_of(made: Made) -> list[str]:
    """What is to be said of it."""
    found = made.tested
    rows = f"held against {made.origin} on {found.rows:,} rows of {found.source}"
    if made.calibrated_on:
        rows += f"; calibrated on {made.calibrated_on:,} others"
    told = [f"{made.key} made of {made.origin} ({made.method}), {rows}"]
    told += [*found.notes, *(f"failed: {failure}" for failure in found.failures)]
    if made.dependence:
        told.append(
            f"requests of {made.key} are not run together: {made.dependence}. Where {made.origin} gains by"
            " batches, it does not"
        )
    if found.speed is not None and found.speed.most >= 1.0:
        told.append(
            f"it is not shown to be faster than {made.origin} here: a rollout with the guard `speed` would"
            " not keep it"
        )
    return told


def _agreeing(differing: Share) -> str:
    """By counts: of rounded shares 719 of 720 look like all."""
    if not differing.events:
        return f"all {differing.trials:,} agree" if differing.trials else "nothing to compare"
    return f"{differing.trials - differing.events:,} of {differing.trials:,} agree"


def _right(right: Share) -> str:
    return f"{right.events / right.trials:.1%}" if right.trials else ""


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f} kB"


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f} us"
