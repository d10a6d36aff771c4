"""Model servers of others in Python, which `make test-servers` installs into build/servers.

Each serves `flowers`, the same function of four features, as `flowers_onnx` does.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import onnx
from onnx import TensorProto, helper

from harness.system import ROOT, START_SECONDS, eventually, free_port

SERVERS = ROOT / "tests" / "servers"
WEIGHTS = [[2, 1, 0], [3, 1, 1], [-4, 1, 2], [-2, 0, 3]]
NAMES = ["setosa", "versicolor", "virginica"]
INFER = "/v2/models/flowers/infer"


class ModelServer:
    """One process, which may be killed and begun again at the same port.

    Args:
        of: the folder of `tests/servers`.
        folder: for its settings and log.
        wrong: whether it answers wrong labels.
    """

    def __init__(self, of: str, folder: Path, *, wrong: bool = False) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environment = {**os.environ, "FLOWERS_WRONG": "1" if wrong else "", "PYTHONPATH": ""}
        self._command = self._mlserver() if of == "mlserver" else self._kserve()
        assert Path(self._command[0]).exists(), f"{of} is not there: `make test-servers` installs it"
        self.begin()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def begin(self) -> None:
        """Start it; `wait_ready` says when it is."""
        with (self._folder / f"{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def wait_ready(self) -> "ModelServer":
        """Until its model answers."""
        eventually(self._is_ready, f"{self._command[0]} is ready", 2 * START_SECONDS)
        return self

    def kill(self) -> None:
        """End it as a crash does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/models/flowers/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _mlserver(self) -> Sequence[str]:
        names = ("http_port", "grpc_port", "metrics_port")
        ports = dict(zip(names, (self.port, free_port(), free_port()), strict=True))
        settings = {**ports, "parallel_workers": 0, "host": "127.0.0.1", "debug": False}
        (self._folder / "settings.json").write_text(json.dumps(settings))
        model = {"name": "flowers", "implementation": "flowers.Flowers"}
        (self._folder / "model-settings.json").write_text(json.dumps(model))
        self._environment["PYTHONPATH"] = str(SERVERS / "mlserver")
        return (str(ROOT / "build/servers/mlserver/bin/mlserver"), "start", ".")

    def _kserve(self) -> Sequence[str]:
        python = ROOT / "build/servers/kserve/bin/python"
        return (str(python), str(SERVERS / "kserve" / "flowers_server.py"), str(self.port))


@contextlib.contextmanager
def model_servers(folder: Path, *wanted: tuple[str, bool]) -> Iterator[list[ModelServer]]:
    """Servers that start side by side: of which folder, and whether wrong."""
    begun: list[ModelServer] = []
    try:
        for number, (of, wrong) in enumerate(wanted):
            own = folder / f"{of}-{number}"
            own.mkdir()
            begun.append(ModelServer(of, own, wrong=wrong))
        yield [each.wait_ready() for each in begun]
    finally:
        for each in begun:
            each.kill()


def flowers_onnx(models: Path, version: int = 1) -> None:
    """The same function as a model of a repository."""
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder",
            ["label"],
            ["name"],
            domain="ai.onnx.ml",
            keys_int64s=[0, 1, 2],
            values_strings=NAMES,
        ),
    ]
    weights = [float(each) for row in WEIGHTS for each in row]
    graph = helper.make_graph(
        nodes,
        "flowers",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("name", TensorProto.STRING, ["n"]),
        ],
        [helper.make_tensor("weights", TensorProto.FLOAT, [4, 3], weights)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    place = models / "flowers" / str(version)
    place.mkdir(parents=True)
    onnx.save(model, place / "model.onnx")
