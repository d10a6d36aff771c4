"""The configuration of a model that takes most requests within a target, found and written."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.clock import clock
from serving.errors import InvalidInput
from serving.host.cpus import available_cpus
from serving.host.whole_files import write_whole
from serving.models.files.config import ModelConfig
from serving.models.files.repository import CONFIG_FILE, TRITON_FILE, ModelEntry
from serving.sources.opening import open_source
from understudy.tuning.trials import Choice, Trial, Tuned, tried
from understudy.tuning.trying import Target, Trying
from understudy.tuning.written import entered


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be tuned.

    Args:
        models: the repository, a folder.
        key: `name/version`; what is written holds for all versions of the name.
        target: what is to be kept.
        seconds: begin no configuration after so long.
    """

    models: Path
    key: str
    target: Target
    seconds: float = 600.0


def tune(asked: Asked, note: Callable[[str], None] = lambda _text: None) -> Tuned:
    """Find the configuration that takes most requests within the target, and write it; blocks.

    Raises:
        ServingError: there is no such model, or it cannot be served.
    """
    entry = _entry(asked)
    until = clock() + asked.seconds
    with tempfile.TemporaryDirectory(prefix="understudy-tune-") as folder:
        trying = Trying(entry, asked.target, Path(folder), note)
        found = tried(available_cpus(), _there(entry.config), trying.measure, lambda: clock() < until)
    if found.best is not None and found.better:
        write(asked, found.best, found.trials[-1])
    return found


def write(asked: Asked, found: Trial, before: Trial) -> None:
    """Enter what was found into the model's `config.yaml`, which is there whole at any time.

    Args:
        asked: of which model, and for which latency.
        found: what is taken.
        before: what was there, as it was measured last.

    Raises:
        DocumentError: what is there cannot be read.
    """
    name = asked.key.partition("/")[0]
    path = asked.models / name / CONFIG_FILE
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    after = entered(text, found.choice, _comment(asked, found, before), f"{name}/{CONFIG_FILE}")
    write_whole(path, after.encode(), lasting=True)


def _entry(asked: Asked) -> ModelEntry:
    name, slash, version = asked.key.partition("/")
    if not slash:
        raise InvalidInput(f"{asked.key!r}: expected a model and its version, e.g. digits/2")
    entry = open_source(asked.models).find(name, version)
    if (asked.models / name / TRITON_FILE).exists() and not (asked.models / name / CONFIG_FILE).exists():
        raise InvalidInput(f"{name}/{TRITON_FILE} says how it runs: put a {CONFIG_FILE} in its place first")
    return entry


def _there(config: ModelConfig) -> Choice:
    """What is set now."""
    execution = None if config.execution == "auto" else config.execution
    return Choice(config.threads, config.batching, execution, config.optimization)


def _comment(asked: Asked, found: Trial, before: Trial) -> str:
    then = f"{before.rate:,.0f}/s" if before.rate else "no rate"
    asked_for = f"{asked.key} --p99 {1e3 * asked.target.p99_seconds:g}ms"
    return (
        f"by `understudy models tune {asked_for}`, {available_cpus()} CPUs:"
        f"\n{found.rate:,.0f} requests/s with a p99 of {1e3 * found.p99_seconds:.3g} ms; before {then}"
    )
