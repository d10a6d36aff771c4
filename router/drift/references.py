"""Profiles beside models, as files: each is read once for as long as it stays as it is."""

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from router.drift.profile import MOST_BYTES, Profile, from_json
from serving.errors import InvalidInput

DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """What a target is held against.

    Attributes:
        profile: of its file.
        digest: of the file's bytes, in hex; two processes that have the same one count in the same bins.
    """

    profile: Profile
    digest: str


class References:
    """Reads profiles; blocks."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], Reference]] = {}

    def read(self, path: Path) -> Reference:
        """What a file says.

        Raises:
            InvalidInput: it is no profile, or cannot be read.
        """
        try:
            found = path.stat()
            stamp = found.st_ino, found.st_size, found.st_mtime_ns
            known = self._known.get(path)
            if known is None or known[0] != stamp:
                with path.open("rb") as file:
                    text = file.read(MOST_BYTES + 1)
                known = self._known[path] = stamp, _reference(text, path)
        except OSError as error:
            raise InvalidInput(f"{path}: {error.strerror or error}; `understudy profile` writes it") from None
        return known[1]


def _reference(text: bytes, path: Path) -> Reference:
    return Reference(from_json(text, str(path)), blake2b(text, digest_size=DIGEST_BYTES).hexdigest())
