"""A store of models elsewhere as a source: what it has is fetched whole, kept, and served when it is away.

Law: a version is taken only when its listing is the same before and after its files came, each of its listed
size and tag; so of a version that is being uploaded or overwritten there is nothing here, or all of one state
of it. Each call asks the store, for a second or two at most; while it is away, what was fetched before is
what there is.
"""

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import close
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from serving.errors import InvalidModel, NotFound, ServingError
from serving.models.files.config import ModelConfig, is_version
from serving.models.files.repository import (
    DEFINITIONS,
    MODEL_FILE,
    ModelEntry,
    Repository,
    chosen,
    is_name,
    read,
)
from serving.places import Origin
from serving.sources.absence import Absence
from serving.sources.cache import Cache, size_in_words
from serving.sources.download import download, pause
from serving.sources.remote import Away, Changed, Progress, Remote, RemoteFile
from serving.sources.shelf import Shelf, key_of
from serving.sources.stagger import delay

log = structlog.get_logger()

TRIES: Final = 3
"""So often a version is begun anew because it changed while it came."""
NEW_SECONDS: Final = 60.0
"""A version with a file that was put later than that may still be under way; clocks differ by less."""
REST_SECONDS: Final = 2.0
"""So long the listing of such a version has to stay the same, where it has several files."""
BESIDE_SHELF: Final = "beside"
"""The shelf of what lies beside all versions of a model; no version is called so."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """One version as the store lists it.

    Attributes:
        files: its own and those beside it, by path.
        at: when it was listed, by the monotonic clock.
    """

    name: str
    version: str
    files: tuple[RemoteFile, ...]
    at: float = field(compare=False)

    @property
    def beside(self) -> tuple[RemoteFile, ...]:
        """Those that are of all versions."""
        return tuple(file for file in self.files if not self._is_own(file))

    def rests_at(self, now: float) -> float:
        """When it may be taken if it is listed the same once more, by the monotonic clock.

        Files that are put one after the other are not to be met in between. Of a store where nothing is
        overwritten, or where the last file has been there for a while, nobody waits.

        Args:
            now: seconds since 1970.
        """
        own = [file.put_at for file in self.files if self._is_own(file)]
        return self.at + REST_SECONDS if len(own) > 1 and max(own) > now - NEW_SECONDS else self.at

    def _is_own(self, file: RemoteFile) -> bool:
        return file.path.startswith(f"{self.name}/{self.version}/")


class Fetched:
    """A remote behind the cache of this machine, which is a `serving.models.files.source.Source`.

    Args:
        remote: the store.
        origin: how what comes is kept.
        lasting: what is found stays here while this process lives.
        progress: told of each file as it comes.
        sleep: waits so many seconds.

    Attributes:
        problems: as of every source.
    """

    def __init__(
        self,
        remote: Remote,
        origin: Origin,
        *,
        lasting: bool = False,
        progress: Progress | None = None,
        sleep: Callable[[float], None] = pause,
    ) -> None:
        self.problems: tuple[str, ...] = ()
        self._progress = progress or (lambda _file, _done: None)
        self._remote = remote
        self._cache = Cache(origin.cache, origin.cache_bytes)
        self._stagger_seconds = origin.stagger_seconds
        self._absence = Absence(remote.url, self._cache.store(remote.url) / "away")
        self._lasting = lasting
        self._leases: dict[tuple[str, str], int] = {}
        self._sleep = sleep

    # ------------------------------------------------------------------ a source

    def discover(self) -> tuple[ModelEntry, ...]:
        """As `Source`; fetches nothing. While the store is away, what is here."""
        problems: list[str] = []
        try:
            keys = self._models()
            problems += self._remote.problems
        except Away as error:
            problems.append(f"{error}; what was fetched before is there")
            keys = tuple(self._cache.versions(self._remote.url))
        for name, version in keys:
            if not is_name(name):
                problems.append(f"{name!r}: not a name for a model (letters, digits, . _ and -)")
            elif not is_version(version):
                problems.append(
                    f"{name}/{version}: a version is a positive whole number without leading zeros"
                )
        self.problems = tuple(dict.fromkeys(problems))
        return tuple(self._here_or_not(*key) for key in _in_order(keys))

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        try:
            keys = self._models()
        except Away:
            keys = tuple(self._cache.versions(self._remote.url))
            if not any(key[0] == name for key in keys) and self._cache.may_have(self._remote.url, name):
                raise
        entries = [self._here_or_not(*key) for key in _in_order(keys) if key[0] == name]
        if not entries:
            raise NotFound(f"no model {name[:130]!r} in {self._remote.url}")
        config = self._config(name, entries[-1])
        return tuple(reversed(chosen([replace(entry, config=config) for entry in entries])))

    def configured(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        listed = self._listed(name, version)
        shelf = self._shelf(name, BESIDE_SHELF)
        root = self._have(shelf, listed, listed.beside) if listed.beside else shelf.folder / "none"
        return ModelEntry(name, version, _path(root, name, version), Repository(root).config(name), root)

    def find(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        shelf = self._shelf(name, version)
        try:
            listed = self._listed(name, version)
            folder = self._have(shelf, listed, listed.files)
        except Away as error:
            kept = shelf.latest() if is_name(name) and is_version(version) else None
            if kept is None:
                raise
            log.warning("model from the cache", target=f"{name}/{version}", reason=str(error))
            folder = kept
        self._lease(shelf, name, version, folder)
        return Repository(folder).find(name, version)

    # ------------------------------------------------------------------ asking

    def _models(self) -> tuple[tuple[str, str], ...]:
        """What the store lists; its names are remembered.

        Raises:
            Away: it is.
        """
        keys = self._absence.asked(self._remote.models)
        self._cache.note_names(self._remote.url, {name for name, _ in keys})
        return keys

    def _listed(self, name: str, version: str) -> _Listed:
        """One version as it is listed now.

        Raises:
            Away: the store is.
            NotFound: it has none.
            InvalidModel: it lists what can be no file here.
        """
        if not is_name(name) or not is_version(version):
            raise NotFound(f"no model {name[:130]!r} version {version[:12]!r}")
        at = time.monotonic()
        files = self._absence.asked(lambda: self._remote.files(name, version))
        own = {file.path.removeprefix(f"{name}/{version}/") for file in files}
        if own.isdisjoint(DEFINITIONS):
            yet = f"; {self._remote.url} has files of it, but no {MODEL_FILE} yet" if files else ""
            raise NotFound(f"no model {name!r} version {version!r}{yet}")
        strange = next((file.path for file in files if not _is_plain(file.path, name)), None)
        if strange is not None:
            raise InvalidModel(
                f"{name}/{version}: {self._remote.url} lists {strange!r}, which is no path of it"
            )
        return _Listed(name, version, tuple(sorted(files, key=lambda file: file.path)), at)

    def _config(self, name: str, entry: ModelEntry) -> ModelConfig:
        """Of a model, as it is now or, while the store is away, as it was kept last."""
        try:
            return self.configured(name, entry.version).config
        except Away:
            return entry.config

    # ------------------------------------------------------------------ keeping

    def _shelf(self, name: str, version: str) -> Shelf:
        return self._cache.shelf(self._remote.url, name, version)

    def _here_or_not(self, name: str, version: str) -> ModelEntry:
        """A version of which perhaps nothing is here: its path and configuration are then of nobody."""
        shelf = self._shelf(name, version)
        folder = shelf.peek()  # listing is no use of it
        if folder is not None:
            try:
                return Repository(folder).find(name, version)
            except ServingError:  # of its configuration; whoever loads it says so
                pass
        root = folder or shelf.folder / "none"
        return ModelEntry(name, version, _path(root, name, version), ModelConfig(), root)

    def _have(self, shelf: Shelf, listed: _Listed, files: Sequence[RemoteFile]) -> Path:
        """The folder of these files, fetched where they are not here.

        Raises:
            Away: the store is, or changes them all the time.
            InvalidModel: they do not fit into the cache, or are not those that the configuration says.
        """
        whole = len(files) == len(listed.files)
        for _ in range(TRIES):
            folder = shelf.take(key_of(files))
            if folder is not None:
                return folder
            try:
                self._wait_for_turn(listed, files)
                with shelf.alone():
                    folder = shelf.take(key_of(files)) or self._fetch(shelf, listed, files, whole=whole)
            except OSError as error:
                place = f"{listed.name}/{listed.version}"
                raise InvalidModel(f"{place}: the cache of models: {error.strerror or error}") from None
            if folder is not None:
                return folder
            listed = self._listed(listed.name, listed.version)
            files = listed.files if whole else listed.beside
        raise Away(f"{self._remote.url}: {listed.name}/{listed.version} changes while it is fetched")

    def _fetch(
        self, shelf: Shelf, listed: _Listed, files: Sequence[RemoteFile], *, whole: bool
    ) -> Path | None:
        """Bring these files here, by nobody but this thread; None where they changed meanwhile."""
        missing = [file for file in files if shelf.have(file) is None]
        try:
            self._cache.make_room({shelf.part(file): file.size for file in missing})
        except InvalidModel as error:
            raise InvalidModel(f"{listed.name}/{listed.version}: {error}") from None
        began = time.monotonic()
        try:
            for file in missing:
                download(self._remote, file, shelf.part(file), self._progress, self._sleep)
            if whole:
                self._sleep(max(listed.rests_at(time.time()) - time.monotonic(), 0.0))
            if self._listed(listed.name, listed.version) != listed:
                return None
        except Changed:
            return None
        aside = shelf.assemble(files)
        if whole:
            _check_digest(aside, listed)
            log.info(
                "model fetched",
                target=f"{listed.name}/{listed.version}",
                store=self._remote.url,
                size=size_in_words(sum(file.size for file in missing)),
                seconds=round(time.monotonic() - began, 3),
            )
        return shelf.complete(aside, files, latest=whole)

    def _wait_for_turn(self, listed: _Listed, files: Sequence[RemoteFile]) -> None:
        """Let other nodes of a fleet go first, where that is wanted."""
        what = f"{listed.name}/{listed.version} {key_of(files)}"
        seconds = delay(socket.gethostname(), what, sum(f.size for f in files), self._stagger_seconds)
        if seconds > 0:
            log.info(
                "a large model waits for its turn", target=what.partition(" ")[0], seconds=round(seconds, 1)
            )
            self._sleep(seconds)

    def _lease(self, shelf: Shelf, name: str, version: str, folder: Path) -> None:
        """Hold what was found, in place of what was found before."""
        if not self._lasting:
            return
        before = self._leases.pop((name, version), None)
        held = shelf.hold(folder)
        if held is not None:
            self._leases[name, version] = held
        if before is not None:
            close(before)


def _check_digest(aside: Path, listed: _Listed) -> None:
    """Refuse files that are not those that their configuration says, before anybody meets them.

    Raises:
        InvalidModel: as `serving.models.files.repository.read`.
    """
    entry = Repository(aside).find(listed.name, listed.version)
    if listed.version in entry.config.sha256:
        read(entry)


def _path(root: Path, name: str, version: str) -> Path:
    return root / name / version / MODEL_FILE


def _in_order(keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that can be models, by name and then number."""
    good = {key for key in keys if is_name(key[0]) and is_version(key[1])}
    return sorted(good, key=lambda key: (key[0], int(key[1])))


def _is_plain(path: str, name: str) -> bool:
    parts = PurePosixPath(path).parts
    return (
        parts[:1] == (name,) and ".." not in parts and "\0" not in path and str(PurePosixPath(path)) == path
    )
