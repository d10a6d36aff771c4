"""Asking the process that converts (`understudy.variants.convert`)."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import InvalidInput, InvalidModel
from serving.wire.tensors import Array
from understudy.variants.methods import Method

CONVERT_SECONDS = 900.0


def convert(
    source: Path,
    target: Path,
    method: Method,
    rows: Sequence[Mapping[str, Array]],
    origin: Mapping[str, str],
) -> None:
    """Write a variant of a model; blocks.

    Args:
        source: the model.
        target: where it goes; its folder is there.
        method: how it is made.
        rows: requests to calibrate with; used where it is calibrated.
        origin: what is written into it.

    Raises:
        InvalidInput: the rows cannot be used.
        InvalidModel: it cannot be converted; says why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.npz"
        if method.calibrated:
            _write(file, rows)
        job = {
            "source": str(source.absolute()),
            "target": str(target.absolute()),
            "method": method.name,
            "rows": str(file) if method.calibrated else "",
            "origin": origin,
        }
        told = _ask(job)
    if "error" in told:
        raise InvalidModel(f"it cannot be converted to {method.name}: {told['error']}")
    if not told["converted"]:
        raise InvalidModel(f"there is nothing to convert to {method.name}: {method.nothing}")


def _write(file: Path, rows: Sequence[Mapping[str, Array]]) -> None:
    arrays = {f"{number}:{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    if text := next((name for row in rows for name, value in row.items() if value.dtype.kind == "O"), None):
        raise InvalidInput(f"its input {text!r} is text, which onnxruntime cannot calibrate with: use --int8")
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs take `allow_pickle` for one of them


def _ask(job: Mapping[str, Any]) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", "understudy.variants.convert"],
            input=json.dumps(job), capture_output=True, text=True, env=environment, check=False,
            timeout=CONVERT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise InvalidModel(f"it was not converted within {CONVERT_SECONDS:.0f} s") from None
    if ended.returncode == 0:
        last: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return last
    code = ended.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}: {ended.stderr[-300:].strip()}"
    return {"error": f"the process that converts ended ({how})"}
