"""One server after the other: start, check, load, check, end."""

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers import load
from benchmarks.peers.answers import Expected, WrongAnswerError, ask, ask_all
from benchmarks.peers.catalogue import home
from benchmarks.peers.environments import NotInstalledError, install
from benchmarks.peers.peer import Peer, Place, common
from benchmarks.peers.processes import NotStartedError, started

MANY = 32
CONNECTIONS = (1, MANY)
RATES = (1000, 2000, 4000, 6000)
"""Requests/s of the open loop; on one core perf_analyzer sends hardly more of them in time."""

USERS = 20


@dataclass(slots=True)
class Row:
    """What one server did.

    Attributes:
        peer: which.
        failure: why there are no figures; empty when there are.
        start_seconds: from the start of its processes to the first right answer.
        closed: by connections.
        open: by requests/s asked; a text is why there is none.
        users: Locust's; a text is why there is none.
    """

    peer: Peer
    failure: str = ""
    start_seconds: float = 0.0
    closed: dict[int, load.Closed] = field(default_factory=dict)
    open: dict[int, load.Open | str] = field(default_factory=dict)
    users: load.Users | str = ""


def measure(peer: Peer, rows: Sequence[Expected], seconds: float) -> Row:
    """All figures of one server; what fails is told in the row, never raised.

    Args:
        peer: the server.
        rows: questions with their answers.
        seconds: of one measurement.
    """
    row = Row(peer)
    try:
        if peer.pins:
            install(peer.pins)
        with tempfile.TemporaryDirectory(prefix="peer-") as folder:
            _serve(peer, row, rows, seconds, Path(folder))
    except (NotInstalledError, NotStartedError, WrongAnswerError, load.LoadError, OSError) as error:
        row.failure = str(error)
    print(peer.title, row.failure or "", flush=True)
    return row


def _serve(peer: Peer, row: Row, rows: Sequence[Expected], seconds: float, folder: Path) -> None:
    place = Place(home(peer), folder)
    url = f"http://127.0.0.1:{place.port}{peer.path}"
    environment: Mapping[str, str] = common(place.home) if peer.pins else {}

    def answers() -> bool:
        ask(url, rows[0], oip=peer.oip)
        return peer.ready(place)

    began = time.monotonic()
    with started(
        peer.command(place), {**environment, **peer.environment(place)}, folder / "log", answers, peer.seconds
    ):
        row.start_seconds = time.monotonic() - began
        ask_all(url, rows, oip=peer.oip)
        with contextlib.suppress(load.LoadError):  # warm; what is wrong shows in the measurement
            load.wrk(url, MANY, min(2.0, seconds), oip=peer.oip)
        for connections in CONNECTIONS:
            row.closed[connections] = load.wrk(url, connections, seconds, oip=peer.oip)
            print(f"  c={connections} {row.closed[connections]}", flush=True)
        if peer.shape:
            _open_loop(row, place.port, seconds, folder)
        ask_all(url, rows, oip=peer.oip)


def _open_loop(row: Row, port: int, seconds: float, folder: Path) -> None:
    """perf_analyzer and Locust; one that fails leaves the reason and the others' figures."""
    for rate in RATES:
        try:
            install("client")
            row.open[rate] = load.perf_analyzer(port, row.peer.shape, rate, seconds, folder)
        except (NotInstalledError, load.LoadError) as error:
            row.open[rate] = str(error)
        print(f"  {rate}/s {row.open[rate]}", flush=True)
    try:
        row.users = load.locust(port, USERS, seconds, folder)
    except load.LoadError as error:
        row.users = str(error)
    print(f"  {row.users}", flush=True)


def alone(peer: Peer, seconds: float) -> Row:
    """The model by itself, as a row: a call at a time, so its c=1 is all there is."""
    row = Row(peer)
    try:
        row.closed[1] = load.alone(seconds)
    except (load.LoadError, OSError) as error:
        row.failure = str(error)
    return row
