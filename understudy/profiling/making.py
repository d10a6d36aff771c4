"""Rows of a reference -> the profile of a model: its inputs, and what it answers to them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from router.drift.beside import PROFILE_FILE
from router.drift.features import Column, columns, uncounted
from router.drift.profile import Profile, profile_of
from serving.errors import InvalidInput
from serving.places import Origin, beside
from serving.sources.opening import open_source
from serving.wire.tensors import Array
from understudy.offline.data.asked import Log, columns_asked
from understudy.offline.data.columns import Columns
from understudy.offline.data.rows import Rows, rows_of
from understudy.offline.running import Opened, open_model, run
from understudy.profiling.sagemaker import STATISTICS, baseline

Note = Callable[[str, int, int], None]
"""Is told what is being done, and how many of how many rows are done."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be profiled.

    Args:
        models: where the model comes from.
        key: `name/version`.
        rows: a file, or `records:` and a place of the prediction log; empty for the `heldout.npz` beside it.
        requests_to: the public name in the log; empty for the model's own.
        since_seconds: of the log, only requests that arrived at most so long ago.
        limit: of rows; None for all of a file.
        threads: of one run of the model.
    """

    models: Path | Origin
    key: str
    rows: str = ""
    requests_to: str = ""
    since_seconds: float | None = None
    limit: int | None = None
    threads: int = 1


def reference(asked: Asked, note: Note) -> Profile:
    """The profile of these rows, over bins of their own.

    Raises:
        ServingError: rows or model cannot be used; says which, where, and what would do.
    """
    if Path(asked.rows).suffix.lower() == STATISTICS:
        if asked.limit or asked.since_seconds is not None or asked.requests_to:
            raise InvalidInput(f"{asked.rows}: --limit, --since and --requests-to choose rows; it has none")
        opened = open_model(asked.models, asked.key, asked.threads)
        return baseline(Path(asked.rows), asked.key, opened.model.signature)
    opened, rows = _opened(asked)
    signature = opened.model.signature
    skipped = (*uncounted(signature.inputs), *uncounted(signature.outputs))
    of_rows = _columns_of(opened, rows, note)
    file = rows.columns.file
    source = file if file.startswith("records:") else Path(file).name  # its folder is nobody else's business
    return profile_of(
        asked.key,
        opened.sha256,
        f"{len(rows)} rows of {source}",
        of_rows,
        skipped,
        signature,
        opened.model.labels,
    )


def counted(asked: Asked, onto: Profile, note: Note) -> Profile:
    """These rows, counted over the bins of a profile.

    Raises:
        ServingError: as `reference`; or the profile is of another model.
    """
    if onto.model.partition("/")[0] != asked.key.partition("/")[0]:
        raise InvalidInput(f"the profile is of {onto.model}, and not of {asked.key}")
    opened, rows = _opened(asked)
    return onto.empty.counted(_columns_of(opened, rows, note, onto))


def known(models: Path | Origin, key: str) -> Path | None:
    """The profile beside a model: of this version, else of all versions; None where there is none."""
    name, _, version = key.partition("/")
    return beside(models, name, f"{version}/{PROFILE_FILE}") or beside(models, name, PROFILE_FILE)


def place_of(models: Path | Origin, key: str) -> Path:
    """Where the profile of a version belongs: in the version's folder.

    Raises:
        InvalidInput: the model is in no folder of this machine.
        ServingError: there is no such model.
    """
    name, slash, version = key.partition("/")
    if not slash:
        raise InvalidInput(f"{key!r}: expected a model and its version, e.g. digits/2")
    path = open_source(models).find(name, version).path
    if path.parent != beside(models, name, version):
        raise InvalidInput(f"{key} is in no folder here; name a file for its profile by --output")
    return path.parent / PROFILE_FILE


def _opened(asked: Asked) -> tuple[Opened, Rows]:
    found = _columns(asked)
    opened = open_model(asked.models, asked.key, asked.threads)
    return opened, rows_of(found, opened.model.signature)


def _columns(asked: Asked) -> Columns:
    log = Log(asked.requests_to or asked.key.partition("/")[0], asked.since_seconds, asked.limit)
    wrong = "--since and --requests-to go with records:PLACE; a file is read whole"
    of_log = asked.since_seconds is not None or asked.requests_to
    found, _ = columns_asked(asked.rows, log, lambda: _beside(asked), wrong if of_log else "")
    return found.first(asked.limit)


def _beside(asked: Asked) -> Path:
    name = asked.key.partition("/")[0]
    path = beside(asked.models, name, "heldout.npz")
    if path is None:
        raise InvalidInput(f"of which rows? name a file; there is no {name}/heldout.npz in a folder")
    return path


def _columns_of(opened: Opened, rows: Rows, note: Note, onto: Profile | None = None) -> Iterator[Column]:
    """The features of rows, and of what the model answers to them; what it refuses has no answer."""
    signature, features = opened.model.signature, None if onto is None else onto.features
    yield from columns(signature.inputs, "input", rows.feeds, profiled=features)
    if features is None or any(feature.side == "output" for feature in features.values()):
        answers = list(_answers(opened, rows, note))
        yield from columns(signature.outputs, "output", answers, opened.model.labels, features)


def _answers(opened: Opened, rows: Rows, note: Note) -> Iterator[Mapping[str, Array]]:
    every = max(len(rows) // 200, 1)
    for number, feeds in enumerate(rows.feeds, 1):
        yield run(opened, feeds).outputs or {}
        if number % every == 0 or number == len(rows):
            note("answering", number, len(rows))
