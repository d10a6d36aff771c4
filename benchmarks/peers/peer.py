"""What is known of one server, and where it is started."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.answers import MODEL
from benchmarks.peers.environments import packages
from benchmarks.tools.bench import free_port

SERVERS = Path(__file__).parent / "servers"
OIP_PATH = "/v2/models/iris/infer"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server is started.

    Attributes:
        home: its virtual environment.
        folder: an empty one, for its files.
        port: of its HTTP door.
        other: a second free port, for what a server insists on beside it.
    """

    home: Path
    folder: Path
    port: int = field(default_factory=free_port)
    other: int = field(default_factory=free_port)

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.home / "bin" / "python")


@dataclass(frozen=True, slots=True)
class Peer:
    """One server.

    Attributes:
        name: as PEERS selects it; peers of the same `pins` share an environment.
        title: as the table names it.
        configuration: what was chosen, for the page.
        command: to start it.
        package: whose version is told; empty for what this repository holds.
        pins: name of the requirements file; empty for this repository's own environment.
        path: of its infer endpoint.
        oip: whether that speaks the Open Inference Protocol, or JSON of its own.
        environment: variables beside those all get.
        ready: what must hold beside the first right answer.
        seconds: to start.
        shape: of a request as perf_analyzer is to be told; where it is given, that and Locust drive it too.
    """

    name: str
    title: str
    configuration: str
    command: Callable[[Place], Sequence[str]]
    package: str = ""
    pins: str = ""
    path: str = OIP_PATH
    oip: bool = True
    environment: Callable[[Place], Mapping[str, str]] = lambda _: {}
    ready: Callable[[Place], bool] = lambda _: True
    seconds: float = 60
    shape: str = ""


def common(home: Path) -> dict[str, str]:
    """What every server is told: one thread, no bytecode beside the sources, no calls to its maker."""
    return {
        "PYTHONPATH": f"{SERVERS}:{packages(home)}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "IRIS_MODEL": str(MODEL),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
