"""The models that a process loads by the digest of their bytes, and the folder that keeps those bytes.

Law: what control accepted is what is loaded, or nothing is. Accepted bytes are kept in the state folder, each
under its digest, as a small repository of their own; so a file that was overwritten or is gone is no outage,
and other bytes never take the place of those that were judged. `config.yaml` is no part of the digest: the
repository's own is followed where it can be read.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import structlog

from router.rollout.snapshot import Pin
from serving.errors import InvalidModel, ServingError
from serving.host.whole_files import write_whole
from serving.models.files.repository import (
    CONFIG_FILE,
    ModelEntry,
    ModelFiles,
    Repository,
    definition,
    read,
)
from serving.models.files.source import Source
from serving.models.kinds import verify
from serving.models.runtime import Runtime
from serving.models.served_model import ServedModel
from serving.places import Origin
from serving.sources.opening import open_source
from serving.sources.permitting import permits
from serving.telemetry.cells import Metrics

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a load that failed is tried again, doubling."""


def pauses() -> Iterator[float]:
    """How long to wait before each further try of a load."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


class PinnedRepository(Repository):
    """A repository that holds the bytes of one digest.

    Args:
        source: from which they are taken when they are not kept yet.
        folder: where bytes are kept; this one's are in a folder named by the digest.
        sha256: the digest, as of `serving.models.files.repository.ModelFiles`.
    """

    def __init__(self, source: Source, folder: Path, sha256: str) -> None:
        super().__init__(folder / sha256)
        self._source = source
        self._python_steps = permits(source)
        self._sha256 = sha256

    def find(self, name: str, version: str) -> ModelEntry:
        """As `Repository`; whoever reads the entry refuses other bytes than the digest's."""
        entry = super().find(name, version)
        config = replace(entry.config, sha256={version: self._sha256})
        return replace(entry, config=config, python_steps=self._python_steps)

    def keep(self, name: str, version: str) -> None:
        """See to it that the bytes are kept, and its configuration as new as can be; blocks.

        Raises:
            InvalidModel, NotFound: they are not kept, and the source has other bytes or none.
            OSError: they cannot be written.
        """
        if definition(self.root / name / version) is not None:
            with suppress(ServingError, OSError):  # as it was kept, then
                self._follow_config(self._source.configured(name, version))
            return
        entry = self._source.find(name, version)
        files = read(entry)
        if files.sha256 != self._sha256:
            raise InvalidModel(
                f"{name}/{version}: its files are not those that were accepted (SHA-256 {files.sha256[:12]},"
                f" accepted {self._sha256[:12]}); put those back, or apply the rollout again to take these"
            )
        self._write(entry, files)

    def drop(self, name: str, version: str) -> None:
        """Forget the bytes: they are not what they should be."""
        shutil.rmtree(self.root / name / version, ignore_errors=True)

    def _write(self, entry: ModelEntry, files: ModelFiles) -> None:
        """Write what stands beside the version first: once its folder is there, the model is kept.

        Other models and versions may have the same bytes, so the folder of the digest may be there.
        """
        home = self.root / entry.name
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root.parent))
        try:
            folder = temporary / entry.version
            for location, data in {entry.path.name: files.content, **files.external}.items():
                (folder / location).parent.mkdir(parents=True, exist_ok=True)
                (folder / location).write_bytes(data)
            if entry.config.warmup is not None and files.warmup is not None:
                warmup = home / entry.config.warmup
                warmup.parent.mkdir(parents=True, exist_ok=True)
                warmup.write_bytes(files.warmup)
            config = entry.root / entry.name / CONFIG_FILE
            if config.exists():
                write_whole(home / CONFIG_FILE, config.read_bytes())
            folder.rename(home / entry.version)
        except OSError:
            if definition(home / entry.version) is None:  # else another process was quicker
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _follow_config(self, entry: ModelEntry) -> None:
        """Take over a configuration that was edited, unless it speaks of other bytes."""
        if entry.config.sha256.get(entry.version, self._sha256) != self._sha256:
            return
        source, kept = entry.root / entry.name / CONFIG_FILE, self.root / entry.name / CONFIG_FILE
        if not source.exists():
            kept.unlink(missing_ok=True)
        elif not kept.exists() or source.read_bytes() != kept.read_bytes():
            write_whole(kept, source.read_bytes())
        if entry.config.warmup is not None:
            data = (entry.root / entry.name / entry.config.warmup).read_bytes()
            (self.root / entry.name / entry.config.warmup).write_bytes(data)


