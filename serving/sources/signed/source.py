"""Models that are taken only with a signature of somebody who is trusted, by OpenSSF's model-signing.

Law: what `find` gives names, in its configuration, the SHA-256 of the bytes that were proven, so whoever
reads the entry refuses others, whatever happens to the files in between. They are proven in a private copy of
the version's folder; its signature is the file `SIGNATURE` in that folder and covers all others there.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Final

from serving.errors import InvalidInput, InvalidModel
from serving.host.whole_files import write_whole
from serving.models.files.repository import ModelEntry, read
from serving.models.files.source import Source
from serving.sources.signed.around import Around
from serving.sources.signed.prove import CERTIFICATE, KEY, blocks

SIGNATURE: Final = "model.sig"
START_SECONDS, SECONDS_PER_BYTE = 60.0, 60 / (1 << 30)
_EXTRA = "model-signing is not installed: the extra `signing` (pip install 'understudy[signing]')"


class Signed(Around):
    """A source, of which only what is signed is found.

    Args:
        source: that has the files.
        trusted: PEM file with public keys (of elliptic curves) and certificates, read anew each time.
        memory: a folder that remembers what was proven of which files by which keys.

    Raises:
        InvalidInput: the file has neither, or `model-signing` is not installed.
    """

    def __init__(self, source: Source, trusted: Path, memory: Path) -> None:
        super().__init__(source)
        self._trusted = trusted
        self._memory = memory
        if find_spec("model_signing") is None:
            raise InvalidInput(f"--require-signature: {_EXTRA}")
        self._pem()

    def find(self, name: str, version: str) -> ModelEntry:
        """As `Source`.

        Raises:
            InvalidModel: it has no signature, or one that proves nothing; with the reason.
        """
        entry = self._source.find(name, version)
        sha256, signer = self._proven(entry)
        stated = entry.config.sha256.get(version, sha256)
        if stated != sha256:
            raise InvalidModel(f"{name}/{version}: config.yaml states other bytes than those that are signed")
        config = replace(entry.config, sha256={**entry.config.sha256, version: sha256})
        return replace(entry, config=config, signer=signer)

    def _pem(self) -> str:
        try:
            pem = self._trusted.read_text()
        except (OSError, ValueError) as error:
            raise InvalidInput(f"--require-signature {self._trusted}: {_words(error)}") from None
        if not {kind for kind, _ in blocks(pem)} & {KEY, CERTIFICATE}:
            raise InvalidInput(
                f"--require-signature {self._trusted}: no PEM block `{KEY}` or `{CERTIFICATE}` in it"
            )
        return pem

    def _proven(self, entry: ModelEntry) -> tuple[str, str]:
        """The SHA-256 of the bytes that are signed, and by whom."""
        target, pem = f"{entry.name}/{entry.version}", self._pem()
        try:
            files = _files(entry)
            if SIGNATURE not in files:
                raise InvalidModel(
                    f"{target}: it is not signed ({SIGNATURE} is not in its folder), and here it has to be"
                )
            place = self._memory / f"{_stamp(target, files, pem)}.json"
            with suppress(OSError, ValueError, KeyError):
                known = json.loads(place.read_bytes())
                return str(known["sha256"]), str(known["signer"])
            sha256, signer = _prove(entry, files, pem)
            with suppress(OSError):  # without it, it is proven again
                self._memory.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(place, json.dumps({"sha256": sha256, "signer": signer}).encode(), mode=0o600)
        except OSError as error:
            raise InvalidModel(f"{target}: its signature cannot be checked: {_words(error)}") from None
        return sha256, signer


def _files(entry: ModelEntry) -> dict[str, Path]:
    """The files of a version by their place in its folder, links followed within the repository only."""
    folder, root = entry.path.parent, entry.root.resolve()
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        real = path.resolve()
        if not real.is_relative_to(root):
            raise InvalidModel(f"{entry.name}/{entry.version}: {place} leads outside the repository")
        if real.is_file():
            found[place] = real
    return found


def _stamp(target: str, files: dict[str, Path], pem: str) -> str:
    """A name for what these files look like and who is trusted. Readers refuse bytes that merely look so."""
    seen = [(place, *_look(path)) for place, path in files.items()]
    return hashlib.sha256(json.dumps([target, seen, pem]).encode()).hexdigest()


def _look(path: Path) -> tuple[int, int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _prove(entry: ModelEntry, files: dict[str, Path], pem: str) -> tuple[str, str]:
    """The SHA-256 of what was signed, and by whom."""
    target = f"{entry.name}/{entry.version}"
    with tempfile.TemporaryDirectory() as private:
        folder = Path(private, "root", entry.name, entry.version)
        signature = Path(private, SIGNATURE)
        for place, path in files.items():
            copy = signature if place == SIGNATURE else folder / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            copyfile(path, copy)
        config = replace(entry.config, warmup=None)  # which lies beside the folder
        copied = replace(entry, path=folder / entry.path.name, root=folder.parents[1], config=config)
        sha256 = read(copied).sha256
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        answer = _asked({"folder": str(folder), "signature": str(signature), "trusted": pem}, size)
    if answer["reason"]:
        raise InvalidModel(f"{target}: its signature is refused: {answer['reason']}")
    return sha256, answer["signer"]


def _asked(job: dict[str, str], size: int) -> dict[str, str]:
    """What the process says that proves signatures."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-s", "-m", "serving.host.entry", "serving.sources.signed.prove"],
            input=json.dumps(job).encode(),
            capture_output=True,
            cwd="/",
            env={"PYTHONPATH": str(Path(__file__).parents[3]), "OPENBLAS_NUM_THREADS": "1"},
            timeout=START_SECONDS + SECONDS_PER_BYTE * size,
            check=True,
        )
        answer: dict[str, str] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError):
        return {"signer": "", "reason": "it could not be checked: the process that does so broke down"}
    return answer


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
