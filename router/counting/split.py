"""Which side answers a request.

Law: a key has one point in [0, 1), fixed by the salt, and goes to the canary when its point lies below the
canary's share. So one key always has one answer, raising the weight only adds keys to the canary, and
lowering it only takes some away. Keys without a point of their own (no sticky header) draw a fresh one,
and the law of large numbers does the rest. Another salt orders the keys anew: nobody is first each time.
Of keys that no weight of their salt has drawn to the canary yet, the points are spread evenly over what is
left, whatever became of the others: they alone are drawn anew when the weight is raised. Pure.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import fsum
from typing import Literal

Role = Literal["stable", "canary"]


def point(salt: bytes, key: bytes) -> float:
    """The key's place in [0, 1), a multiple of 2^-53, evenly spread over keys.

    Args:
        salt: of the rollout; quickest up to 64 bytes.
        key: what the client sent to be recognised by, of any length.
    """
    if len(salt) > blake2b.MAX_KEY_SIZE:
        salt = blake2b(salt).digest()
    return (int.from_bytes(blake2b(key, digest_size=8, key=salt).digest()) >> 11) * 2.0**-53


def decide(weight: float, point: float) -> Role:
    """The role that answers.

    Args:
        weight: the canary's share in percent, 0 to 100, which may be a fraction such as 0.1.
        point: of the request's key, or drawn; in [0, 1).
    """
    return "canary" if point < weight / 100 else "stable"


def ends_of(weights: Sequence[float]) -> tuple[float, ...]:
    """Where the shares of several candidates end, the one behind the other from 0; the rest is stable's.

    A point belongs to the first candidate whose end lies above it: `bisect.bisect_right` finds its place, or
    their number for stable.

    Args:
        weights: percent of the draws of each, with a sum below 100.
    """
    return tuple(fsum(weights[: place + 1]) / 100 for place in range(len(weights)))


def salt_of(model: str, canary: str, draw: int) -> bytes:
    """What orders the keys of a rollout.

    Args:
        model: the public name.
        canary: key of the candidate: a new one meets other users first than the one before it did.
        draw: which draw of users it is; 0 is the first under this name.
    """
    return f"{model}\0{canary}\0{draw}".encode() if draw else f"{model}\0{canary}".encode()


def fresh_weight(weight: float, used: float) -> float:
    """The canary's share of the keys with a point of at least `used` percent, in percent.

    Args:
        weight: the canary's share of all keys, 0 to 100.
        used: the greatest one before, under the same salt.

    Returns:
        0 where nobody is drawn anew, since the weight is not above what was used.
    """
    if used <= 0.0:
        return weight
    return 100.0 * (weight - used) / (100.0 - used) if weight > used else 0.0


def key_hash(key: bytes) -> int:
    """A sticky key as 64 bits that are never 0, which stands for no key."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") or 1