class PinnedModels:
    """Pin -> ready model, in one process.

    Args:
        models: where they come from.
        folder: where accepted bytes are kept.
        metrics: the cells of this process.
        verified: a folder that remembers which files passed verification.
        threads: what one run may use.
    """

    def __init__(
        self, models: Path | Origin, folder: Path, metrics: Metrics, verified: Path, threads: int
    ) -> None:
        self.ready: dict[Pin, ServedModel] = {}
        self._source = open_source(models)
        self._folder = folder
        self._metrics = metrics
        self._verified = verified
        self._threads = threads
        self._runtimes: dict[Pin, Runtime] = {}

    async def verify_ahead(self, pins: Iterable[Pin]) -> None:
        """Check several models in one process, which is what `load` then remembers; saves its start-up."""
        wanted = [pin for pin in pins if pin not in self.ready]
        if len(wanted) > 1:
            await asyncio.to_thread(self._verify, wanted)

    def _verify(self, pins: Iterable[Pin]) -> None:
        entries = []
        for pin in pins:
            with suppress(ServingError, OSError):  # `load` says what is wrong
                entries.append(self._found(pin, self._of(pin)))
        verify(entries, threads=self._threads, cache=self._verified)

    async def load(self, pin: Pin) -> ServedModel:
        """Load a model unless it is ready already.

        Raises:
            NotFound: the repository has no such model, and its bytes are not kept.
            InvalidModel: it was refused.
        """
        served = self.ready.get(pin)
        if served is not None:
            return served
        source = self._of(pin)
        await asyncio.to_thread(self._found, pin, source)
        runtime = Runtime(source, self._metrics, self._verified, self._threads)
        served = await runtime.load(*pin.model.split("/"))
        self._runtimes[pin] = runtime
        self.ready[pin] = served
        return served

    def _of(self, pin: Pin) -> Source:
        if not pin.sha256:
            return self._source
        return PinnedRepository(self._source, self._folder, pin.sha256)

    def _found(self, pin: Pin, source: Source) -> ModelEntry:
        """The model on disk, kept first where it is pinned; bytes that went bad are taken anew."""
        name, version = pin.model.split("/")
        if isinstance(source, PinnedRepository):
            keep(source, name, version)
        return source.find(name, version)

    async def unload(self, pin: Pin) -> None:
        """Take a model down once its last request is answered."""
        self.ready.pop(pin, None)
        runtime = self._runtimes.pop(pin, None)
        if runtime is not None:
            await runtime.close()

    async def close(self) -> None:
        """Unload everything."""
        for pin in list(self._runtimes):
            await self.unload(pin)


def keep(repository: PinnedRepository, name: str, version: str) -> None:
    """As `PinnedRepository.keep`, and once more from the source where what is kept went bad; blocks.

    Raises:
        InvalidModel, NotFound: neither has the bytes.
    """
    try:
        repository.keep(name, version)
        read(repository.find(name, version))
    except OSError as error:
        raise InvalidModel(f"{name}/{version}: its bytes cannot be kept: {error.strerror}") from None
    except InvalidModel:
        if not (repository.root / name / version).exists():
            raise  # it is the source that has other bytes
        log.warning("kept bytes of a model went bad; they are taken anew", target=f"{name}/{version}")
        repository.drop(name, version)
        try:
            repository.keep(name, version)
        except OSError as error:
            raise InvalidModel(f"{name}/{version}: its bytes cannot be kept: {error.strerror}") from None
