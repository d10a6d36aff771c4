"""The process that converts one model; what it imports is large, and what it reads is somebody's graph.

It reads a `Job` as JSON from standard input, writes the variant where the job says, and tells as JSON what it
did, or why it did nothing. The variant says itself where it comes from, in two entries of its
`metadata_props`: `understudy.origin` (model, sha256) and `understudy.conversion` (method, options, versions).
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.shape_inference import quant_pre_process

from serving.models.files.lineage import CONVERSION, ORIGIN

Options = dict[str, str | bool]

_NOT_INHERITED = ("parent", "registered_as", "registered_by", "registered_at", "signature")
"""What a file may say of itself (`serving.models.files.lineage`) that holds of no variant of it."""

_QUANTIZED = {"DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger"}


class _Rows(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Requests, one after the other, as onnxruntime asks for them."""

    def __init__(self, file: Path) -> None:
        self._rows = _requests(file)

    def get_next(self) -> Mapping[str, npt.NDArray[Any]] | None:
        """The next one; None after the last."""
        return next(self._rows, None)


def _requests(file: Path) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """What `understudy.variants.converting` has written: arrays called by row and input."""
    with np.load(file, allow_pickle=False) as arrays:
        by_row: dict[str, list[str]] = {}
        for key in arrays.files:
            by_row.setdefault(key.partition(":")[0], []).append(key)
        for keys in by_row.values():
            yield {key.partition(":")[2]: arrays[key] for key in keys}


def _dynamic(source: Path, target: Path, _rows: Path | None) -> Options:
    quantize_dynamic(source, target, weight_type=QuantType.QInt8)
    return {"weights": "int8", "activations": "uint8, ranges of each run"}


def _static(source: Path, target: Path, rows: Path | None) -> Options:
    assert rows is not None
    quantize_static(
        source,
        target,
        _Rows(rows),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return {"weights": "int8, by channel", "activations": "uint8, ranges of rows", "format": "QDQ"}


def _halved(source: Path, target: Path, _rows: Path | None) -> Options:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = ONNXModel(convert_float_to_float16(onnx.load(source), keep_io_types=True))
    converted.topological_sort()  # the casts of inputs are put last, where nobody may read them
    onnx.save(converted.model, target)
    return {"inputs and outputs": "as before"}


_CONVERT: dict[str, Callable[[Path, Path, Path | None], Options]] = {
    "int8": _dynamic,
    "int8-static": _static,
    "fp16": _halved,
}


def convert(source: Path, target: Path, method: str, rows: Path | None, origin: Mapping[str, str]) -> bool:
    """Write a variant.

    Args:
        source: the model.
        target: where the variant goes.
        method: one of `understudy.variants.methods`.
        rows: requests to calibrate with, where it is calibrated.
        origin: what is written down of where it comes from.

    Returns:
        Whether anything of it could be converted that was not already.
    """
    before = onnx.load(source, load_external_data=False)
    if method != "fp16" and _quantized(before):
        return False  # a second time costs answers and gains nothing
    with tempfile.TemporaryDirectory() as scratch:
        prepared = source
        if method != "fp16":  # shapes known and constants folded: more can be quantized
            prepared = Path(scratch) / "prepared.onnx"
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
        options = _CONVERT[method](prepared, target, rows)
    model = onnx.load(target)
    if (_halves(model) <= _halves(before)) if method == "fp16" else not _quantized(model):
        return False
    versions = {name: version(name) for name in ("onnx", "onnxruntime")}
    entries = {entry.key: entry.value for entry in model.metadata_props if entry.key not in _NOT_INHERITED}
    entries[ORIGIN] = json.dumps(origin)
    entries[CONVERSION] = json.dumps({"method": method, "options": options, **versions})
    onnx.helper.set_model_props(model, entries)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return True


def _quantized(model: onnx.ModelProto) -> bool:
    return any(node.op_type in _QUANTIZED for node in model.graph.node)


def _halves(model: onnx.ModelProto) -> int:
    """How many of its weights have 16 bits."""
    return sum(each.data_type == onnx.TensorProto.FLOAT16 for each in model.graph.initializer)


def main() -> None:
    """Do the job on standard input."""
    job = json.load(sys.stdin)
    rows = Path(job["rows"]) if job["rows"] else None
    told: dict[str, str | bool]
    try:
        done = convert(Path(job["source"]), Path(job["target"]), job["method"], rows, job["origin"])
    except Exception as error:  # noqa: BLE001  (whatever the libraries raise is a reason for who asked)
        told = {"error": f"{type(error).__name__}: {error}"[:500]}
    else:
        told = {"converted": done}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
