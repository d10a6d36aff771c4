"""`python -m benchmarks.conformance.zoo`: models that packages bring with them, served unconfigured.

The wheels of benchmarks/conformance/zoo.txt are downloaded by their hashes, and the ONNX files in them are
the models of a real `understudy serve`. Each is asked with the shapes that its check found, and with those of
real work where they differ; an answer is right when every output has every bit of what a plain onnxruntime
session with the same options gives. What came of it goes into docs/benchmarks/zoo.md; one that is not right
is an error.
"""

import datetime as dt
import json
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tritonclient.http as triton

from benchmarks.conformance.asking import ANSWER_SECONDS, Server, infer, serving
from benchmarks.conformance.cases import Case
from benchmarks.tools.bench import ROOT

WHEELS = ROOT / "build" / "zoo"
PAGE = ROOT / "docs" / "benchmarks" / "zoo.md"

Shapes = dict[str, tuple[int, ...]]

WORK: dict[str, list[Shapes]] = {
    "ddddocr-common": [{"input1": (1, 1, 64, 170)}],
    "nudenet-320n": [{"images": (1, 3, 320, 320)}],
    "rapidocr-PP-OCRv6_det_small": [{"x": (1, 3, 640, 480)}],
    "rapidocr-PP-OCRv6_rec_small": [{"x": (1, 3, 48, 320)}, {"x": (6, 3, 48, 320)}],
    "rapidocr-ch_ppocr_mobile_v2.0_cls_mobile": [{"x": (6, 3, 48, 192)}],
    "rapidocr-onnxruntime-ch_PP-OCRv4_det_infer": [{"x": (1, 3, 640, 480)}],
    "rapidocr-onnxruntime-ch_PP-OCRv4_rec_infer": [{"x": (6, 3, 48, 320)}],
    "silero-vad-silero_vad": [{"input": (1, 576), "state": (2, 1, 128)}],
    "magika-standard_v3_3": [{"bytes": (4, 2048)}],
    "piper-tts-nakdimon": [{"input_1": (1, 90)}],
    "piper-tts-tashkeel": [{"char_inputs": (1, 60), "diac_inputs": (1, 60), "input_lengths": (1,)}],
}
"""Shapes of the inputs in real work, by model, where those of the warm-up are smaller."""

_HEAD = """# Models that packages bring with them

`make test-zoo` wrote this page: the {models} ONNX models in {packages} wheels of PyPI
(benchmarks/conformance/zoo.txt, pinned by hash), served by `understudy serve` without any configuration. Each
is asked in binary with the shapes that its check found to run ("warm-up"), and with those of real work. An
answer is right when every output has every bit of what a plain onnxruntime session with the same options
gives; {answers} answers were compared. Taken on {day} in {seconds:.0f} s: onnxruntime {version}.

| model | package | MB | warm-up | answers | joined | why not |
|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Model:
    """One ONNX file of a wheel."""

    name: str
    package: str
    data: bytes


def main() -> None:
    """Serve them all, compare, write the page."""
    began = time.monotonic()
    download()
    models = list(found())
    checked = warmups(models)
    lines, answers, faults = [], 0, []
    cases = [Case(model.name, "zoo", model.data, frozenset(), (), [], [], 0.0, 0.0) for model in models]
    with (
        serving(cases) as server,
        triton.InferenceServerClient(server.host, network_timeout=ANSWER_SECONDS) as client,
    ):
        for model in models:
            right, asked, why = compare(client, server, model, checked[model.name])
            answers += asked
            verdict = why or f"{right} of {asked} right"
            if why or right < asked:
                faults.append(f"{model.name}: {verdict}")
            lines.append(line(server, model, checked[model.name], verdict))
            print(lines[-1], flush=True)
    head = _HEAD.format(
        models=len(models), packages=len({model.package for model in models}), answers=answers,
        day=dt.datetime.now(tz=dt.UTC).date(), seconds=time.monotonic() - began,
        version=onnxruntime.__version__,
    )  # fmt: skip
    PAGE.write_text(head + "\n".join(lines) + "\n")
    if faults:
        raise SystemExit("\n".join(faults))


def download() -> None:
    """The wheels, by their hashes; those that are there already are not fetched again."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    listed = str(ROOT / "benchmarks" / "conformance" / "zoo.txt")
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", str(WHEELS), "-r", listed], check=True)


