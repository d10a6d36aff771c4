"""Which rollouts a change touches: the rollout file now and at a revision of git, compared as documents.

Law: what is compared is what a document means. Comments, order and layout touch nothing; other bytes of a
model that a rollout names touch it, although its document is the same.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from router.drift.beside import PROFILE_FILE
from router.rollout.parser import parse_each
from router.rollout.values import Rollout
from serving.document import DocumentError
from serving.errors import InvalidInput
from serving.places import Origin, folders

FETCH = "a shallow clone has few revisions: fetch it first (`fetch-depth: 0`, or `git fetch origin REVISION`)"


@dataclass(frozen=True, slots=True)
class Change:
    """A rollout that a change touches.

    Args:
        model: public name.
        why: what is other, in words.
        before: None where it is new, or was at fault.
        after: None where it is at fault.
        fault: why it cannot be served.
    """

    model: str
    why: str
    before: Rollout | None
    after: Rollout | None
    fault: DocumentError | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a change does to a rollout file.

    Args:
        base: the commit that it is held against.
        content: of the file now.
        touched: rollouts that are new or other, in the order of the file.
        removed: names of rollouts that are there no more.
        notes: what could not be compared, in words.
    """

    base: str
    content: bytes
    touched: tuple[Change, ...]
    removed: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sides:
    """The rollouts of one side, and the faults of those that cannot be served, by public name."""

    rollouts: Mapping[str, Rollout] = field(default_factory=dict)
    faults: Mapping[str, DocumentError] = field(default_factory=dict)


def changes(revision: str, file: Path, models: Path | Origin) -> Changes:
    """Compare a rollout file, and the models beside it, with a revision.

    Args:
        revision: of git, in whose repository the file lies.
        file: the rollout file.
        models: where they come from.

    Raises:
        InvalidInput: there is no such file, repository or revision.
        DocumentError: nothing of the file can be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}; name the rollout file by --rollouts") from None
    base = _commit(file.parent, revision)
    now, before = Sides(*parse_each(content, str(file))), _before(base, file)
    others = [_other_models(base, folder) for folder in folders(models)]
    other = frozenset(model for changed, _ in others for model in changed)
    notes = tuple(words for _, problems in others for words in problems)
    return Changes(
        base,
        content,
        tuple(_touched(now, before, other)),
        tuple(
            sorted((before.rollouts.keys() | before.faults.keys()) - now.rollouts.keys() - now.faults.keys())
        ),
        notes,
    )


def _touched(now: Sides, before: Sides, other: frozenset[str]) -> list[Change]:
    """What is new, other or at fault."""
    found = []
    for model in [*now.rollouts, *now.faults]:
        after, earlier = now.rollouts.get(model), before.rollouts.get(model)
        if after is None:
            found.append(Change(model, "it is at fault", earlier, None, now.faults[model]))
        elif earlier != after:
            found.append(Change(model, "it is new" if earlier is None else "its document", earlier, after))
        elif theirs := [target for target in _targets(after) if target in other]:
            found.append(Change(model, f"files of {', '.join(theirs)}", earlier, after))
    return found


def _targets(rollout: Rollout) -> list[str]:
    """Models of the repository that a rollout names."""
    candidates = [each.target for each in rollout.all_candidates]
    targets = [rollout.stable, *candidates, *(shadow.target for shadow in rollout.shadows)]
    return list(dict.fromkeys(target.model for target in targets if target.url is None))


# ------------------------------------------------------------------ git


def _git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    try:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, check=False)  # noqa: S603  (ours; no shell)
    except OSError as error:
        raise InvalidInput(
            f"git: {error.strerror}; the base is a revision of git, which has to be there"
        ) from None


def _said(done: "subprocess.CompletedProcess[bytes]") -> str:
    """What git says is wrong, in a line."""
    return done.stderr.decode(errors="replace").strip().partition("\n")[0]


def _commit(folder: Path, revision: str) -> str:
    """The full name of a commit."""
    found = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        why = _said(found) or f"there is no revision {revision!r} here; {FETCH}"
        raise InvalidInput(f"--base: {why}")
    return found.stdout.decode().strip()


def _before(base: str, file: Path) -> Sides:
    """What the file said at a commit; nothing where it was not there or could not be read."""
    shown = _git(file.parent, "show", f"{base}:./{file.name}")
    if shown.returncode:
        return Sides()
    try:
        return Sides(*parse_each(shown.stdout, f"{base[:12]}:{file.name}"))
    except DocumentError:
        return Sides()


def _other_models(base: str, models: Path) -> tuple[frozenset[str], tuple[str, ...]]:
    """Models, `name/version`, whose files are other than at a commit; and what could not be compared.

    A file beside the versions, such as `config.yaml`, belongs to each of them; `heldout.npz` to none.
    A profile changes nothing that is answered.
    """
    if not models.is_dir():
        return frozenset(), ()
    lists = (
        _git(models, "diff", "--name-only", "--relative", "-z", base, "--", "."),
        _git(models, "ls-files", "--others", "--exclude-standard", "-z", "--", "."),
    )
    for done in lists:
        if done.returncode:
            return frozenset(), (f"{models}: which models are other is not known: {_said(done)}",)
    found: set[str] = set()
    for path in (Path(name) for done in lists for name in done.stdout.decode().split("\0") if name):
        if path.name == PROFILE_FILE:
            continue
        match path.parts:
            case (name, version, _, *_):
                found.add(f"{name}/{version}")
            case (name, beside) if beside != "heldout.npz":
                found.update(f"{name}/{folder.name}" for folder in (models / name).glob("*/"))
    return frozenset(found), ()
