"""API keys of the public door: a file of names and SHA-256 hashes; a key itself is stored nowhere.

Law: a key lives in this process no longer than the connection that brought it. What is kept cannot be turned
back into keys, provided that these are random (`understudy keys new` makes them so). Looking a key up takes
a time that tells nothing about the known ones: they are found by a hash that is keyed anew in each process.

One key a line, `<name> <sha256 in hex>`; empty lines and those that begin with `#` are skipped.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from serving.errors import InvalidInput

MAX_BYTES = 1 << 20
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})[ \t]+(?P<digest>[0-9A-Fa-f]{64})")


class ApiKeys:
    """The keys that are valid, by name.

    Args:
        digests: name -> SHA-256 of the key's bytes; a name may not be empty.
    """

    __slots__ = ("_names", "_secret")

    def __init__(self, digests: Mapping[str, bytes]) -> None:
        self._secret = secrets.token_bytes(32)
        self._names = {self._blind(digest): name for name, digest in digests.items()}

    def name_of(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Whose key a request brings, in `Authorization: Bearer` or else in `X-API-Key`; None for nobody's.

        Args:
            headers: names in lower case.
        """
        given = headers.get(b"authorization")
        if given is not None:
            scheme, _, key = given.partition(b" ")
            if scheme.lower() != b"bearer":
                return None
        else:
            key = headers.get(b"x-api-key", b"")
        return self._names.get(self._blind(hashlib.sha256(key.strip()).digest()))

    def _blind(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, digest_size=16, key=self._secret).digest()


def parse(text: str, file: str) -> ApiKeys:
    """Read the text of a key file.

    Args:
        text: all of it.
        file: how errors call it.

    Raises:
        InvalidInput: a line that is no key, a name or hash given twice, or no key at all; it names the line,
            and does not repeat it, since it may hold a key that was to be hashed first.
    """
    digests: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped)
        if found is None:
            raise InvalidInput(f"{file}:{number}: expected a name and the SHA-256 of its key in hex")
        name, digest = found["name"], bytes.fromhex(found["digest"])
        if name in digests:
            raise InvalidInput(f"{file}:{number}: the name {name!r} is given twice")
        if digest in digests.values():
            raise InvalidInput(f"{file}:{number}: the key of {name!r} is another one's too")
        digests[name] = digest
    if not digests:
        raise InvalidInput(f"{file}: no key in it; without the option the door asks for none")
    return ApiKeys(digests)


def load(path: Path) -> ApiKeys:
    """Read a key file.

    Raises:
        InvalidInput: it cannot be read, or is not valid.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise InvalidInput(f"{path.name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path.name}: not UTF-8") from None
    if len(content) > MAX_BYTES:
        raise InvalidInput(f"{path.name}: larger than {MAX_BYTES} bytes")
    return parse(text, path.name)


def new_key() -> str:
    """A key with 256 random bits, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)


def line_of(name: str, key: str) -> str:
    """The line for a key file.

    Raises:
        InvalidInput: the name cannot stand there.
    """
    line = f"{name} {hashlib.sha256(key.encode()).hexdigest()}"
    if _LINE.fullmatch(line) is None:
        raise InvalidInput("a name is 1 to 64 letters, digits, dots, dashes or underscores")
    return line
