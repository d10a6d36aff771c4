"""`python -m benchmarks.peers`: other servers and this one, the same work, in one run.

`make bench PARTS=peers PEERS=triton,mosec BENCH_SECONDS=1` selects peers and shortens the measurements. Only
a whole run at full length writes docs/benchmarks; any other writes into .understudy/bench.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from benchmarks.peers import answers, catalogue, ours, report
from benchmarks.peers.environments import HOME
from benchmarks.peers.measure import Row, alone, measure
from benchmarks.peers.peer import Peer
from benchmarks.peers.processes import adopt_orphans, kill_all
from benchmarks.tools.bench import DOCS

SECONDS = 8


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C and SIGTERM: every server is ended on the way out, which a second one must not cut short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """Measure, then write the raw figures and the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--peers", default=os.environ.get("PEERS", ""), help="comma-separated; default: all")
    parser.add_argument(
        "--seconds", type=int, default=os.environ.get("BENCH_SECONDS", SECONDS), help="of one measurement"
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.seconds <= 60:
        parser.error(f"--seconds: 1 to 60, got {arguments.seconds}")
    try:
        peers = catalogue.chosen(arguments.peers)
    except ValueError as error:
        parser.error(str(error))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    adopt_orphans()
    whole = not arguments.peers and arguments.seconds >= SECONDS
    told = report.facts(arguments.seconds)
    rows = run(peers, arguments.seconds)
    folder = DOCS if whole else HOME
    folder.mkdir(parents=True, exist_ok=True)
    selected = f" --peers {arguments.peers}" if arguments.peers else ""
    command = f"python -m benchmarks.peers{selected} --seconds {arguments.seconds}"
    report.write(folder, rows, {**told, "command": command})
    print((folder / "peers.md").read_text(), f"written: {folder}", sep="\n")


def run(peers: Sequence[Peer], seconds: int) -> list[Row]:
    """Ours first and last, so that the machine's drift shows; between them the floors and the peers."""
    rows = answers.expected()
    first = measure(ours.OURS, rows, seconds)
    between = [measure(peer, rows, seconds) for peer in (ours.CANARY, ours.FLOOR)]
    between.append(alone(ours.ALONE, seconds))
    between += [measure(peer, rows, seconds) for peer in peers]
    return [first, *between, measure(ours.LAST, rows, seconds)]


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        kill_all()
