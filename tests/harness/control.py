"""A real control plane alone, and a stand-in for the workers that would follow it."""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson

from harness.state import state_folder
from harness.system import ANSWER_SECONDS, MODELS, START_SECONDS, Process, eventually, free_port

STABLE = {"stable": "digits/1"}
CANARY = {"stable": "digits/1", "canary": {"model": "digits/2", "weight": 10}}
STEPS = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "steps": [{"setWeight": 5}, {"pause": {}}], "mirror": 10},
}


class Control:
    """`understudy control`.

    Args:
        folder: state and logs go there.
        environment: further `UNDERSTUDY_*` settings.
        models: the repository.
        port: of the admin door; 0 for any that is free.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        models: Path = MODELS,
        port: int = 0,
    ) -> None:
        self.folder = folder
        self.file = folder / "rollouts.yaml"  # there is none at first, so nothing is served by default
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False)
        self._environment = environment
        self._arguments = [
            "control", "--models", str(models), "--state-dir", state_folder(folder / "state"),
            "--rollouts", str(self.file), "--admin-port", str(self.port),
        ]  # fmt: skip
        self.start()

    def start(self, *options: str) -> None:
        """Start it, or start it again, with further options for this start."""
        self.process = Process([*self._arguments, *options], self.folder, self._environment)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.popen.kill()
        self.process.popen.wait()

    def wait_ready(self) -> "Control":
        """Until it leads and has looked for the rollout file."""
        there = lambda: "cannot be read" in self.client.get("/readyz").text  # noqa: E731
        eventually(there, "control leads", START_SECONDS)
        return self

    def put(self, model: str, document: Any, revision: int | None = None, **params: str) -> httpx.Response:
        """PUT a document: text as it is, anything else as JSON."""
        headers = {} if revision is None else {"if-match": f'"{revision}"'}
        content = document if isinstance(document, str | bytes) else orjson.dumps(document)
        return self.client.put(f"/v1/rollouts/{model}", content=content, headers=headers, params=params)

    def act(self, model: str, action: str, revision: int | None = None, reason: str = "") -> httpx.Response:
        """POST an action."""
        headers = {} if revision is None else {"if-match": f'"{revision}"'}
        return self.client.post(f"/v1/rollouts/{model}/{action}", headers=headers, json={"reason": reason})

    def view(self, model: str) -> Any:
        """The rollout as shown."""
        return self.client.get(f"/v1/rollouts/{model}").raise_for_status().json()

    def history(self, model: str) -> Any:
        """All its audit rows, the latest first."""
        params = {"limit": 1000}
        return self.client.get(f"/v1/rollouts/{model}/history", params=params).raise_for_status().json()

    def sync(
        self,
        instance: str,
        ready: Sequence[str] = (),
        revision: int = 0,
        wait: float = 0.0,
        node: str = "n1",
        **more: Any,
    ) -> Any:
        """Report as a worker that has these targets ready, in whichever rollout and role they stand."""
        rows = [
            {
                "model": view["model"],
                "target": target["target"],
                "role": target["role"],
                "ready": True,
                "sha256": target["sha256"].replace("unpinned", ""),
            }
            for view in self.client.get("/v1/rollouts").raise_for_status().json()
            for target in view["targets"]
            if target["target"] in ready
        ]
        report = {
            "instance": instance,
            "node": node,
            "kind": "worker",
            "revision": revision,
            "wait": wait,
            **more,
        }
        answer = self.client.post("/v1/sync", json={**report, "targets": rows})
        return answer.raise_for_status().json()


@contextlib.contextmanager
def controlling(folder: Path, **options: Any) -> Iterator[Control]:
    """A ready control plane, ended afterwards; its end must be clean."""
    control = Control(folder, **options)
    try:
        yield control.wait_ready()
    except BaseException:
        print(control.process.log.read_text()[-4000:])
        raise
    finally:
        control.client.close()
        code = control.process.end()
    assert code == 0, control.process.log.read_text()[-4000:]


def is_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer that must be one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = dict(answer.json())
    assert problem["status"] == status
    return problem


def own_name(test: str) -> str:
    """A public model name of a test's own."""
    return re.sub(r"[^A-Za-z0-9._-]", ".", test)[-100:].strip(".-_")


class Node:
    """`understudy node`: workers and sandboxes that follow a control plane of their own."""

    def __init__(
        self,
        folder: Path,
        control: Control,
        workers: int = 1,
        models: str | Path = MODELS,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.infer_url = f"{self.url}/v2/models/digits/infer"
        self.client = httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False)
        self._control, self._workers = control, workers
        self._folder, self._environment = folder, environment
        arguments = [
            "node", "--control", control.url, "--models", str(models), "--host", "127.0.0.1",
            "--port", str(self.port), "--metrics-port", "0", "--workers", str(workers),
            "--state-dir", state_folder(folder / "node", control=False), *options,
        ]  # fmt: skip
        self._arguments = arguments
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        self.process = Process(self._arguments, self._folder, self._environment)

    def wait_ready(self) -> "Node":
        """Until its public door says so, and control knows every worker, so that `ready` speaks of all."""
        ready = lambda: self.client.get("/v2/health/ready").status_code == 200  # noqa: E731
        eventually(ready, "node ready", START_SECONDS)
        eventually(lambda: self._following() == self._workers, "every worker follows", START_SECONDS)
        return self

    def _following(self) -> int:
        rows = self._control.client.get("/v1/nodes").raise_for_status().json()
        return sum(row["kind"] == "worker" for row in rows)


@contextlib.contextmanager
def following(
    folder: Path, control: Control, workers: int = 1, models: str | Path = MODELS
) -> Iterator[Node]:
    """A ready node, ended afterwards; its end must be clean."""
    node = Node(folder, control, workers, models)
    try:
        yield node.wait_ready()
    finally:
        node.client.close()
        code = node.process.end()
    assert code == 0, node.process.log.read_text()[-4000:]
