"""The `x-request-id` of a request: what its client, or a proxy in front, calls it. Pure.

Law: an id is taken as it came or not at all. One that is not printable ASCII or is too long is neither echoed
nor kept, and its request is answered all the same: a proxy that names requests oddly must not be an outage.
Where there is none, none is made.
"""

import re
from collections.abc import Mapping

REQUEST_ID = b"x-request-id"
MAX_BYTES = 128

_TAKEN = re.compile(rb"[ -~]{1,%d}" % MAX_BYTES)


def request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The id that a request has; empty for none."""
    given = headers.get(REQUEST_ID)
    return b"" if given is None or _TAKEN.fullmatch(given) is None else given
