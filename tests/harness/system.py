"""A real system under test: processes as users start them, on free ports, in a folder of their own."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from harness.state import state_folder
from harness.warm import python

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
DEADLINE_SECONDS = 60.0
ANSWER_SECONDS = 30.0
"""For one answer; what is told may wait for a disk that others keep busy."""
START_SECONDS = 120.0
"""For processes that start: a machine that others use, too, may take a minute for them."""


def free_port() -> int:
    """A TCP port that nobody listens on just now, and that the kernel gives to no outgoing connection."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)  # hypothesis seeds the common generator
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def eventually(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """Wait until the condition gives something true, and return that; its exceptions count as not yet.

    What takes long is asked for less often, and seen at most a tenth of that time late: asking costs CPU
    time, also of those who are asked.
    """
    began = time.monotonic()
    last: Exception | None = None
    while (waited := time.monotonic() - began) < seconds:
        try:
            if value := condition():
                return value
        except (httpx.HTTPError, OSError, AssertionError, KeyError, IndexError) as error:
            last = error
        time.sleep(min(max(waited / 10, 0.005), 0.2))
    raise AssertionError(f"not within {seconds:g} s: {what}" + (f" (last: {last!r})" if last else ""))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process from running."""
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] == "T", "it stops")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int, module: str) -> list[int]:
    """Process ids of the children that run `python -m <module>`."""
    found = []
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        with contextlib.suppress(OSError):  # it has just ended
            if module in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
                found.append(child)
    return found


class Process:
    """One `understudy` command; its output is kept and shown when it ends badly."""

    def __init__(
        self, arguments: list[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = folder / f"{arguments[0]}.log"
        with self.log.open("ab") as log:
            self.popen = python(
                *("-m", "understudy", *arguments),
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    def end(self, seconds: float = DEADLINE_SECONDS) -> int:
        """SIGTERM, and the exit code; kills the whole group if it does not end."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait()
            raise AssertionError(f"did not end in {seconds:g} s\n{self.log.read_text()[-4000:]}") from None


class Up:
    """`understudy up`: a whole node with its control plane.

    Args:
        folder: state, logs and the rollout file go there.
        rollouts: text of the rollout file.
        models: the repository.
        options: further command-line options.
    """

    def __init__(
        self,
        folder: Path,
        rollouts: str,
        models: Path = MODELS,
        options: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.file = folder / "rollouts.yaml"
        self.file.write_text(rollouts)
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.client = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False)
        self.admin = httpx.Client(base_url=self.admin_url, timeout=ANSWER_SECONDS, trust_env=False)
        arguments = [
            "up", "--models", str(models), "--rollouts", str(self.file), "--host", "127.0.0.1",
            "--port", str(self.port), "--admin-port", str(self.admin_port),
            "--state-dir", state_folder(folder / "state"), *options,
        ]  # fmt: skip
        self.process = Process(arguments, folder, environment)

    def wait_ready(self, seconds: float = START_SECONDS) -> "Up":
        """Until the public door is ready and every target of every rollout is ready somewhere."""
        eventually(lambda: self.client.get("/v2/health/ready").status_code == 200, "server ready", seconds)
        eventually(self.all_targets_ready, "every target ready", seconds)
        return self

    def all_targets_ready(self) -> bool:
        """Whether all targets are ready in all processes that use them, at the newest revision."""
        answer = self.admin.get("/v1/rollouts")
        views = answer.json() if answer.status_code == 200 else []  # control may be slower than workers
        return bool(views) and all(
            view["in_force_everywhere"]
            and all(t["ready"] and all(t["ready"].values()) for t in view["targets"])
            for view in views
        )

    def edit(self, rollouts: str) -> None:
        """Replace the rollout file by rename, as editors and ConfigMaps do."""
        temporary = self.file.with_suffix(".new")
        temporary.write_text(rollouts)
        temporary.replace(self.file)

    def view(self, model: str) -> dict[str, Any]:
        """The rollout as the admin API shows it."""
        return dict(self.admin.get(f"/v1/rollouts/{model}").raise_for_status().json())

    def pids(self, kind: str, target: str = "") -> list[int]:
        """Process ids of the living workers, sandboxes or supervisors, for one candidate where given."""
        rows = self.admin.get("/v1/nodes").json()
        found = [
            int(row["instance"].rpartition("/")[2])
            for row in rows
            if row["kind"] == kind and (not target or row["candidate"] == target)
        ]
        return [pid for pid in found if alive(pid)]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric whose labels include these."""
        return sum(sample.value for sample in self.samples(name) if labels.items() <= sample.labels.items())

    def samples(self, name: str) -> list[Any]:
        """The samples of one name, e.g. `understudy_requests_total`."""
        from prometheus_client.parser import text_string_to_metric_families

        lines = self.admin.get("/metrics").text.splitlines()
        own = "".join(f"{line}\n" for line in lines if line.startswith(name))  # to parse all takes long
        families = text_string_to_metric_families(own)
        return [sample for family in families for sample in family.samples if sample.name == name]

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.client.close()
        self.admin.close()
        return self.process.end()


@contextlib.contextmanager
def running(folder: Path, rollouts: str, **options: Any) -> Iterator[Up]:
    """A ready `understudy up`, ended afterwards; its end must be clean. Nobody is told of it for a second
    before, unless the environment says so.
    """
    environment = {"UNDERSTUDY_DRAIN_SECONDS": "0", **options.pop("environment", {})}
    up = Up(folder, rollouts, environment=environment, **options)
    try:
        yield up.wait_ready()
    except BaseException:
        with contextlib.suppress(AssertionError):
            up.end()
        print(up.process.log.read_text()[-6000:])
        raise
    assert up.end() == 0, up.process.log.read_text()[-4000:]


class Serve:
    """`understudy serve`: the inference server alone."""

    def __init__(self, folder: Path, models: Path = MODELS, options: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False)
        arguments = [
            "serve", "--models", str(models), "--host", "127.0.0.1", "--port", str(self.port),
            "--state-dir", state_folder(folder / "state-serve", control=False), *options,
        ]  # fmt: skip
        self.process = Process(arguments, folder)

    def wait_ready(self) -> "Serve":
        """Until it says so."""
        eventually(
            lambda: self.client.get("/v2/health/ready").status_code == 200, "server ready", START_SECONDS
        )
        return self

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.client.close()
        return self.process.end()


@contextlib.contextmanager
def serving(folder: Path, **options: Any) -> Iterator[Serve]:
    """A ready `understudy serve`, ended afterwards."""
    serve = Serve(folder, **options)
    try:
        yield serve.wait_ready()
    finally:
        code = serve.end()
    assert code == 0, serve.process.log.read_text()[-4000:]
