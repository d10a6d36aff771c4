"""Canaries and a shadow at work on real digits, in about 80 seconds: `make demo`.

python demo/demo.py [--fast]

Starts a whole node with a rollout file of its own in a temporary folder, sends it held-out digits, edits the
file, and shows what follows: first what people decide, then what the autopilot decides on evidence. Ctrl-C
ends it cleanly at any time.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console
from rich.text import Text

# Folders of tests have the names of packages, so the packages' own place is looked at too.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import by_evidence
import by_hand
from harness.system import Up
from screen import Screen
from stage import WORKERS, Stage
from watched import Traffic

START_SECONDS = 120.0
"""A start from cold files on a busy machine took more than 30."""

SCENES: list[Callable[[Stage], None]] = [
    by_hand.at_rest,
    by_hand.ten_percent,
    by_hand.fifty_percent,
    by_hand.the_shadow_is_wrong,
    by_hand.a_bad_edit,
    by_evidence.a_failing_canary,
    by_evidence.a_good_canary,
    by_evidence.a_wrong_canary,
]

NEXT = """\
Try it yourself:
  make run        and in another terminal:
  curl -s localhost:8000/v2/models/iris/infer -d '{"inputs": [{"name": "features", "datatype": "FP32",
       "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}]}'
  curl -s localhost:9000/v1/rollouts/digits       and edit rollouts.yaml while it serves
  curl -s localhost:9000/metrics | grep comparison_total
  http://localhost:9000/docs"""


def play(console: Console, folder: Path, pace: float) -> None:
    """Start everything, play the scenes, end everything."""
    console.print(f"starting control, {WORKERS} workers and the sandboxes of digits/2 and digits/3 ...")
    with contextlib.ExitStack() as stack:
        up = Up(folder, by_hand.by_weight(0), options=("--workers", str(WORKERS)))
        stack.callback(_end, up)
        up.wait_ready(START_SECONDS)
        traffic = Traffic(f"{up.url}/v2/models/digits/infer")
        stack.callback(lambda: console.print(f"{traffic.total} requests sent, {traffic.failed} failed"))
        stack.callback(traffic.end)
        live = console.is_terminal and not console.is_dumb_terminal
        screen = stack.enter_context(Screen(console, live=live))
        for scene in SCENES:
            scene(Stage(up, traffic, screen, pace))
            screen.summary()


def _end(up: Up) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = up.end()
    if code not in {0, -signal.SIGTERM}:  # the latter when it had not begun yet
        raise AssertionError(f"the server ended with {code}")


def main() -> int:
    """Run the command line; 0 also when it was interrupted."""
    parser = argparse.ArgumentParser(description="Canaries and a shadow at work.")
    parser.add_argument("--fast", action="store_true", help="shorten what only waits for the reader")
    pace = 0.2 if parser.parse_args().fast else 1.0
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="understudy-demo-", ignore_cleanup_errors=True) as folder:
        try:
            play(console, Path(folder), pace)
        except KeyboardInterrupt:
            console.print("interrupted; everything was ended")
            return 0
        except (AssertionError, httpx.HTTPError) as error:
            for log in Path(folder).glob("*.log"):
                console.print(Text(log.read_text()[-4000:]), soft_wrap=True)
            console.print(Text(f"error: {error}", style="red"))
            return 1
    console.print(Text(NEXT), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
