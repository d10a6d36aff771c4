"""Scenes in which a person edits the rollout file: a shadow, a growing canary, a slip of the hand."""

import numpy as np
import onnxruntime as ort

from harness.system import ROOT, Up, eventually
from stage import Stage
from watched import RATE

ROLLOUTS = """\
digits:
  stable: digits/1
  canary: {model: digits/2, weight: WEIGHT, mirror: 20}
  shadows:
    - {model: digits/3, sample: 100}
  sticky: {header: x-user-id}
  compare:
    label: exact
    probabilities: {atol: 0.2}
"""
SHADES = " .:*#"


def by_weight(weight: float) -> str:
    """The rollout file with this share, in percent, for the canary."""
    return ROLLOUTS.replace("WEIGHT", f"{weight:g}")


def _weight_line(weight: float) -> str:
    return by_weight(weight).splitlines()[2]


def _edit(stage: Stage, before: float, after: float) -> None:
    signed = (("-", before), ("+", after))
    stage.screen.say("\n".join(f"{sign} {_weight_line(weight)}" for sign, weight in signed))
    stage.edit(by_weight(after))


def at_rest(stage: Stage) -> None:
    """Stable alone, with a shadow."""
    stage.screen.scene(f"digits/1 serves; digits/3 shadows it, unseen by clients ({RATE} requests/s)")
    stage.screen.say("A shadow gets a copy of every request; its answers are compared and thrown away.")
    stage.watch(5)


def ten_percent(stage: Stage) -> None:
    """A canary begins."""
    stage.screen.scene("An edit of the rollout file: 10% to the canary digits/2")
    _edit(stage, 0, 10)
    stage.watch(6)


def fifty_percent(stage: Stage) -> None:
    """A canary grows."""
    stage.screen.scene("Another edit: 50% to the canary")
    _edit(stage, 10, 50)
    stage.screen.say("By x-user-id a person stays on one side: growing only adds people to the canary.")
    stage.watch(6)


def the_shadow_is_wrong(stage: Stage) -> None:
    """Which digits the shadow confuses, by running both models on the held-out rows here."""
    stage.screen.scene("Why digits/3 must not go live: where it disagrees with digits/1")
    with np.load(ROOT / "models" / "digits" / "heldout.npz") as rows:
        pixels, labels = rows["inputs"], rows["labels"]
    live, shadow = (_labels(number, pixels) for number in (1, 3))
    wrong = (live == labels) & (shadow != labels)
    pairs, counts = np.unique(np.stack([labels[wrong], shadow[wrong]], axis=1), axis=0, return_counts=True)
    worst = [(*pairs[at].tolist(), counts[at]) for at in np.argsort(-counts)[:3]]
    told = ", ".join(f"{true} taken for {taken} ({count} times)" for true, taken, count in worst)
    stage.screen.say(f"{len(labels)} held-out rows, digits/1 right and digits/3 wrong: {told}")
    chosen = [
        int(np.flatnonzero(wrong & (labels == true) & (shadow == taken))[0]) for true, taken, _ in worst
    ]
    pictures = [_picture(pixels[row], f"{labels[row]} -> {shadow[row]}") for row in chosen]
    stage.screen.say("\n".join("   ".join(row) for row in zip(*pictures, strict=True)))
    stage.watch(8)


def _labels(number: int, pixels: np.ndarray) -> np.ndarray:
    path = ROOT / "models" / "digits" / str(number) / "model.onnx"
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["label"], {"pixels": pixels})[0])


def _picture(pixels: np.ndarray, caption: str) -> list[str]:
    """A row of 64 pixels of 0 to 16 as 8 lines of 16 characters, and a caption."""
    shades = (pixels / 16.001 * len(SHADES)).astype(int).reshape(8, 8)
    return [caption.ljust(16), *("".join(SHADES[shade] * 2 for shade in line) for line in shades)]


def a_bad_edit(stage: Stage) -> None:
    """Refused whole, with its place; the last good file serves on."""
    stage.screen.scene("A slip of the hand: weight 500")
    stage.screen.say(f"+ {_weight_line(500)}")
    stage.up.edit(by_weight(500))
    refusal = eventually(lambda: _problem(stage.up), "refusal of the edit")
    stage.screen.say(f"refused: {refusal}\nthe last good one serves on")
    stage.watch(4)
    stage.up.edit(by_weight(50))
    eventually(lambda: not _problem(stage.up), "acceptance of the mended file")


def _problem(up: Up) -> str:
    answer = up.admin.get("/readyz")
    return "" if answer.status_code == 200 else str(answer.json()["detail"])
