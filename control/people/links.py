"""Links by which one person may approve one step, once: what they carry, signed.

Law: a link says nothing that is not signed by control's own key, and it is good until its time is over. That
it is used once is the store's affair, and whether it still fits that of who looks at what is in force. Pure.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import asdict, dataclass

from serving.errors import ServingError

MAX_LENGTH = 2000


class Forged(ServingError):
    """It was not made by this control."""

    kind = "forbidden"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a link is for.

    Args:
        model: the public name.
        revision: that was in force when it was made.
        stage: the stage under way then.
        step: the index of the step that waits.
        seen: hash of what there was to look at then.
        person: for whom it was made.
        until: seconds since 1970 until which it can be used.
        nonce: by chance.
    """

    model: str
    revision: int
    stage: int
    step: int
    seen: str
    person: str
    until: float
    nonce: str


def sign(key: bytes, claims: Claims) -> str:
    """The token of a link: letters, digits, `-`, `_` and one dot."""
    body = _encoded(json.dumps(asdict(claims), sort_keys=True, separators=(",", ":")).encode())
    return f"{body}.{_encoded(_mac(key, body))}"


def read(key: bytes, token: str) -> Claims:
    """What a token says, whether its time is over or not.

    Raises:
        Forged: it is not ours, to the last bit.
    """
    body, _, mac = token.partition(".")
    if len(token) > MAX_LENGTH or not hmac.compare_digest(
        _encoded(_mac(key, body)).encode(), mac.encode(errors="replace")
    ):
        raise Forged("this link was not made here, or is not whole")
    try:
        return Claims(**json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (ValueError, TypeError, Error):
        raise Forged("this link is of another release") from None


def _mac(key: bytes, body: str) -> bytes:
    return hmac.digest(key, b"understudy approval link\0" + body.encode(errors="replace"), hashlib.sha256)


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