def found() -> Iterator[Model]:
    """Every ONNX file in them, named after its package and itself."""
    for wheel in sorted(WHEELS.glob("*.whl")):
        package, version = wheel.name.split("-")[:2]
        with zipfile.ZipFile(wheel) as archive:
            for file in sorted(name for name in archive.namelist() if name.endswith(".onnx")):
                path = Path(file)
                stem = path.parent.name if path.stem == "model" else path.stem
                name = f"{package.replace('_', '-')}-{stem}"
                yield Model(name, f"{package.replace('_', '-')} {version}", archive.read(file))


def warmups(models: list[Model]) -> dict[str, dict[str, Any]]:
    """What `understudy models check` says of each, by name."""
    folder = WHEELS / "models"
    for model in models:
        version = folder / model.name / "1"
        version.mkdir(parents=True, exist_ok=True)
        (version / "model.onnx").write_bytes(model.data)
    command = [sys.executable, "-m", "understudy", "models", "check", "--json", "--models", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {report["name"]: report for report in json.loads(done.stdout)}


def compare(
    client: triton.InferenceServerClient, server: Server, model: Model, report: dict[str, Any]
) -> tuple[int, int, str]:
    """How many answers were right, how many there were, and why there was none."""
    if model.name in server.refusals:
        return 0, 0, f"refused: {server.refusals[model.name]}"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    first = dict(zip((spec["name"] for spec in report["inputs"]), report["warmup_shapes"], strict=True))
    right = asked = 0
    for shapes in (first, *WORK.get(model.name, [])):
        for seed in range(3):
            feeds = random_feeds(report["inputs"], {**first, **shapes}, seed)
            expected = session.run(names, feeds)
            answer = infer(client, model.name, feeds, names, binary=True)
            asked += 1
            right += not answer.error and all(
                answer.outputs[name].dtype == array.dtype
                and answer.outputs[name].shape == array.shape
                and answer.outputs[name].tobytes() == array.tobytes()
                for name, array in zip(names, expected, strict=True)
            )
    return right, asked, ""


def random_feeds(inputs: list[dict[str, Any]], shapes: Shapes, seed: int) -> dict[str, np.ndarray]:
    """Floats from -1 to 1; indices into a small alphabet; a sampling rate of 16 kHz."""
    chance = np.random.default_rng(seed)
    feeds = {}
    for spec in inputs:
        name, shape = spec["name"], tuple(shapes[spec["name"]])
        if spec["datatype"].startswith("FP"):
            feeds[name] = chance.uniform(-1, 1, shape).astype({"FP32": "f4", "FP64": "f8"}[spec["datatype"]])
        else:
            dtype = spec["datatype"].lower()
            feeds[name] = (
                np.full(shape, 16_000, dtype) if name == "sr" else chance.integers(1, 10, shape).astype(dtype)
            )
    if "input_lengths" in feeds:
        feeds["input_lengths"][:] = shapes["char_inputs"][1]
    return feeds


def line(server: Server, model: Model, report: dict[str, Any], verdict: str) -> str:
    """A row of the table."""
    joined, why = "", ""
    if model.name not in server.refusals:
        with urllib.request.urlopen(f"http://{server.host}/v2/models/{model.name}", timeout=30) as answer:
            said = json.loads(answer.read())["parameters"]
        joined, why = ("yes", "") if said["rows_joined"] else ("no", said["dependence"])
    shapes = ", ".join("x".join(map(str, shape)) or "scalar" for shape in report["warmup_shapes"])
    size = f"{len(model.data) / 1e6:.1f}"
    return f"| {model.name} | {model.package} | {size} | {shapes} | {verdict} | {joined} | {why} |"


if __name__ == "__main__":
    main()
