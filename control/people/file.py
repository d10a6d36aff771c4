"""The file of people: who may use the admin door by a token of their own, and in which roles.

```yaml
ann: {sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae, roles: [risk]}
ben: {sha256: 8f..., roles: [operator, risk], email: ben@example.org}
```

Law: a token stands nowhere but with its person; the file has its SHA-256, which cannot be turned back
since tokens are random (`understudy tokens add` makes them so). Looking one up compares all of them, each in
constant time. What is not understood is refused at its line and column, and not repeated: it may be a token.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hmac import compare_digest
from pathlib import Path

from router.rollout import kinds
from serving import document
from serving.document import Node, read_each
from serving.errors import InvalidInput

MAX_PEOPLE = 1000
MAX_ROLES = 16
RESERVED = frozenset(
    {"operator", "viewer", "local", "link", "file", "follow", "autopilot", "control", "repository", "restore"}
)
"""Names by which the audit log knows others."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROLE = re.compile(kinds.ROLE.pattern)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EMAIL = re.compile(r"[^\s@<>,;:\"()\[\]\\]{1,64}@[A-Za-z0-9.-]{1,255}")


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with a token.

    Args:
        name: in the audit log.
        roles: what they may do: `viewer` reads, `operator` changes, any other may approve where it is asked.
        email: where links for approvals go; empty for nowhere.
        digest: SHA-256 of the token.
    """

    name: str
    roles: frozenset[str]
    email: str = ""
    digest: bytes = field(default=b"", repr=False)


class People:
    """Everyone of the file."""

    __slots__ = ("_people",)

    def __init__(self, people: Iterable[Person] = ()) -> None:
        self._people = {person.name: person for person in people}

    def __iter__(self) -> Iterator[Person]:
        return iter(self._people.values())

    def get(self, name: str) -> Person | None:
        """The person of this name."""
        return self._people.get(name)

    def by_token(self, token: bytes) -> Person | None:
        """Whose token it is; it takes as long for each of them, and for nobody's."""
        given, found = hashlib.sha256(token).digest(), None
        for person in self._people.values():
            if compare_digest(given, person.digest):
                found = person
        return found


def parse(text: str | bytes, file: str) -> People:
    """The text of such a file.

    Raises:
        DocumentError: it is not understood.
    """
    root = document.parse(text, file)
    entries = root.entries()
    if not 0 < len(entries) <= MAX_PEOPLE:
        root.fail(f"expected 1 to {MAX_PEOPLE} people")
    people = [_person(name, node) for name, node in entries.items()]
    seen: dict[bytes, str] = {}
    for person in people:
        if (other := seen.setdefault(person.digest, person.name)) != person.name:
            entries[person.name].fail(f"has the token of {other}; each needs one of their own")
    return People(people)


def load(path: Path) -> People:
    """The file at this path.

    Raises:
        DocumentError: it is not understood.
        InvalidInput: it cannot be read.
    """
    try:
        with path.open("rb") as opened:
            content = opened.read(document.MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{path.name}: cannot be read: {error.strerror}") from None
    return parse(content, path.name)


def _person(name: str, node: Node) -> Person:
    if not _NAME.fullmatch(name):
        node.fail("a name has 1 to 64 letters, digits, dots, dashes and underscores")
    if name in RESERVED:
        node.fail(f"{name} is a name that the audit log has for others")
    entries = node.mapping(["sha256", "roles"], ["email"])
    digest = entries["sha256"].string()
    if not _DIGEST.fullmatch(digest):
        entries["sha256"].fail("expected the SHA-256 of a token, 64 small hex digits")
    email = entries["email"].string(320) if "email" in entries else ""
    if email and not _EMAIL.fullmatch(email):
        entries["email"].fail("expected an address such as ann@example.org")
    return Person(name, _roles(entries["roles"]), email, bytes.fromhex(digest))


def _roles(node: Node) -> frozenset[str]:
    nodes = node.sequence()
    if not 0 < len(nodes) <= MAX_ROLES:
        node.fail(f"expected 1 to {MAX_ROLES} roles")
    return frozenset(read_each([lambda each=each: _role(each) for each in nodes]))  # type: ignore[misc]


def _role(node: Node) -> str:
    if not _ROLE.fullmatch(node.string()):
        node.fail("expected a role: 1 to 32 small letters, digits, dashes or underscores, a letter first")
    return node.string()


def new_token() -> str:
    """A token with 256 random bits, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(32)


def line_of(name: str, token: str, roles: Iterable[str], email: str = "") -> str:
    """The line of a person, to be added to the file.

    Raises:
        DocumentError: a name, a role or the address cannot stand there.
    """
    address = f", email: {email}" if email else ""
    digest = hashlib.sha256(token.encode()).hexdigest()
    line = f"{name}: {{sha256: '{digest}', roles: [{', '.join(roles)}]{address}}}\n"
    parse(line, "the new line")
    return line
