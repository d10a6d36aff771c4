"""What tuning came to, in words. Pure."""

from understudy.tuning.trials import Trial, Tuned


def rows_of(found: Tuned) -> list[list[str]]:
    """Of a table: each configuration that was tried, what it keeps, the p99 there, whether it is taken."""
    return [
        [
            trial.choice.words(),
            f"{trial.rate:,.0f}/s" if trial.rate else "-",
            f"{1e3 * trial.p99_seconds:.3g} ms" if trial.rate else trial.why,
            _mark(found, trial),
        ]
        for trial in found.trials
    ]


def words_of(found: Tuned, key: str, p99_seconds: float) -> list[str]:
    """What is to be said of it.

    Args:
        found: what it came to.
        key: `name/version` of the model.
        p99_seconds: that was asked for.
    """
    name = key.partition("/")[0]
    if found.best is None:
        told = [f"none keeps a p99 of {1e3 * p99_seconds:g} ms: nothing was written"]
    elif found.better:
        told = [f"written to {name}/config.yaml, for all versions of {name}"]
    else:
        told = ["nothing takes a tenth more than what is there: nothing was written"]
    if any(trial.limited for trial in found.trials):
        told.append("at least: the limit was --highest or the generator of the load, not the model")
    if not found.whole:
        told.append("not all was tried: --minutes were over")
    return told


def _mark(found: Tuned, trial: Trial) -> str:
    return ", ".join(["taken"] * (trial is found.best) + ["at least"] * trial.limited)
