"""Configurations of a model measured: a server for each, driven to the highest rate that keeps a target."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from math import inf
from pathlib import Path

import numpy as np

from serving.clock import clock
from serving.errors import InvalidInput
from serving.host.cpus import available_cpus
from serving.host.whole_files import write_whole
from serving.models.files.config import ModelConfig, Optimization
from serving.models.files.repository import CONFIG_FILE, TRITON_FILE, ModelEntry
from serving.places import Origin, Places
from serving.sources.opening import open_source
from understudy.bench import requests
from understudy.bench.load import Load
from understudy.bench.runs import Bench
from understudy.bench.server import OwnServer
from understudy.bench.steps import Objective
from understudy.tuning.answers import Answers
from understudy.tuning.trials import Choice, Trial, Tuned, best, judged, tried
from understudy.tuning.written import entered

CONNECTIONS, TIMEOUT_SECONDS = 256, 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be tuned.

    Args:
        models: the repository, a folder.
        key: `name/version`; what is written holds for all versions of the name.
        p99_seconds: that 99% of answers may take.
        errors: share of requests that may fail.
        rate: requests a second to begin with.
        highest: never more than this.
        step_seconds: how long each rate is held.
        seconds: begin no configuration after so long.
    """

    models: Path
    key: str
    p99_seconds: float
    errors: float = 0.001
    rate: float = 200.0
    highest: float = 100_000.0
    step_seconds: float = 2.0
    seconds: float = 600.0


def tune(asked: Asked, note: Callable[[str], None] = lambda _text: None) -> Tuned:
    """Find the configuration that takes most requests within the target, and write it; blocks.

    Raises:
        ServingError: there is no such model, or it cannot be served.
    """
    entry = _entry(asked)
    until = clock() + asked.seconds
    changed = cache(partial(_changed, Answers(asked.models, entry), entry))

    def measure(choice: Choice) -> Trial:
        level = choice.optimization
        if level is not None and (why := changed(level)):
            return Trial(choice, 0.0, why=why)
        return _measured(asked, entry, choice, lambda text: note(f"{choice.words()}: {text}"))

    trials, whole = tried(available_cpus(), _there(entry.config), measure, lambda: clock() < until)
    found = best(trials)
    written = found is not None and found.choice != Choice()
    if found is not None and written:
        write(asked, found, trials[-1])
    return Tuned(trials, found, whole, written)


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
    asked_for = f"{asked.key} --p99 {1e3 * asked.p99_seconds:g}ms"
    return (
        f"by `understudy models tune {asked_for}`, {available_cpus()} CPUs:"
        f"\n{found.rate:,.0f} requests/s with a p99 of {1e3 * found.p99_seconds:.3g} ms; before {then}"
    )


def _changed(answers: Answers, entry: ModelEntry, level: Optimization) -> str:
    """What a level of optimization changes of the model's answers, in words."""
    with tempfile.TemporaryDirectory(prefix="understudy-tune-") as models:
        _copy(entry, Path(models) / entry.name, Choice(optimization=level))
        return answers.changed(Path(models))


def _measured(asked: Asked, entry: ModelEntry, choice: Choice, note: Callable[[str], None]) -> Trial:
    """A copy of the model with this configuration, served and driven."""
    with ExitStack() as stack:
        models = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-tune-")))
        _copy(entry, models / entry.name, choice)
        origin = Origin(Places((str(models),)), cache=models / ".cache")
        server = OwnServer(origin, None, ["--threads", "0"])
        stack.callback(server.end)
        metadata = requests.metadata_of(server.url, entry.name, [])
        held_out = asked.models / entry.name / "heldout.npz"
        bodies = (
            requests.from_heldout(held_out, metadata)
            if held_out.exists()
            else requests.made_up(metadata, np.random.default_rng(0))
        )
        load = Load(
            f"{server.url}/v2/models/{entry.name}/infer",
            [],
            bodies,
            generators=1,
            connections=CONNECTIONS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
        stack.callback(load.end)
        objective = Objective(inf, asked.errors, asked.p99_seconds)
        steps, knee = Bench(server, load, objective, note).ramp(asked.rate, asked.step_seconds, asked.highest)
    return judged(choice, steps, knee, objective)


def _copy(entry: ModelEntry, folder: Path, choice: Choice) -> None:
    """This version alone, under the name, with the configuration that is tried."""
    shutil.copytree(entry.path.parent, folder / entry.version)
    beside = entry.root / entry.name
    if entry.config.warmup:
        (folder / entry.config.warmup).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(beside / entry.config.warmup, folder / entry.config.warmup)
    config = beside / CONFIG_FILE
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    (folder / CONFIG_FILE).write_text(entered(_unversioned(text), choice), encoding="utf-8")


def _unversioned(text: str) -> str:
    """Without what is said of other versions."""
    from ruamel.yaml import YAML

    document = YAML(typ="safe").load(text) or {}
    kept = {key: value for key, value in document.items() if key not in {"versions", "sha256"}}
    return _dumped(kept)


def _dumped(document: dict[str, object]) -> str:
    from orjson import dumps

    return dumps(document).decode() if document else ""  # JSON is YAML
