"""Variants of CNNs and of a block of a transformer: size, speed, agreement, by `understudy models quantize`.

`python -m benchmarks.variants` writes docs/benchmarks/variants.md and, beside it, the raw figures as JSON.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from sklearn.model_selection import train_test_split  # type: ignore[import-untyped]

from benchmarks.variants.page import page
from benchmarks.variants.transformer import transformer
from serving.errors import ServingError
from understudy.variants.making import Asked, make
from understudy.variants.methods import METHODS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "benchmarks"
BUNDLED = {
    "digits-cnn/1": "two convolutions of 32 and 64 filters",
    "digits/4": "two convolutions of 128 filters",
}
BLOCK = "a block of a transformer, 8 tokens of width 128"
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "avx512_fp16", "f16c")


def main() -> None:
    """Measure, write."""
    raw = {"machine": _machine(), "measured": list(_measured())}
    (DOCS / "variants.json").write_text(json.dumps(raw, indent=1) + "\n")
    (DOCS / "variants.md").write_text(page(raw))


def _measured() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch)
        for name in ("digits", "digits-cnn"):
            shutil.copytree(ROOT / "models" / name, models / name)
        _put_transformer(models)
        for key, about in {**BUNDLED, "digits-block/1": BLOCK}.items():
            for method in METHODS.values():
                print(key, method.name, file=sys.stderr, flush=True)
                try:
                    made = make(Asked(models, key, method))
                except ServingError as error:
                    yield {"of": key, "about": about, "method": method.name, "refused": str(error)}
                    continue
                yield {"of": key, "about": about} | _figures(made.as_json())


def _put_transformer(models: Path) -> None:
    data = load_digits()
    pixels, labels = data.data.astype(np.float32), data.target.astype(np.int64)
    ours, theirs, our_labels, their_labels = train_test_split(
        pixels, labels, test_size=0.4, random_state=0, stratify=labels
    )
    folder = models / "digits-block" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(transformer(ours, our_labels).SerializeToString())
    np.savez_compressed(folder.parent / "heldout.npz", inputs=theirs, labels=their_labels)


def _figures(made: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of a variant."""
    tested = made["tested"]
    agreement = {each["output"]: each["differing"] for each in tested["outputs"]}["label"]
    return {
        "method": made["method"],
        "bytes": [made["origin_bytes"], made["bytes"]],
        "speed": tested["speed"],
        "differing": [agreement["events"], agreement["trials"]],
        "right": [tested["accuracy"][side]["events"] for side in ("base", "candidate")],
        "rows": tested["rows"],
        "dependence": made["dependence"],
    }


def _machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in cpu.splitlines() if line.startswith("model name")), "")
    flags = set(next((line for line in cpu.splitlines() if line.startswith("flags")), "").split())
    return {
        "cpu": model or platform.machine(),
        "instructions": [flag for flag in CPU_FLAGS if flag in flags],
        "load": os.getloadavg()[0],
        "onnxruntime": version("onnxruntime"),
    }


if __name__ == "__main__":
    main()
