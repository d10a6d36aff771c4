"""Receipts: to which rollout, stage, role and time an answer belongs, verifiably and without a look-up. Pure.

Law: a receipt says what its maker signed, or is refused: each of its 432 bits matters, and each receipt has
one spelling. No two are equal, as long as nodes have names of their own and a node's clock does not go back.

54 bytes, big-endian, written as 72 characters of base64url, which leaves no spare bits:

| bytes | |
|---|---|
| 2 | version (4 bits), id of the key (12 bits) |
| 8 | hash of the rollout's public name |
| 4 | stage |
| 4 | hash of the node's name |
| 8 | who was drawn (4 bits: 0 where nothing was, 1 stable, from 2 on a candidate by its number; the highest
  where an earlier stage drew it), who answered (4 bits, likewise), arrival in us since 1970 |
| 4 | worker (8 bits), counter (24 bits) |
| 8 | hash of the sticky key, 0 for none |
| 16 | BLAKE2b of all that, keyed (RFC 7693) |
"""

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest
from itertools import count
from typing import Final, NamedTuple

from router.counting.split import Role
from serving.errors import InvalidInput

RECEIPT_HEADER: Final = b"x-understudy-receipt"
LENGTH: Final = 72
"""Of a receipt, in characters."""
SECRET_BYTES: Final = 32
KEY_IDS: Final = range(1, 1 << 12)

_VERSION: Final = 1
MOST_CANDIDATES: Final = 6
"""Of an A/B/n test: so many can be told apart."""
_BEFORE: Final = 8
_SIDES: Final[tuple[tuple[Role | None, int], ...]] = (
    (None, 0),
    ("stable", 0),
    *(("canary", number) for number in range(1, MOST_CANDIDATES + 1)),
)
"""Role, and number of the candidate; 0 where it is none."""
_PLACES: Final = {
    (drawn, role, number, anew): (
        (_SIDES.index((drawn, number if drawn == "canary" else 0)) | (0 if anew else _BEFORE)) << 4
        | _SIDES.index((role, number if role == "canary" else 0))
    )
    << 56
    for drawn in (None, "stable", "canary")
    for role in ("stable", "canary")
    for number in range(1, MOST_CANDIDATES + 1)
    for anew in (True, False)
}
_Sides = tuple[Role | None, Role, bool, int]


def _sides(number: int) -> _Sides | None:
    """Drawn, role, anew and candidate by the byte that says them; None where it names no role."""
    before, first, second = number >> 4 & _BEFORE, number >> 4 & _BEFORE - 1, number & 0xF
    if second >= len(_SIDES) or (role := _SIDES[second][0]) is None:
        return None
    drawn, candidate = _SIDES[first]
    return drawn, role, not before, candidate or _SIDES[second][1]


_READ: Final[tuple[_Sides | None, ...]] = tuple(map(_sides, range(256)))
_CONSTANT: Final = struct.Struct(">HQII")
_VARYING: Final = struct.Struct(">QIQ")
_ALL: Final = struct.Struct(">HQIIQIQ")
_MICROS: Final = (1 << 56) - 1
_MAC_BYTES: Final = 16
_BYTES: Final = LENGTH * 3 // 4
_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_+/", b"+/\0\0")


@dataclass(frozen=True, slots=True)
class ReceiptKey:
    """What receipts are signed with.

    Attributes:
        id: one of `KEY_IDS`; of two keys of a fleet never the same.
        secret: `SECRET_BYTES` of chance.
        made: seconds since 1970.
    """

    id: int
    secret: bytes = field(repr=False)
    made: float
    begun: blake2b = field(init=False, repr=False, compare=False)
    """A signature of nothing yet: to copy it is cheaper than to begin with the key."""

    def __post_init__(self) -> None:
        """Begin a signature."""
        begun = blake2b(digest_size=_MAC_BYTES, key=self.secret, person=b"receipt")
        object.__setattr__(self, "begun", begun)


class Receipt(NamedTuple):
    """What a receipt says.

    Attributes:
        key_id: of the key that signed it.
        rollout: `name_id` of the rollout's public name.
        stage: of the rollout.
        drawn: whom the draw chose; None where nothing was drawn: the client named a target, or the canary was
            not ready, ejected or busy.
        role: who answered, or was asked last.
        arrived: when the request did, seconds since 1970, a multiple of a microsecond.
        node: `node_id` of the name of the node.
        worker: the number of the process there.
        counter: of the receipts of that process, modulo 2^24.
        key: hash of the sticky key; 0 for none.
        anew: whether the draw is evidence of this stage: not that of a sticky user whom an earlier one had
            drawn already, nor in an A/B/n test one that was made while some candidate was not there.
        candidate: the number of the candidate that was drawn, or else that answered: of a canary, and of the
            first candidate of an A/B/n test, 1. 0 where stable was drawn, and answered.
    """

    key_id: int
    rollout: int
    stage: int
    drawn: Role | None
    role: Role
    arrived: float
    node: int
    worker: int
    counter: int
    key: int
    anew: bool = True
    candidate: int = 0


def name_id(model: str) -> int:
    """How receipts say a public name."""
    return int.from_bytes(blake2b(model.encode(), digest_size=8, person=b"rollout").digest())


