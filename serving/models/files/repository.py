"""What is on disk: `<name>/<version>/model.onnx` or `graph.yaml`, perhaps with a `<name>/config.yaml`.

Law: nothing outside the root is ever read. Links are followed only to what lies within the root, as the
volumes of Kubernetes need it. A model is read once, whole, into memory and served from there, so that
whatever happens to its files afterwards does not reach it.
"""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from serving.document import MAX_BYTES, DocumentError
from serving.errors import InvalidModel, NotFound, ServingError
from serving.models.files.config import ModelConfig, is_version, parse_config
from serving.models.files.graph_file import GRAPH_FILE, Graph, parse_graph
from serving.models.files.lineage import (
    LINEAGE_FILE,
    VERIFIED,
    Claim,
    Lineage,
    from_config,
    from_file,
    from_graph,
    gathered,
)
from serving.models.files.lineage import MAX_BYTES as MAX_LINEAGE_BYTES
from serving.models.files.pbtxt import parse_pbtxt
from serving.models.files.python_step import MAX_FILE_BYTES

MODEL_FILE = "model.onnx"
DEFINITIONS: tuple[str, ...] = (MODEL_FILE, GRAPH_FILE)
"""Files that say what a version is, one in its folder; of several the first here counts."""
CONFIG_FILE = "config.yaml"
TRITON_FILE = "config.pbtxt"
MAX_MODEL_BYTES = (1 << 31) - 1  # what protobuf can hold
MAX_EXTERNAL_BYTES = 1 << 36

