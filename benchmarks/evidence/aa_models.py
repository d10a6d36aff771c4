"""The models of benchmarks.evidence.aa: two stables, a copy of each, and each with more to compute.

The slower one is the same graph behind a matrix product and its reverse, by the first rows of the identity:
its answers are those of stable to the last bit, and what the products cost is chosen by timing.
"""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from serving.models.files.repository import Repository
from serving.models.session.onnx_model import OnnxModel

PIXELS = 64
WIDTHS = (PIXELS, 768, 768, 768, 10)
STABLE, COPY, SLOWER = "1", "9", "15"
SLOWER_TIMES = 1.5
WARM, TIMINGS = 50, 300
PAUSE_SECONDS = 0.003
WIDEST = 1 << 14


@dataclass(frozen=True, slots=True)
class Timed:
    """What both models take by themselves: one row, one thread, no clients.

    Attributes:
        stable_us, slower_us: medians, microseconds.
        ratio: median of what the slower one took by what stable took right before.
        width: of the added products.
    """

    stable_us: float
    slower_us: float
    ratio: float
    width: int


def build(folder: Path, digits: Path) -> dict[str, Timed]:
    """Write `small` (the bundled one) and `mlp`, each with its copy and its slower version.

    Args:
        folder: the repository to be.
        digits: model.onnx of the bundled model.
    """
    small = digits.read_bytes()
    found = {
        "small": _write(folder / "small", small, "inline"),
        "mlp": _write(folder / "mlp", mlp().SerializeToString(deterministic=True), "pooled"),
    }
    shutil.copy(digits.parents[1] / "heldout.npz", folder)
    return found


def _write(folder: Path, stable: bytes, execution: str) -> Timed:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"versions: all\nexecution: {execution}\n")
    for version in (STABLE, COPY):
        _put(folder, version, stable)
    return _make_slower(folder, onnx.load_from_string(stable))


def _put(folder: Path, version: str, data: bytes) -> None:
    (folder / version).mkdir(exist_ok=True)
    (folder / version / "model.onnx").write_bytes(data)


def mlp() -> onnx.ModelProto:
    """Pixels to a label by three hidden layers of random weights (He et al. 2015)."""
    draw = np.random.default_rng(0)
    nodes, weights, last = [], [], "pixels"
    for layer, (wide, out) in enumerate(pairwise(WIDTHS)):
        matrix = (draw.standard_normal((wide, out)) * (2 / wide) ** 0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"m{layer}"]))
        nodes.append(helper.make_node("Relu", [f"m{layer}"], [f"r{layer}"]))
        last = f"r{layer}"
    nodes.append(helper.make_node("ArgMax", [last], ["label"], axis=1, keepdims=0))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", PIXELS])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"])
    graph = helper.make_graph(nodes, "mlp", [pixels], [label], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _make_slower(folder: Path, stable: onnx.ModelProto) -> Timed:
    """Write the version that takes `SLOWER_TIMES` as long, by bisection, and say what was measured."""
    low, high = PIXELS, WIDEST
    while high - low > max(low // 32, 1):
        middle = (low + high) // 2
        if _at(folder, stable, middle).ratio < SLOWER_TIMES:
            low = middle
        else:
            high = middle
    return _at(folder, stable, low)


def _at(folder: Path, stable: onnx.ModelProto, width: int) -> Timed:
    _put(folder, SLOWER, widened(stable, width).SerializeToString(deterministic=True))
    return timed(folder, width)


def widened(stable: onnx.ModelProto, width: int) -> onnx.ModelProto:
    """The graph behind products to `width` columns and back; `width` is at least the number of pixels."""
    model = onnx.ModelProto()
    model.CopyFrom(stable)
    there = np.eye(PIXELS, width, dtype=np.float32)
    for node in model.graph.node:
        node.input[:] = ["again" if name == "pixels" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(there, "there"))
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(there.T), "back"))
    model.graph.node.insert(0, helper.make_node("MatMul", ["pixels", "there"], ["wide"]))
    model.graph.node.insert(1, helper.make_node("MatMul", ["wide", "back"], ["again"]))
    return model


def timed(folder: Path, width: int) -> Timed:
    """Both models as the product times pairs: after a pause, each once untimed before it is timed."""
    runs = _runner(folder, STABLE), _runner(folder, SLOWER)
    both = [_pair(*runs) for _ in range(WARM + TIMINGS)][WARM:]
    own, its = (statistics.median(times) for times in zip(*both, strict=True))
    return Timed(round(own, 1), round(its, 1), round(statistics.median(b / a for a, b in both), 3), width)


def _runner(folder: Path, version: str) -> Callable[[], object]:
    model = OnnxModel.load(Repository(folder.parent).find(folder.name, version), threads=1)
    names = [spec.name for spec in model.signature.outputs]
    feeds = {"pixels": np.full((1, PIXELS), 0.5, np.float32)}
    return lambda: model.run(feeds, names)


def _pair(stable: Callable[[], object], slower: Callable[[], object]) -> tuple[float, float]:
    sleep(PAUSE_SECONDS)  # a sandbox idles between pairs too
    return _microseconds(stable), _microseconds(slower)


def _microseconds(run: Callable[[], object]) -> float:
    run()  # what the other one left in the caches
    began = perf_counter()
    run()
    return 1e6 * (perf_counter() - began)
