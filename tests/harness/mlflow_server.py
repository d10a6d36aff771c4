"""A real MLflow server on this machine, which asks for a name and password; stopped, and started again.

`make test-servers` installs it into build/servers/mlflow. It and its client take long to start, so that one
of each does for all tests (`tests/servers/mlflow/conftest.py`).
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from harness.system import ROOT, START_SECONDS, eventually, free_port

BIN = ROOT / "build" / "servers" / "mlflow" / "bin"
CLIENT = ROOT / "tests" / "servers" / "mlflow" / "mlflow_client.py"
USER, PASSWORD = "admin", "a password for tests"
SECRET = "bm8gc2VjcmV0IGF0IGFsbCwgYnV0IDMyIGJ5dGVzLi4="
"""With which the server encrypts the secrets of webhooks."""


class MlflowServer:
    """The server of a folder; what was registered outlives a stop.

    Args:
        folder: for its database, its artifacts and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"
        self.place = f"mlflow+{self.url}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Who may ask it, as clients of MLflow read it."""
        return {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}

    def start(self) -> None:
        """Start it, and wait until it answers: half a minute, on a busy machine."""
        assert BIN.exists(), f"{BIN} is not there: `make test-servers` installs it"
        auth = self._folder / "auth.ini"
        auth.write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{self._folder}/auth.db\n"
            f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        settings = {
            "MLFLOW_AUTH_CONFIG_PATH": str(auth),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "any",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",  # else it sends none to this machine
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": SECRET,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that nothing here needs
        }
        command = [
            str(BIN / "mlflow"), "server", "--app-name", "basic-auth", "--host", "127.0.0.1",
            "--port", str(self._port), "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db",
            "--artifacts-destination", str(self._folder / "artifacts"), "--workers", "1",
        ]  # fmt: skip
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=self._folder,
                env={**_plain(), **settings},
            )  # fmt: skip
        eventually(self._answers, "MLflow answers", START_SECONDS)

    def kill(self) -> None:
        """Without a warning, with all its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "mlflow.log").read_text()[-4000:])
        return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200


class MlflowClient:
    """MLflow's own Python client, in a process of its own: what data scientists do.

    Args:
        server: to which it talks.
        folder: for its log.
    """

    def __init__(self, server: MlflowServer, folder: Path) -> None:
        self._log = folder / "client.log"
        settings = {"MLFLOW_TRACKING_URI": server.url, "MLFLOW_DISABLE_TELEMETRY": "true"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(BIN / "python"), str(CLIENT)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=folder,
                env={**_plain(), **server.environment, **settings},
            )  # fmt: skip

    def do(self, what: str, **arguments: Any) -> Any:
        """Call one of the functions of `mlflow_client.py`; the first call waits for imports."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, arguments]).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()[-4000:]
        return json.loads(line)

    def end(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()


def _plain() -> dict[str, str]:
    """The environment, without what is meant for our own interpreter."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MLFLOW_"))}


@contextmanager
def mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """A server that was started, killed in the end."""
    folder.mkdir(exist_ok=True)
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
