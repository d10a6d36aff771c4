"""Outcomes told to a door, batch by batch.

Law: whatever ends it, what was told is known: either all of a batch was answered for, or it may be told
again, for a door takes each outcome once. A door that is full or away for a moment is asked again.
"""

import gzip
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import httpx
import orjson

from router.wire.outcomes import MAX_LINES
from serving.errors import ServingError
from understudy.outcomes.files import Line

PATH: Final = "/v1/outcomes"
MOST_EXAMPLES: Final = 10
_MAX_BYTES: Final = 4 << 20
_TRIES: Final = 8
_LONGEST_SECONDS: Final = 30.0
_LATER: Final = frozenset({429, 502, 503, 504})
"""Answers of a door that may take the same a little later."""


@dataclass(slots=True)
class Tally:
    """What became of those that were told: how many were taken, the others by reason, and the first of these.

    Of `duplicate` none is among the first ones: that is no fault.
    """

    accepted: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def told(self) -> int:
        """All of them."""
        return self.accepted + self.left_out.total()

    @property
    def refused(self) -> int:
        """Left out, and not because they had been told before."""
        return self.left_out.total() - self.left_out["duplicate"]


class Stopped(ServingError):
    """A door took no more; says why."""


def batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Lines in the order in which they come, as many at once as a door takes."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if len(batch) == MAX_LINES or size + len(line.text) > _MAX_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.text)
    if batch:
        yield batch


def tell(
    client: httpx.Client, batch: list[Line], tally: Tally, wait: Callable[[float], None] = time.sleep
) -> None:
    """Tell a batch, and add up what the door says of it.

    Args:
        client: of a public or an admin door.
        batch: lines.
        tally: what became of those before.
        wait: for so many seconds.

    Raises:
        Stopped: the door refuses them, or is not there for long.
    """
    body = gzip.compress(b"".join(line.text for line in batch), 1)
    headers = {"content-type": "application/x-ndjson", "content-encoding": "gzip"}
    for left in reversed(range(_TRIES)):
        try:
            answer = client.post(PATH, content=body, headers=headers)
        except httpx.TransportError as error:
            why, seconds = f"{client.base_url}: {str(error) or type(error).__name__}", 1.0
            if isinstance(error, httpx.ConnectError) and not tally.told:
                break  # a wrong address is said at once
        else:
            if answer.is_success:
                _add(tally, answer, batch)
                return
            why, seconds = _words(answer), _retry_after(answer)
            if answer.status_code not in _LATER:
                break
        if left:
            wait(min(seconds, _LONGEST_SECONDS))
    raise Stopped(why)


def _add(tally: Tally, answer: httpx.Response, batch: list[Line]) -> None:
    try:
        said = orjson.loads(answer.content)
        tally.accepted += int(said["accepted"])
        tally.left_out.update({str(reason): int(number) for reason, number in said["left_out"].items()})
        for each in said.get("examples", ()):
            if len(tally.examples) < MOST_EXAMPLES and each["reason"] != "duplicate":
                words = f", {each['words']}" if each.get("words") else ""
                tally.examples.append(f"{batch[each['line'] - 1].place}: {each['reason']}{words}")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise Stopped(f"{answer.url}: that is no door that takes outcomes") from None


def _words(answer: httpx.Response) -> str:
    """Why, as either door says it."""
    try:
        said = orjson.loads(answer.content)
        return str(said.get("detail") or said["error"])
    except (ValueError, KeyError, AttributeError):
        return f"status {answer.status_code}"


def _retry_after(answer: httpx.Response) -> float:
    try:
        return max(0.0, float(answer.headers.get("retry-after", 1)))
    except ValueError:
        return 1.0
