"""The fleet's keys for receipts as they travel from control to workers, and as a node keeps them. Pure.

Law: keys are told to processes that ask for them, in the exchange that takes the operator's token, and to
nobody else; a text of these values does not hold them.
"""

from collections.abc import Iterable
from hashlib import blake2b

from pydantic import BaseModel, ConfigDict, Field

from router.counting.receipt import KEY_IDS, SECRET_BYTES, ReceiptKey


class KeyRow(BaseModel):
    """One key."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int = Field(ge=KEY_IDS[0], le=KEY_IDS[-1])
    secret: str = Field(repr=False, pattern=rf"^[0-9a-f]{{{2 * SECRET_BYTES}}}$", description="Hexadecimal")
    made: float = Field(ge=0, le=2**53, description="Seconds since 1970")

    @classmethod
    def of(cls, key: ReceiptKey) -> "KeyRow":
        """A key as it travels."""
        return cls(id=key.id, secret=key.secret.hex(), made=key.made)

    @property
    def key(self) -> ReceiptKey:
        """The key that came."""
        return ReceiptKey(self.id, bytes.fromhex(self.secret), self.made)


def ring_id(keys: Iterable[ReceiptKey]) -> str:
    """Says which keys somebody has without saying the keys; empty for none."""
    parts = sorted(f"{key.id} {key.made} {key.secret.hex()}" for key in keys)
    if not parts:
        return ""
    return blake2b("\n".join(parts).encode(), digest_size=16, person=b"ring").hexdigest()
