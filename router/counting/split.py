"""Which side answers a request.

Law: a key has one point in [0, 1), fixed by the salt, and goes to the canary when its point lies below the
canary's share. So one key always has one answer, raising the weight only adds keys to the canary, and
lowering it only takes some away. Keys without a point of their own (no sticky header) draw a fresh one,
and the law of large numbers does the rest. Another salt orders the keys anew: nobody is first each time.
Pure.
"""

from hashlib import blake2b
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


def key_hash(key: bytes) -> int:
    """A sticky key as 64 bits that are never 0, which stands for no key."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") or 1
