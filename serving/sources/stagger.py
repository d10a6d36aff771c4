"""When each node of a fleet begins a large download, so that they do not all begin at once. Pure.

Each waits a part of the time that the setting gives, drawn by a hash of its name and of what it fetches:
always the same for a node and a version, another for another. So of N nodes whose downloads take D seconds
each, about N * D / S download at a time and not N, where S is the time of the setting.
"""

from hashlib import blake2b
from typing import Final

LARGE_BYTES: Final = 64 << 20
"""What is smaller is fetched at once."""


def delay(node: str, what: str, size: int, stagger_seconds: float) -> float:
    """How long a node waits before it fetches something, seconds.

    Args:
        node: its name, another one for each.
        what: is fetched.
        size: of it, bytes.
        stagger_seconds: over which a fleet spreads its downloads; 0: nobody waits.
    """
    if size < LARGE_BYTES or stagger_seconds <= 0:
        return 0.0
    drawn = int.from_bytes(blake2b(f"{node}\0{what}".encode(), digest_size=8).digest())
    return stagger_seconds * drawn / 2**64
