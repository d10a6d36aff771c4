"""Models of an MLflow registry, as a store elsewhere: a `serving.sources.remote.Remote`.

A version is one here when it is ready and logged with the ONNX flavor: the file that its `MLmodel` names is
`model.onnx`, and what lies beside that file comes with it, MLflow's own packaging left out. Two files are
made here: `lineage.json` of each version, from what the registry and its run say, and `config.yaml` of a
model, which is the tag `understudy.config` of the registered model.

Law: the same listing, the same bytes. What a version was logged as never changes, and is asked for once.
What else is said of a version holds for `LATELY_SECONDS`: a server with accounts takes a third of a second
for each call, and who accepts a document asks several times.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from serving.document import Node, parse
from serving.errors import Forbidden, InvalidInput, InvalidModel, NotFound
from serving.models.files.config import is_version
from serving.models.files.lineage import LINEAGE_FILE
from serving.models.files.repository import CONFIG_FILE, MODEL_FILE, is_name
from serving.sources.mlflow.api import Artifact, ModelVersion, Registry, Run, proxied
from serving.sources.remote import Away, Changed, RemoteFile

CONFIG_TAG: Final = "understudy.config"
"""Of a registered model: the text of its config.yaml."""
ASK_SECONDS: Final = 10.0
MOST_FILES: Final = 1000
LATELY_SECONDS: Final = 10.0
PACKAGING: Final = frozenset(
    {
        "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "constraints.txt", "README.md",
        "input_example.json", "serving_input_example.json", "registered_model_meta", "metadata", "code",
        CONFIG_FILE, LINEAGE_FILE,
    }
)  # fmt: skip
"""What MLflow writes beside a model; and names that are ours."""

_THREADS = 8
_MADE = "made "  # begins the place of a file that is made here


@dataclass(frozen=True, slots=True)
class _Logged:
    """What a version was logged as.

    Attributes:
        folder: of its ONNX file, as a URI of the proxy.
        file: its name there; empty where it has no ONNX model.
    """

    folder: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class _Unusable:
    """Why nobody knows what a version was logged as; `lasting` where it stays so, whatever is uploaded."""

    reason: str
    lasting: bool = False


class MlflowRemote:
    """The registry of an MLflow server.

    Args:
        url: `mlflow+http(s)://host[:port][/prefix]`.
        registry: its client, for tests; else by the environment.
        clock: monotonic seconds.

    Raises:
        InvalidInput: as `Registry`.
    """

    def __init__(
        self, url: str, registry: Registry | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registry = registry or Registry(url, seconds=ASK_SECONDS)
        self.url = f"mlflow+{self.registry.url}"
        self.problems: tuple[str, ...] = ()
        self._clock = clock
        self._logged: dict[tuple[str, str, str, float], _Logged | _Unusable] = {}
        self._entries: dict[str, tuple[Artifact, ...]] = {}  # by the folder of a version
        self._lately: dict[tuple[str, str], tuple[float, tuple[RemoteFile, ...]]] = {}
        self._made: dict[str, bytes] = {}

    def models(self) -> tuple[tuple[str, str], ...]:
        """As `Remote`; each version is opened once, to see what is in it."""
        with self._in_words():
            versions = list(self.registry.versions())
            good = [one for one in versions if one.ready and is_name(one.name) and is_version(one.version)]
            with ThreadPoolExecutor(_THREADS) as pool:
                logged = list(zip(good, pool.map(self._logged_as, good), strict=True))
        names = sorted({one.name for one in versions if not is_name(one.name)})
        problems = [f"{name[:130]!r}: not a name for a model (letters, digits, . _ and -)" for name in names]
        problems += [f"{one.name}/{one.version}: not ready" for one in versions if not one.ready]
        unusable = [(one, was.reason) for one, was in logged if isinstance(was, _Unusable)]
        problems += [f"{one.name}/{one.version}: {reason}" for one, reason in unusable]
        others = [one for one, was in logged if isinstance(was, _Logged) and not was.file]
        if others:
            first = f"{others[0].name}/{others[0].version}"
            problems.append(f"{len(others)} versions without an ONNX model are left out, {first} for one")
        self.problems = tuple(problems)
        return tuple((one.name, one.version) for one, was in logged if isinstance(was, _Logged) and was.file)

    def files(self, name: str, version: str) -> tuple[RemoteFile, ...]:
        """As `Remote`; what was there lately.

        Raises:
            InvalidModel: its files are where this server passes nothing on, or are none.
        """
        at, files = self._lately.get((name, version), (-math.inf, ()))
        if self._clock() - at <= LATELY_SECONDS:
            return files
        self._lately.pop((name, version), None)
        files = self._files(name, version)
        if files:
            self._lately[name, version] = self._clock(), files
        return files

    def _files(self, name: str, version: str) -> tuple[RemoteFile, ...]:
        with self._in_words():
            try:
                found = self.registry.version(name, version)
                logged = self._logged_as(found) if found.ready else _Logged()
                if isinstance(logged, _Unusable):
                    words = f"{name}/{version}: {logged.reason}"
                    raise InvalidModel(words) if logged.lasting else Changed(f"{self.url}: {words}")
                if not logged.file:
                    return ()
                entries = self._entries_of(logged)
                config = self.registry.model(name).tags.get(CONFIG_TAG, "")
            except NotFound:
                return ()
            made = [self._make(f"{name}/{version}/{LINEAGE_FILE}", self._lineage(found))]
        if config:
            made.append(self._make(f"{name}/{CONFIG_FILE}", config.encode()))
        files = [
            RemoteFile(
                f"{name}/{version}/{MODEL_FILE if entry.path == logged.file else entry.path}",
                entry.size,
                f"{logged.folder} {found.created:.3f} {entry.size}",
                f"{logged.folder}/{entry.path}",
            )
            for entry in entries
            if entry.path == logged.file or entry.path != MODEL_FILE
        ]
        return (*files, *made)

    def read(self, file: RemoteFile, start: int = 0) -> Iterator[bytes]:
        """As `Remote`."""
        if file.place.startswith(_MADE):
            made = self._made.get(file.tag)
            if made is None:
                raise Changed(f"{self.url}: {file.path} is to be listed again")
            yield made[start:]
            return
        try:
            with self._in_words():
                yield from self.registry.read(file.place, start)
        except Changed:
            self._lately.clear()
            raise

    def _logged_as(self, version: ModelVersion) -> _Logged | _Unusable:
        """What it was logged as, or why that cannot be known; what is known is remembered."""
        known = self._logged.get(_key(version))
        if known is not None:
            return known
        try:
            uri = self.registry.artifact_uri(version.name, version.version)
            if proxied(uri) is None:
                return _Unusable(_elsewhere(uri), lasting=True)
            description = b"".join(_first(self.registry.read(f"{uri}/MLmodel"), 1 << 20))
        except NotFound:
            return _Unusable("nothing was logged for it, or it is gone")
        except Forbidden as error:
            return _Unusable(str(error))
        logged = self._logged[_key(version)] = _onnx(uri, description)
        return logged

    def _entries_of(self, logged: _Logged) -> tuple[Artifact, ...]:
        """The files that were logged; once the model is among them, there come no others."""
        known = self._entries.get(logged.folder)
        if known is not None:
            return known
        found = tuple(self._below(logged.folder, ""))
        if any(entry.path == logged.file for entry in found):
            self._entries[logged.folder] = found
        return found

    def _below(self, folder: str, path: str) -> Iterator[Artifact]:
        """Files in a folder and below it, by their path in it; at most `MOST_FILES`."""
        count = 0
        for entry in self.registry.artifacts(f"{folder}/{path}" if path else folder):
            place = f"{path}/{entry.path}" if path else entry.path
            if not path and entry.path in PACKAGING:
                continue
            below = self._below(folder, place) if entry.folder else iter([Artifact(place, entry.size)])
            for one in below:
                count += 1
                if count > MOST_FILES:
                    raise Away(f"{self.url}: {folder} has more than {MOST_FILES} files")
                yield one

    def _lineage(self, version: ModelVersion) -> bytes:
        run = None
        if version.run_id:
            try:
                run = self.registry.run(version.run_id)
            except (NotFound, Forbidden):  # then its number is all that is known
                run = None
        return orjson.dumps(_claims(self.registry.url, version, run), option=orjson.OPT_INDENT_2)

    def _make(self, path: str, content: bytes) -> RemoteFile:
        tag = hashlib.sha256(content).hexdigest()
        self._made[tag] = content
        return RemoteFile(path, len(content), tag, _MADE + path)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """What the client raises, as what a remote may."""
        try:
            yield
        except NotFound as error:
            raise Changed(f"{self.url}: {error}") from None
        except (Forbidden, InvalidInput) as error:  # of what was asked about: the server itself is there
            raise Changed(str(error)) from None


def _key(version: ModelVersion) -> tuple[str, str, str, float]:
    """What tells a version from another one that was registered by its name and number later."""
    return version.name, version.version, version.source, version.created


def _elsewhere(uri: str) -> str:
    scheme, found, place = uri.partition("://")
    bucket = place.partition("/")[0].rpartition("@")[2]
    where = f"{scheme}://{bucket}" if found and scheme != "file" else "a folder of some machine"
    return (
        f"its files are in {where[:200]}, which this MLflow does not pass on: log it in an experiment whose "
        "artifacts it passes on (mlflow server --serve-artifacts; what was logged before stays where it is), "
        "or put its file into a place of models (understudy models push)"
    )


def _onnx(uri: str, description: bytes) -> _Logged | _Unusable:
    """What an `MLmodel` says of the ONNX model; nothing where it is none, words where it cannot be read."""
    try:
        found: Node | None = parse(description, "MLmodel")
    except InvalidInput as error:
        return _Unusable(str(error), lasting=True)
    for key in ("flavors", "onnx", "data"):
        found = found.value.get(key) if found is not None and isinstance(found.value, dict) else None
    data = found.value if found is not None else None
    if not isinstance(data, str) or ".." in data.split("/") or not data.strip("/"):
        return _Logged()
    folder, _, file = data.strip("/").rpartition("/")
    return _Logged(f"{uri}/{folder}" if folder else uri, file)


def _first(pieces: Iterator[bytes], most_bytes: int) -> Iterator[bytes]:
    """Not more than so many bytes, about."""
    for piece in pieces:
        yield piece
        most_bytes -= len(piece)
        if most_bytes <= 0:
            return


def _claims(server: str, version: ModelVersion, run: Run | None) -> dict[str, Any]:
    """What the registry says of a version, in the form of `serving.models.files.lineage`."""
    tags = run.tags if run is not None else {}
    place = f"{server}/#/models/{version.name}/versions/{version.version}"
    commit, repository = tags.get("mlflow.source.git.commit", ""), tags.get("mlflow.source.git.repoURL", "")
    data = [
        " ".join(part for part in (one.name, one.digest, one.source) if part)
        for one in (run.datasets if run is not None else ())
    ]
    claims = [
        ("registered_as", f"{version.name} version {version.version}", place),
        ("registered_by", version.user or (run.user if run is not None else ""), ""),
        ("registered_at", _utc(version.created), ""),
        ("run", version.run_id, _run_link(server, run)),
        ("commit", commit, _commit_link(repository, commit)),
        ("code", tags.get("mlflow.source.name", ""), ""),
        *(("data", one, "") for one in data),
        ("parent", tags.get("understudy.parent", ""), ""),
    ]
    return {
        "said_by": "MLflow",
        "claims": [{"about": about, "value": value, "link": link} for about, value, link in claims if value],
    }


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else ""


def _run_link(server: str, run: Run | None) -> str:
    return f"{server}/#/experiments/{run.experiment}/runs/{run.id}" if run is not None else ""


def _commit_link(repository: str, commit: str) -> str:
    """Where a commit can be read, as GitHub and GitLab have it; only of what is plainly a web address."""
    base = repository.removesuffix(".git").rstrip("/")
    return f"{base}/commit/{commit}" if base.startswith("https://") and "@" not in base and commit else ""
