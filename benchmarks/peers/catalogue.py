"""The servers that are compared: how each is started, and in which configuration.

Each gets the best honest one for a small model on one core: one process for the model, one thread in
onnxruntime, its own fast JSON, no log line a request. Those that goals are held against have their batching
measured too, as rows of their own (Triton batches always). The page tells all of it.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers.environments import HOME, packages, pinned
from benchmarks.peers.peer import SERVERS, Peer, Place
from benchmarks.tools.bench import free_port


def _script(name: str, *arguments: str) -> Callable[[Place], Sequence[str]]:
    """A script of servers/ with arguments, in which {port} is the port."""
    return lambda place: [
        place.python,
        str(SERVERS / name),
        *(argument.format(port=place.port) for argument in arguments),
    ]


def _triton(place: Place) -> Sequence[str]:
    server = packages(place.home) / "pytriton" / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    if not stub.is_symlink():  # the package keeps one for each Python; the server looks here
        stub.symlink_to(server / "python_backend_stubs" / version / stub.name)
    return [
        str(server / "bin" / "tritonserver"), f"--model-repository={SERVERS / 'triton'}",
        f"--backend-directory={server / 'backends'}", "--allow-grpc=false", "--http-address=127.0.0.1",
        f"--http-port={place.port}", "--http-thread-count=2", "--metrics-address=127.0.0.1",
        f"--metrics-port={place.other}", "--allow-gpu-metrics=false", "--exit-timeout-secs=3",
    ]  # fmt: skip


def _mlserver(place: Place) -> Sequence[str]:
    settings = {
        "debug": False, "parallel_workers": 0, "host": "127.0.0.1", "http_port": place.port,
        "grpc_port": place.other, "metrics_port": free_port(),
    }  # fmt: skip
    model = {"name": "iris", "implementation": "mlserver_iris.Iris", "parameters": {"uri": "."}}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return [str(place.home / "bin" / "mlserver"), "start", str(place.folder)]


def _mlserver_batched(place: Place) -> Sequence[str]:
    command = _mlserver(place)
    file = place.folder / "model-settings.json"
    batching = {"max_batch_size": 32, "max_batch_time": 0.001}
    file.write_text(json.dumps({**json.loads(file.read_text()), **batching}))
    return command


def _bentoml(place: Place) -> Sequence[str]:
    return [
        str(place.home / "bin" / "bentoml"), "serve", "bentoml_iris:Iris", "--host", "127.0.0.1",
        "--port", str(place.port), "--working-dir", str(SERVERS),
    ]  # fmt: skip


def _fastapi(place: Place) -> Sequence[str]:
    return [
        place.python, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(place.port),
        "--no-access-log", "--log-level", "error", "fastapi_iris:app",
    ]  # fmt: skip


PEERS = (
    Peer(
        "triton",
        "Triton",
        "tritonserver of nvidia-pytriton, Python backend with onnxruntime, one instance, dynamic batching up"
        " to 32 without delay, two HTTP threads, metrics on",
        _triton,
        package="nvidia-pytriton",
        pins="triton",
        shape="4",
    ),
    Peer(
        "mosec",
        "mosec",
        "one worker, orjson, no batching",
        _script("mosec_iris.py", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "error"),
        package="mosec",
        pins="mosec",
        path="/inference",
        oip=False,
    ),
    Peer(
        "mosec-batched",
        "mosec, batching",
        "one worker, orjson, batches of up to 32 after at most 1 ms (its least)",
        _script("mosec_iris.py", "--address", "127.0.0.1", "--port", "{port}", "--log-level", "error"),
        package="mosec",
        pins="mosec",
        path="/inference",
        oip=False,
        environment=lambda _: {"IRIS_BATCH": "32"},
    ),
    Peer(
        "mlserver",
        "MLServer",
        "custom runtime in the server's own process (`parallel_workers: 0`), debug off, orjson, no batching",
        _mlserver,
        package="mlserver",
        pins="mlserver",
    ),
    Peer(
        "mlserver-batched",
        "MLServer, batching",
        "the same with adaptive batching, up to 32 after at most 1 ms",
        _mlserver_batched,
        package="mlserver",
        pins="mlserver",
    ),
    Peer(
        "kserve",
        "KServe Python server",
        "kserve.Model, one worker, uvloop, orjson, no gRPC, no latency log",
        _script("kserve_iris.py", "--http_port", "{port}"),
        package="kserve",
        pins="kserve",
    ),
    Peer(
        "litserve",
        "LitServe",
        "one API process, one model process, fast queue, no batching",
        _script("litserve_iris.py", "{port}"),
        package="litserve",
        pins="litserve",
        path="/predict",
        oip=False,
    ),
    Peer(
        "bentoml",
        "BentoML",
        "one service with one worker, async API, no access log, no batching",
        _bentoml,
        package="bentoml",
        pins="bentoml",
        path="/infer",
        oip=False,
        environment=lambda place: {"BENTOML_HOME": str(place.folder)},
    ),
    Peer(
        "ray",
        "Ray Serve",
        "one replica, no access log, `RAY_SERVE_THROUGHPUT_OPTIMIZED=1`, no batching",
        _script("ray_iris.py", "{port}"),
        package="ray",
        pins="ray",
        path="/",
        oip=False,
        environment=lambda place: {
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_TMPDIR": str(place.folder),
        },
        seconds=120,
    ),
    Peer(
        "fastapi",
        "FastAPI + pydantic",
        "uvicorn with uvloop and httptools, one process, async endpoint, no access log",
        _fastapi,
        package="fastapi",
        pins="fastapi",
    ),
)


def chosen(names: str) -> list[Peer]:
    """The peers of a comma-separated list; all for the empty one.

    Raises:
        ValueError: a name is unknown.
    """
    known = {peer.name: peer for peer in PEERS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ValueError(f"PEERS: unknown peer {name!r}; known: {', '.join(known)}")
    return [known[name] for name in wanted] or list(PEERS)


def home(peer: Peer) -> Path:
    """Its environment's folder, or this repository's own."""
    return HOME / peer.pins if peer.pins else Path(sys.prefix)


def version(peer: Peer) -> str:
    """What the table tells beside the title."""
    return f"{peer.package} {pinned(peer.pins, peer.package)}" if peer.package else ""
