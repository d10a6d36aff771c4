"""One fault under constant load, from calm to recovery, with a record of what it cost."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.ledgers import Ledgers, take
from harness.load import Load
from harness.system import Up, eventually


def nothing() -> None:
    """Do nothing: for a fault that lifts itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to a system, and how one knows.

    Args:
        name: in words, for the table.
        inject: begins it.
        felt: whether it has shown; it lasts until then.
        lift: ends it.
        recovered: whether everything is as it was before.
        killed: it kills a worker, and with it at most so many requests under way.
    """

    name: str
    inject: Callable[[], None]
    felt: Callable[[], object]
    recovered: Callable[[], object]
    lift: Callable[[], None] = nothing
    killed: int = 0


@dataclass(frozen=True, slots=True)
class Incident:
    """What a fault cost.

    Attributes:
        rate: requests a second, held throughout.
        requests: all of them.
        errors: status other than 200 -> answers; 0 stands for a broken connection.
        p99_before: seconds, of what was sent in the calm before.
        p99_during: seconds, of what was sent between the fault and the recovery.
        recovery_seconds: from the end of the fault (of one that lifts itself: its beginning).
        ledgers: of clients, counts and targets.
        problems: where these contradict each other.
    """

    fault: str
    rate: float
    requests: int
    errors: Mapping[int, int]
    p99_before: float
    p99_during: float
    recovery_seconds: float
    ledgers: Ledgers
    problems: tuple[str, ...]


def endure(
    up: Up,
    model: str,
    load: Load,
    fault: Fault,
    *,
    calm: int = 100,
    received: Callable[[], Mapping[str, int]] = dict,
) -> Incident:
    """Let the load run calmly for so many requests, inject the fault, lift it, wait for the recovery, add up.

    Raises:
        AssertionError: the fault did not show, or the system did not recover.
    """
    with load:
        _more(load, calm)
        began = time.monotonic()
        fault.inject()
        try:
            eventually(fault.felt, f"{fault.name}: felt")
        finally:
            lifted = began if fault.lift is nothing else time.monotonic()
            fault.lift()
        eventually(fault.recovered, f"{fault.name}: recovered")
        recovered = time.monotonic()
        _more(load, calm // 2)
        ledger = load.stop()
    ledgers = take(up, model, ledger, received())
    return Incident(
        fault.name,
        load.rate,
        ledger.sent,
        Counter({status: count for status, count in ledger.statuses.items() if status != 200}),
        p99([seconds for sent, _, seconds in ledger.rows if sent < began]),
        p99([seconds for sent, _, seconds in ledger.rows if began <= sent <= recovered]),
        recovered - lifted,
        ledgers,
        tuple(ledgers.problems(fault.killed)),
    )


def _more(load: Load, requests: int) -> None:
    goal = load.ledger.sent + requests
    eventually(lambda: load.ledger.sent >= goal, f"{requests} more answers")


def p99(seconds: list[float]) -> float:
    """The 99th percentile; 0 of nothing."""
    ordered = sorted(seconds)
    return ordered[int(len(ordered) * 0.99)] if ordered else 0.0