def node_id(name: str) -> int:
    """How receipts say a node's name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=4, person=b"node").digest())


def newest(keys: Iterable[ReceiptKey]) -> ReceiptKey | None:
    """The key that signs; None where there is none."""
    return max(keys, key=lambda key: (key.made, key.id), default=None)


class UnknownKey(InvalidInput):
    """A receipt of a key that is not known here.

    Args:
        id_: of the key.
        arrived: as of `Receipt`; nobody can have verified it.
    """

    def __init__(self, id_: int, arrived: float) -> None:
        super().__init__(f"the receipt's key {id_} is not known here: too old, or of another fleet")
        self.arrived = arrived


class Receipts:
    """Makes the receipts of one process.

    Args:
        node: name of the node.
        worker: number of the process there, 0 to 255.
        first: where its counter begins: by chance, so that a clock set back repeats no receipt after a start.

    Attributes:
        key: signs; None makes empty receipts. It may be replaced at any time.
    """

    def __init__(self, node: str, worker: int, first: int = 0) -> None:
        self.key: ReceiptKey | None = None
        self.node = node_id(node)
        self.worker = worker << 24
        self.counter = count(first)

    def of(self, model: str, stage: int) -> "Stamp":
        """Those of one stage of one rollout."""
        return Stamp(self, name_id(model), stage)


class Stamp:
    """Makes the receipts of one stage of one rollout, in about a microsecond each.

    Args:
        receipts: of the process.
        rollout: `name_id` of its public name.
        stage: of the rollout.
    """

    __slots__ = ("_begun", "_constant", "_key", "_receipts", "_rollout", "_stage")

    def __init__(self, receipts: Receipts, rollout: int, stage: int) -> None:
        self._receipts = receipts
        self._rollout = rollout
        self._stage = stage
        self._key: ReceiptKey | None = None

    def make(
        self,
        drawn: Role | None,
        role: Role,
        key: int,
        arrived: float,
        anew: bool = True,  # noqa: FBT001, FBT002  (by place, in the path of every answer)
        candidate: int = 1,
    ) -> bytes:
        """A new receipt, `LENGTH` characters; empty while the process has no key.

        Args:
            drawn: as of `Receipt`, and so are the others.
            role: who answered.
            key: hash of the sticky key.
            arrived: seconds since 1970.
            anew: as of `Receipt`.
            candidate: the number of the one candidate that was drawn or answered, if one was.
        """
        receipts = self._receipts
        if receipts.key is not self._key:
            self._prepare(receipts.key)
        if self._key is None:
            return b""
        said = self._constant + _VARYING.pack(
            _PLACES[drawn, role, candidate, anew] | int(arrived * 1e6),
            receipts.worker | next(receipts.counter) & 0xFFFFFF,
            key,
        )
        signed = self._begun.copy()
        signed.update(said)
        return b2a_base64(said + signed.digest(), newline=False).translate(_TO_URL)

    def _prepare(self, key: ReceiptKey | None) -> None:
        """What is the same in all receipts with this key."""
        self._key = key
        if key is not None:
            head = _VERSION << 12 | key.id
            self._constant = _CONSTANT.pack(head, self._rollout, self._stage, self._receipts.node)
            self._begun = key.begun


def read(text: str, keys: Mapping[int, ReceiptKey]) -> Receipt:
    """What a receipt says.

    Args:
        text: as it was answered.
        keys: by id, all that are still valid.

    Raises:
        UnknownKey: it is of a key that is not among these.
        InvalidInput: it is no receipt, or not what was signed.
    """
    id_, rollout, stage, node, when, counted, key = _verified(text, keys)
    drawn, role, anew, candidate = _sides_of(when)
    worker, counter, arrived = counted >> 24, counted & 0xFFFFFF, (when & _MICROS) / 1e6
    return Receipt(id_, rollout, stage, drawn, role, arrived, node, worker, counter, key, anew, candidate)


def read_draw(text: str, keys: Mapping[int, ReceiptKey]) -> tuple[int, float, Role | None]:
    """Of what a receipt says `rollout`, `arrived` and `drawn`, in less time; else as `read`."""
    found = _verified(text, keys)
    return found[1], (found[4] & _MICROS) / 1e6, _sides_of(found[4])[0]


def _verified(text: str, keys: Mapping[int, ReceiptKey]) -> tuple[int, int, int, int, int, int, int]:
    """Key, rollout, stage, node, when, counted and sticky key, as the bytes have them."""
    raw = _raw(text)
    if raw is None:
        raise InvalidInput(f"not a receipt: it has {LENGTH} characters out of A-Z, a-z, 0-9, - and _")
    head, rollout, stage, node, when, counted, key = _ALL.unpack_from(raw)
    version, id_ = head >> 12, head & 0xFFF
    if version != _VERSION:
        raise InvalidInput(f"a receipt of version {version}, where {_VERSION} is known")
    if id_ not in keys:
        raise UnknownKey(id_, (when & _MICROS) / 1e6)
    signed = keys[id_].begun.copy()
    signed.update(raw[:-_MAC_BYTES])
    if not compare_digest(signed.digest(), raw[-_MAC_BYTES:]):
        raise InvalidInput("the receipt is not as it was made: some of its characters were altered")
    return id_, rollout, stage, node, when, counted, key


def _sides_of(when: int) -> _Sides:
    sides = _READ[when >> 56]
    if sides is None:
        raise InvalidInput("the receipt names a role that is not known here: its maker is of a newer release")
    return sides


def claimed_arrival(text: str) -> float | None:
    """When a receipt says that its request arrived, seconds since 1970; None of what is no receipt.

    Nobody has verified it: it is for whoever looks the receipt up, and would find nothing for an altered one.
    """
    raw = _raw(text)
    if raw is None:
        return None
    when = _ALL.unpack_from(raw)[4]
    return (int(when) & _MICROS) / 1e6


def _raw(text: str) -> bytes | None:
    """The bytes that are written so; None where it is not how any are written."""
    if len(text) != LENGTH:
        return None
    try:
        raw = a2b_base64(text.encode("ascii").translate(_FROM_URL), strict_mode=True)
    except ValueError:
        return None
    return raw if len(raw) == _BYTES else None  # with `=` at its end there are fewer
