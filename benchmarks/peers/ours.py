"""This repository's own rows: the product, with a rollout active, and the floors."""

import json
import sys
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.peers.answers import MODEL
from benchmarks.peers.peer import Peer, Place


def _ours(rollouts: str) -> Callable[[Place], Sequence[str]]:
    def command(place: Place) -> Sequence[str]:
        models = place.folder / "models" / "iris"
        for number in ("1", "2"):  # the candidate costs what stable costs, and answers the same
            (models / number).mkdir(parents=True)
            (models / number / "model.onnx").write_bytes(MODEL.read_bytes())
        (models / "config.yaml").write_text("versions: all\n")
        file = place.folder / "rollouts.yaml"
        file.write_text(rollouts)
        return [
            sys.executable, "-m", "understudy", "up", "--models", str(models.parent), "--rollouts", str(file),
            "--host", "127.0.0.1", "--port", str(place.port), "--admin-port", str(place.other),
            "--workers", "1", "--state-dir", str(place.folder / "state"), "--log-level", "error",
        ]  # fmt: skip

    return command


def _targets_ready(place: Place) -> bool:
    """Whether all targets are ready in all processes that use them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{place.other}/v1/rollouts", timeout=5) as answer:
        views = json.loads(answer.read())
    return bool(views) and all(
        view["in_force_everywhere"]
        and all(target["ready"] and all(target["ready"].values()) for target in view["targets"])
        for view in views
    )


OURS = Peer(
    "ours",
    "understudy up: stable",
    "one worker; metrics, counts and control on; `iris: {stable: iris/1}`",
    _ours("iris: {stable: iris/1}\n"),
    ready=_targets_ready,
    shape="1,4",
)
CANARY = Peer(
    "ours-canary",
    "understudy up: canary at 10%",
    "the same with `canary: {model: iris/2, weight: 10}` in a sandbox on the same core",
    _ours("iris: {stable: iris/1, canary: {model: iris/2, weight: 10}}\n"),
    ready=_targets_ready,
)
FLOOR = Peer(
    "floor",
    "floor: bare httptools protocol",
    "benchmarks/speed/floor.py: asyncio protocol on httptools under uvloop, orjson; no checks, no metrics",
    lambda place: [sys.executable, "benchmarks/speed/floor.py", str(place.port)],
)
LAST = replace(OURS, name="ours-again", title="understudy up: stable, again at the end", shape="")
ALONE = Peer(
    "alone",
    "onnxruntime alone in a loop",
    "benchmarks/peers/loop.py: no server, one call after the other",
    lambda _: [],
)
