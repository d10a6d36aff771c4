"""The next version of a model, made from another one: converted, verified, held against it, put in its place.

Law: the repository has no such version, or all of it; the model that it is made from is not touched. What
cannot be served is never put there.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput, InvalidModel
from serving.host.whole_files import sync_folder
from serving.models.files.config import is_version
from serving.models.files.repository import CONFIG_FILE, MODEL_FILE, TRITON_FILE, ModelEntry
from serving.sources.opening import open_source
from understudy.offline.data.asked import Log, columns_asked
from understudy.offline.data.columns import Columns
from understudy.offline.data.rows import rows_of
from understudy.offline.differential import differential
from understudy.offline.outcome import Tested, as_json
from understudy.offline.running import open_model
from understudy.variants.converting import convert
from understudy.variants.methods import Method

CALIBRATED_ON = 512
"""Rows at most: more change ranges hardly, and take memory."""
MOST_LOGGED = 10_000
"""Of the log, the latest: enough to compare on, and read in seconds."""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be made.

    Args:
        models: the repository, a folder.
        key: `name/version` of the model.
        method: how.
        rows: a file, or `records:` and a place of the prediction log; empty for the `heldout.npz` beside it.
        since_seconds: of the log, only requests that arrived at most so long ago.
        requests_to: of the log, the public name that they were sent to; empty for the model's own.
        threads: of one run, unless its configuration says otherwise.
        timing_seconds: how long the two are timed at most.
    """

    models: Path
    key: str
    method: Method
    rows: str = ""
    since_seconds: float | None = None
    requests_to: str = ""
    threads: int = 1
    timing_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Made:
    """A variant.

    Args:
        key: `name/version`.
        origin: of the model that it is made from.
        method: how it was made.
        sizes: bytes of the model and of the variant.
        calibrated_on: rows that said which ranges values have; 0 where none did.
        tested: what comparing and timing both came to, on other rows than these where there are any.
        dependence: why its rows are not run together with others', in words; or empty.
    """

    key: str
    origin: str
    method: str
    sizes: tuple[int, int]
    calibrated_on: int
    tested: Tested
    dependence: str

    def as_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.key,
            "origin": self.origin,
            "method": self.method,
            "origin_bytes": self.sizes[0],
            "bytes": self.sizes[1],
            "calibrated_on": self.calibrated_on,
            "dependence": self.dependence,
            "tested": as_json(self.tested),
        }


def make(asked: Asked, note: Note = lambda _what: None) -> Made:
    """Make the next version of a model; blocks.

    Raises:
        ServingError: there is no such model, the rows are none of its, or what came out cannot be served;
            then nothing was made.
    """
    source = _source(asked)
    shared_out = _shared_out(asked, source)
    note(f"checking {asked.key}")
    base = open_model(asked.models, asked.key, asked.threads)
    ours, theirs = (rows_of(each, base.model.signature) for each in shared_out)
    with tempfile.TemporaryDirectory(prefix=".variant-", dir=asked.models) as scratch:
        aside = Path(scratch) / source.name / _next(asked.models / source.name)
        aside.mkdir(parents=True)
        note(f"converting it to {asked.method.name}")
        origin = {"model": asked.key, "sha256": base.sha256}
        convert(source.path, aside / MODEL_FILE, asked.method, ours.feeds, origin)
        _configure(source, aside.parent)
        note("checking the variant")
        candidate = open_model(Path(scratch), f"{source.name}/{aside.name}", asked.threads)
        note("holding both against each other")
        tested = differential(base, candidate, theirs, None, asked.timing_seconds)
        sizes = source.path.stat().st_size, (aside / MODEL_FILE).stat().st_size
        key = f"{source.name}/{_put(aside, asked.models / source.name)}"
    calibrated_on = len(ours) if asked.method.calibrated else 0
    tested = replace(tested, candidate=replace(tested.candidate, key=key))
    return Made(key, asked.key, asked.method.name, sizes, calibrated_on, tested, candidate.dependence)


def _source(asked: Asked) -> ModelEntry:
    name, _, version = asked.key.partition("/")
    if not asked.models.is_dir():
        raise InvalidInput(f"{asked.models}: variants are made in a folder of models")
    source = open_source(asked.models).find(name, version)
    if source.path.name != MODEL_FILE:
        raise InvalidModel(f"{asked.key} is {source.path.name}, and only {MODEL_FILE} can be converted")
    return source


def _columns(asked: Asked, source: ModelEntry) -> Columns:
    log = Log(asked.requests_to or source.name, asked.since_seconds, MOST_LOGGED)
    wrong = "--since and --requests-to go with --calibrate records:PLACE; a file is read whole"
    of_log = asked.since_seconds is not None or asked.requests_to
    return columns_asked(asked.rows, log, lambda: _beside(asked, source), wrong if of_log else "")[0]


def _beside(asked: Asked, source: ModelEntry) -> Path:
    path = asked.models / source.name / "heldout.npz"
    if not path.exists():
        raise InvalidInput(f"on which rows? name a file by --calibrate; there is no {path}")
    return path


def _shared_out(asked: Asked, source: ModelEntry) -> tuple[Columns, Columns]:
    """Every second row to calibrate with, the others to compare on; all of them where only one has a use."""
    columns = _columns(asked, source)
    if not asked.method.calibrated or columns.rows < 2:
        return columns, columns
    return _every_second(columns, 0, 2 * CALIBRATED_ON), _every_second(columns, 1, None)


def _every_second(columns: Columns, first: int, end: int | None) -> Columns:
    part = slice(first, end, 2)
    lines = None if columns.lines is None else columns.lines[part]
    return Columns(columns.file, {name: cells[part] for name, cells in columns.by_name.items()}, lines)


def _configure(source: ModelEntry, folder: Path) -> None:
    """What the model's configuration says holds for its variant, too."""
    beside = source.root / source.name
    for name in (CONFIG_FILE, TRITON_FILE, source.config.warmup):
        if name and (beside / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(beside / name, folder / name)


def _next(folder: Path) -> str:
    """The number after the highest that is there, served or not."""
    return str(1 + max(int(each.name) for each in folder.iterdir() if is_version(each.name)))


def _put(aside: Path, folder: Path) -> str:
    """Give a finished version its name in one step; its number, which may be another one by now."""
    for file in aside.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    while True:
        number = _next(folder)
        try:
            aside.rename(folder / number)
        except OSError:
            if not (folder / number).exists():
                raise
        else:
            sync_folder(folder)
            return number
