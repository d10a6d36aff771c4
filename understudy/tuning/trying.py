"""A copy of a model, tried with one configuration after the other: a server for each, driven to its knee.

Law: what the copy is made of is never touched; and a configuration that the model cannot be served with, or
that changes its answers, is a trial that says so.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path

import httpx
import numpy as np

from serving.errors import InvalidModel
from serving.models.files.config import Optimization
from serving.models.files.repository import CONFIG_FILE, ModelEntry
from serving.places import Origin, Places
from understudy.bench import requests
from understudy.bench.load import Load
from understudy.bench.runs import Bench
from understudy.bench.server import OwnServer
from understudy.bench.steps import Objective
from understudy.tuning.answers import Answers
from understudy.tuning.trials import Choice, Trial, judged
from understudy.tuning.written import entered, unversioned

CONNECTIONS, TIMEOUT_SECONDS = 256, 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """How a model is driven, and what is to be kept.

    Args:
        p99_seconds: that 99% of answers may take.
        errors: share of requests that may fail.
        rate: requests a second to begin with.
        highest: never more than this.
        step_seconds: how long each rate is held.
    """

    p99_seconds: float
    errors: float = 0.001
    rate: float = 200.0
    highest: float = 100_000.0
    step_seconds: float = 2.0


class Trying:
    """A model that is tried.

    Args:
        entry: which one.
        target: how it is driven.
        folder: an empty one, for its copy.
        note: told what is being done.
    """

    def __init__(self, entry: ModelEntry, target: Target, folder: Path, note: Callable[[str], None]) -> None:
        self._entry, self._target, self._folder, self._note = entry, target, folder, note
        self._answers = Answers(entry)
        self._changed: dict[Optimization, str] = {}
        beside = entry.root / entry.name
        config = beside / CONFIG_FILE
        self._text = unversioned(config.read_text(encoding="utf-8")) if config.exists() else ""
        self._held_out = beside / "heldout.npz"
        self._copy()

    def _copy(self) -> None:
        """This version alone, under the name."""
        entry, copy = self._entry, self._folder / self._entry.name
        shutil.copytree(entry.path.parent, copy / entry.version)
        if warmup := entry.config.warmup:
            (copy / warmup).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.root / entry.name / warmup, copy / warmup)

    def measure(self, choice: Choice) -> Trial:
        """Try a configuration.

        Raises:
            InvalidModel: it is how the model is configured already, and cannot be served.
            ServingError: no server could be started, or there are no rows to send.
        """
        config = self._folder / self._entry.name / CONFIG_FILE
        config.write_text(entered(self._text, choice), encoding="utf-8")
        if why := self._changes(choice.optimization):
            return Trial(choice, 0.0, why=why)
        with ExitStack() as stack:
            origin = Origin(Places((str(self._folder),)), cache=self._folder / ".cache")
            server = OwnServer(origin, None, ["--threads", "0"])
            stack.callback(server.end)
            if why := self._refused(server.url):
                if choice == Choice():
                    raise InvalidModel(why)
                return Trial(choice, 0.0, why=why)
            load = self._load(server.url)
            stack.callback(load.end)
            target = self._target
            objective = Objective(inf, target.errors, target.p99_seconds)
            bench = Bench(server, load, objective, lambda text: self._note(f"{choice.words()}: {text}"))
            steps, knee = bench.ramp(target.rate, target.step_seconds, target.highest)
        return judged(choice, steps, knee, objective, target.highest)

    def _changes(self, level: Optimization | None) -> str:
        """What the level that is configured now changes of the answers, in words; each is tried once."""
        if level is None:
            return ""
        if level not in self._changed:
            self._changed[level] = self._answers.changed(self._folder)
        return self._changed[level]

    def _refused(self, url: str) -> str:
        """Why a server did not load the model, in words; empty if it did."""
        [row] = httpx.post(f"{url}/v2/repository/index", trust_env=False).raise_for_status().json()
        return "" if row["state"] == "READY" else str(row["reason"])

    def _load(self, url: str) -> Load:
        metadata = requests.metadata_of(url, self._entry.name, [])
        bodies = (
            requests.from_heldout(self._held_out, metadata)
            if self._held_out.exists()
            else requests.made_up(metadata, np.random.default_rng(0))
        )
        return Load(
            f"{url}/v2/models/{self._entry.name}/infer",
            [],
            bodies,
            generators=1,
            connections=CONNECTIONS,
            timeout_seconds=TIMEOUT_SECONDS,
        )