_LAYOUT = f"models lie at NAME/VERSION/{MODEL_FILE}"
_LOCATION = re.compile(rb"\n\x08location\x12([\x00-\x7f]|[\x80-\xff][\x00-\x7f])", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One version of one model on disk.

    Attributes:
        path: of the file that says what it is, as it was found (links not resolved). Its name is one of
            `DEFINITIONS`, and tells the kind of model (`serving.models.kinds`).
        root: the repository that all of it must lie in.
        signer: who signed its files, as was proven here; empty where that was not asked.
        python_steps: whether the operator lets steps in Python of it be run.
    """

    name: str
    version: str
    path: Path
    config: ModelConfig
    root: Path = field(repr=False)
    signer: str = field(default="", compare=False)
    python_steps: bool = False


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """All of a model that was on disk.

    Attributes:
        content: of the file that says what it is.
        external: what else it is made of, by its location, a path relative to the folder of that file:
            external data and, of a graph, the files of its steps' models and functions.
        warmup: the content of the .npz that the configuration names.
        sha256: of that file; with others, of what `sha256sum FILE OTHER...` prints, the others in the order
            of their locations.
    """

    content: bytes = field(repr=False)
    external: dict[str, bytes] = field(repr=False)
    warmup: bytes | None = field(repr=False)
    sha256: str

    @property
    def size(self) -> int:
        """Bytes of it and its external data."""
        return len(self.content) + sum(map(len, self.external.values()))

    @property
    def identity(self) -> str:
        """A digest of all of it, the warm-up included."""
        return hashlib.sha256(self.sha256.encode() + (self.warmup or b"")).hexdigest()


class Repository:
    """A folder of models, which is a `serving.models.files.source.Source`.

    Args:
        root: need not exist yet; it is looked at anew by every call.

    Attributes:
        problems: what the last `discover` left out though it looks like a model, a sentence each.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: tuple[str, ...] = ()

    def discover(self) -> tuple[ModelEntry, ...]:
        """Every version of every model, by name and then number. Never raises for what it finds."""
        problems: list[str] = []
        found: list[ModelEntry] = []
        if not self.root.is_dir():
            problems.append("the model repository is not a folder")
        problems += [f"{file.name}: not read; {_LAYOUT}" for file in _models_in(self.root)]
        problems += [f"{link.name}: a link that leads nowhere" for link in _broken_links(self.root)]
        for folder in _folders(self.root):
            if not _NAME.fullmatch(folder.name):
                if folder.name[0] not in "._" and _is_model_like(folder):
                    problems.append(f"{folder.name!r}: not a name for a model (letters, digits, . _ and -)")
                continue
            try:
                found += self._versions(folder.name, problems)
            except ServingError as error:
                problems.append(str(error))
        self.problems = tuple(problems)
        return tuple(found)

    def find(self, name: str, version: str) -> ModelEntry:
        """One version of a model.

        Raises:
            NotFound: there is none of that name and version, or these can be no name and version.
            InvalidModel: its file leads outside the repository.
            DocumentError: its configuration is wrong.
        """
        if not _NAME.fullmatch(name) or not is_version(version):
            raise NotFound(f"no model {name[:130]!r} version {version[:12]!r}")
        path = definition(self.root / name / version)
        if path is None:
            raise NotFound(f"no model {name!r} version {version!r}")
        contained(path, self.root, f"{name}/{version}/{path.name}")
        return ModelEntry(name, version, path, self._config(name, []), self.root)

    def configured(self, name: str, version: str) -> ModelEntry:
        """As `find`: here everything is at hand."""
        return self.find(name, version)

    def config(self, name: str) -> ModelConfig:
        """What lies beside a model's versions says of it.

        Raises:
            DocumentError: something impossible.
            InvalidModel: it cannot be read.
        """
        return self._config(name, [])

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """The versions that the model's policy names and that exist, highest first.

        Raises:
            NotFound: there is no model of that name.
            DocumentError: its configuration is wrong.
        """
        entries = self._versions(name, []) if _NAME.fullmatch(name) else []
        if not entries:
            raise NotFound(f"no model {name[:130]!r}")
        return tuple(reversed(chosen(entries)))

    def _versions(self, name: str, problems: list[str]) -> list[ModelEntry]:
        """The versions of one model, lowest first; what is wrong with others goes to `problems`."""
        found: list[ModelEntry] = []
        numbers = [folder.name for folder in _folders(self.root / name) if folder.name.isdecimal()]
        if not numbers:
            problems.append(f"{name}: no version folders in it")
        problems += [
            f"{name}/{link.name}: a link that leads nowhere" for link in _broken_links(self.root / name)
        ]
        strays = _stray(self.root / name)
        problems += [f"{stray.relative_to(self.root)}: not read; {_LAYOUT}" for stray in strays]
        config = self._config(name, problems) if numbers else ModelConfig()
        for number in sorted(numbers, key=lambda number: (len(number), number)):
            folder = self.root / name / number
            path = definition(folder)
            if not is_version(number):
                problems.append(
                    f"{name}/{number}: a version is a positive whole number without leading zeros"
                )
            elif path is None:
                others = ", ".join(file.name for file in _models_in(folder)[:3])
                problems.append(f"{name}/{number}: no {MODEL_FILE} in it" + f", but {others}" * bool(others))
            else:
                try:
                    contained(path, self.root, f"{name}/{number}/{path.name}")
                except InvalidModel as error:
                    problems.append(str(error))
                else:
                    found.append(ModelEntry(name, number, path, config, self.root))
                    problems += [
                        f"{name}/{number}/{other}: not read, as there is a {path.name}"
                        for other in DEFINITIONS
                        if other != path.name and os.path.lexists(folder / other)
                    ]
        if isinstance(config.versions, tuple):
            absent = set(config.versions) - {entry.version for entry in found}
            problems += [f"{name}: version {number} is to be served, but absent" for number in sorted(absent)]
        return found

    def _config(self, name: str, problems: list[str]) -> ModelConfig:
        """Of config.yaml or, where there is none, Triton's config.pbtxt; what is not read is a problem."""
        if os.path.lexists(self.root / name / "config.yml"):
            problems.append(f"{name}/config.yml: not read; the file is to be called {CONFIG_FILE}")
        path, foreign = self.root / name / CONFIG_FILE, self.root / name / TRITON_FILE
        if os.path.lexists(path):
            if os.path.lexists(foreign):
                problems.append(f"{name}/{TRITON_FILE}: not read, as there is a {CONFIG_FILE}")
            label = f"{name}/{CONFIG_FILE}"
            return parse_config(_read_file(path, self.root, label, MAX_BYTES), label, available_providers)
        if not os.path.lexists(foreign):
            return ModelConfig()
        label = f"{name}/{TRITON_FILE}"
        config, notes = parse_pbtxt(_read_file(foreign, self.root, label, MAX_BYTES), label, name)
        problems += notes
        return config


def read(entry: ModelEntry) -> ModelFiles:
    """Read all of a model, once, whatever its kind.

    Of a graph, the models of its steps too. External data that is absent, or whose location has a link or
    `..` in it, is left out; onnxruntime then refuses the model, as it is given these files and no folder to
    look for others.

    Raises:
        InvalidModel: a file is missing, unreadable, too large, outside the repository, or has another
            SHA-256 than the configuration says; or a graph's document is wrong.
    """
    folder = entry.path.parent
    place = f"{entry.name}/{entry.version}"
    content = _read_file(entry.path, entry.root, f"{place}/{entry.path.name}", MAX_MODEL_BYTES)
    if entry.path.name == GRAPH_FILE:
        external = _of_steps(content, folder, entry.root, place)
    else:
        external = _external(content, folder, entry.root, place)
    warmup = None
    if entry.config.warmup is not None:
        path = entry.root / entry.name / entry.config.warmup
        warmup = _read_file(path, entry.root / entry.name, f"{entry.name}/{entry.config.warmup}", 1 << 30)
    digest = _digest(entry.path.name, content, external)
    expected = entry.config.sha256.get(entry.version)
    if expected not in {None, digest}:
        raise InvalidModel(f"{place}: its SHA-256 is {digest}, but {CONFIG_FILE} says {expected}")
    return ModelFiles(content, external, warmup, digest)


def _external(content: bytes, folder: Path, root: Path, place: str) -> dict[str, bytes]:
    """External data of a model in this folder, by its location; `place` is the folder in words."""
    return {
        location: _read_file(folder / location, root, f"{place}/{location}", MAX_EXTERNAL_BYTES)
        for location in sorted(_locations(content))
        if _is_plain_file(folder, location)
    }


def _of_steps(content: bytes, folder: Path, root: Path, place: str) -> dict[str, bytes]:
    """Of a graph, the models of its steps and their external data, and files of functions, by location."""
    try:
        graph = parse_graph(content, f"{place}/{GRAPH_FILE}")
        found = _of_functions(graph, folder, root, place)
        for step in graph.models:
            location = f"{step.folder}/{MODEL_FILE}"
            if location in found:
                continue
            if not os.path.lexists(folder / location):
                step.node.fail(
                    f"no {location} in the graph's own folder, which has the models of its steps:"
                    f" copy the folder {step.folder} there"
                )
            model = _read_file(folder / location, root, f"{place}/{location}", MAX_MODEL_BYTES)
            data = _external(model, folder / step.folder, root, f"{place}/{step.folder}")
            found |= {location: model, **{f"{step.folder}/{name}": part for name, part in data.items()}}
    except DocumentError as error:
        raise InvalidModel(str(error)) from None
    return dict(sorted(found.items()))


def _of_functions(graph: Graph, folder: Path, root: Path, place: str) -> dict[str, bytes]:
    """Of a graph, the files that its steps in Python see, by location in the graph's folder."""
    found: dict[str, bytes] = {}
    for _, python in graph.functions:
        for location, node in python.files.items():
            if not os.path.lexists(folder / location):
                node.fail(f"no {location} in the graph's own folder, where the files of its steps lie")
            if location not in found:
                found[location] = _read_file(folder / location, root, f"{place}/{location}", MAX_FILE_BYTES)
    return found


def lineage(entry: ModelEntry, said: Mapping[str, str]) -> Lineage:
    """What is claimed of where a model comes from: beside it, in its configuration, and by its own file.

    Args:
        entry: whose files are here.
        said: by its file, as verification read it.
    """
    told = Lineage()
    path = entry.path.parent / LINEAGE_FILE
    if os.path.lexists(path):
        try:
            label = f"{entry.name}/{entry.version}/{LINEAGE_FILE}"
            told = from_file(_read_file(path, entry.root, label, MAX_LINEAGE_BYTES))
        except InvalidModel as error:
            told = Lineage(problems=(str(error),))
    configured = from_config(entry.config.lineage.get(entry.version, {}), CONFIG_FILE)
    others = [*told.claims, *configured, *from_graph(said, entry.path.name)]
    proven = [Claim("signature", f"of {entry.signer}", VERIFIED)] if entry.signer else []
    return gathered([*proven, *others], told.problems)


def definition(folder: Path) -> Path | None:
    """The file in it that says what a version is; None where there is none."""
    return next((folder / name for name in DEFINITIONS if os.path.lexists(folder / name)), None)


def is_name(name: str) -> bool:
    """Whether a model can be called so."""
    return _NAME.fullmatch(name) is not None


def chosen(entries: list[ModelEntry]) -> list[ModelEntry]:
    """Those versions of a model, lowest first, that its policy names."""
    policy = entries[0].config.versions
    if policy == "all":
        return entries
    if isinstance(policy, int):
        return entries[-policy:]
    return [entry for entry in entries if entry.version in policy]


def _digest(name: str, content: bytes, external: dict[str, bytes]) -> str:
    if not external:
        return hashlib.sha256(content).hexdigest()
    files = {name: content, **external}
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _folders(parent: Path) -> list[Path]:
    """The folders in it, links to folders included; none when it cannot be listed."""
    try:
        return sorted(child for child in parent.iterdir() if child.is_dir())
    except OSError:
        return []


def _models_in(folder: Path) -> list[Path]:
    """Files in it that seem to be models; none when it cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".onnx" and path.is_file())
    except OSError:
        return []


def _broken_links(folder: Path) -> list[Path]:
    """Links in it to what is not there, as where a volume is not mounted; none when it cannot be listed."""
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.name[0] not in "._" and path.is_symlink() and not path.exists()
        )
    except OSError:
        return []


def _is_model_like(folder: Path) -> bool:
    return bool(_models_in(folder)) or any(
        is_version(child.name) or _models_in(child) for child in _folders(folder)
    )


def _stray(folder: Path) -> list[Path]:
    """Where in a model's folder others seem to lie: too high, too deep, or under no number."""
    others = (child for child in _folders(folder) if not child.name.isdecimal() and child.name[0] not in "._")
    return [*_models_in(folder), *filter(_is_model_like, others)]


def _locations(graph: bytes) -> set[str]:
    """Where the model says that its external data lies; possibly more, never less than onnxruntime sees.

    The onnx package is no dependency, and all that is wanted of the file is one kind of message: a
    `StringStringEntryProto` with the key `location` (onnx.proto), in the order of its fields.
    """
    locations = set()
    for found in _LOCATION.finditer(graph):
        length = found[1][0] if len(found[1]) == 1 else (found[1][0] & 127) | found[1][1] << 7
        with contextlib.suppress(UnicodeDecodeError):
            locations.add(graph[found.end() : found.end() + length].decode())
    return locations


def _is_plain_file(folder: Path, location: str) -> bool:
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts or "\0" in location or str(path) in {".", MODEL_FILE}:
        return False
    steps = [folder / step for step in (path, *path.parents[:-1])]
    try:
        return not any(step.is_symlink() for step in steps) and steps[0].is_file()
    except OSError:  # a name too long
        return False


def contained(path: Path, root: Path, label: str) -> Path:
    """Where it really lies, if that is within the root.

    Raises:
        InvalidModel: it lies elsewhere or nowhere; the words begin with the label.
    """
    try:
        real = path.resolve(strict=True)
        if real.is_relative_to(root.resolve(strict=True)):
            return real
    except (OSError, RuntimeError):  # RuntimeError: a circle of links
        raise InvalidModel(f"{label}: there is no such file, or a link in its path leads nowhere") from None
    raise InvalidModel(f"{label}: a link in its path leads outside")


def _read_file(path: Path, root: Path, label: str, max_bytes: int) -> bytes:
    real = contained(path, root, label)
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer
        with os.fdopen(os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidModel(f"{label}: not a regular file")
            if status.st_size > max_bytes:
                raise InvalidModel(f"{label}: larger than {max_bytes} bytes")
            return file.read()
    except OSError as error:
        raise InvalidModel(f"{label}: cannot be read ({error.strerror})") from None


def available_providers() -> Collection[str]:
    """The execution providers of this machine's onnxruntime."""
    from serving.models.ort import onnxruntime  # noqa: PLC0415  (slow to import, and asked for by few)

    return list(onnxruntime.get_available_providers())
