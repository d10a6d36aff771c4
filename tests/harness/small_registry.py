"""A small registry with as much of MLflow's REST API as following needs, and webhooks that are signed as its.

The real server takes half a minute to start, and is asked in `tests/servers/mlflow`.
"""

import hmac
import json
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class SmallRegistry:
    """Registered models, aliases and tags, in memory."""

    def __init__(self) -> None:
        self.aliases: dict[str, dict[str, str]] = {}
        self.versions: dict[tuple[str, str], dict[str, str]] = {}
        self.artifacts: dict[tuple[str, str], str] = {}
        """Where versions were logged to."""
        self.files: dict[str, bytes] = {}
        """What it passes on: content by path, all of one folder."""
        self.tags: dict[str, dict[str, str]] = {}
        """Of registered models."""
        self.calls: list[str] = []
        self.away = False
        self.held: set[str] = set()
        """Registered models over which it takes its time, until `go_on`."""
        self.holding = 0
        """Requests about them."""
        self._go_on = threading.Event()
        self.url = ""

    def move(self, name: str, alias: str, version: int) -> None:
        """A person moves an alias."""
        self.versions.setdefault((name, str(version)), {})
        self.aliases.setdefault(name, {})[alias] = str(version)

    def go_on(self) -> None:
        """Answer what was asked about the models that are held."""
        self.held.clear()
        self._go_on.set()

    def wait(self, name: str) -> None:
        """As long as this model is held."""
        if name in self.held:
            self.holding += 1
            self._go_on.wait(60.0)

    def answer(self, method: str, path: str, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """What a request comes to."""
        self.calls.append(f"{method} {path}")
        if self.away:
            return 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "away"}
        name, version = asked.get("name", ""), asked.get("version", "")
        if path == "registered-models/get" and name in self.aliases:
            aliases = [{"alias": each, "version": at} for each, at in self.aliases[name].items()]
            said = [{"key": key, "value": value} for key, value in self.tags.get(name, {}).items()]
            return 200, {"registered_model": {"name": name, "aliases": aliases, "tags": said}}
        if (name, version) in self.versions:
            tags = self.versions[name, version]
            if path == "model-versions/get":
                found = [{"key": key, "value": value} for key, value in tags.items()]
                return 200, {"model_version": {"name": name, "version": version, "tags": found}}
            if path == "model-versions/get-download-uri":
                return 200, {"artifact_uri": self.artifacts.get((name, version), "mlflow-artifacts:/none")}
            if path == "registered-models/alias":
                self.aliases[name][asked["alias"]] = version
                return 200, {}
            if path == "model-versions/set-tag":
                tags[asked["key"]] = asked["value"]
                return 200, {}
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{name} is not there"}


class _Handler(BaseHTTPRequestHandler):
    registry: SmallRegistry

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith(ARTIFACTS):
            self.registry.calls.append(f"GET {parts.path}")
            self._pass_on(parts.path.removeprefix(ARTIFACTS).strip("/"))
            return
        self._reply("GET", parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._reply("POST", self.path, json.loads(body))

    def _pass_on(self, path: str) -> None:
        """The bytes of a file; without a path, what there is."""
        files = self.registry.files
        listed = [{"path": name.rpartition("/")[2], "file_size": len(files[name])} for name in files]
        if path in files or not path:
            self._send(200, files[path] if path else json.dumps({"files": listed}).encode())
        else:
            self._send(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such file"}')

    def _reply(self, method: str, path: str, asked: dict[str, str]) -> None:
        self.registry.wait(asked.get("name", ""))
        status, said = self.registry.answer(method, path.removeprefix(API), asked)
        self._send(status, json.dumps(said).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def small_registry() -> Iterator[SmallRegistry]:
    """A registry that answers at its `url`."""
    registry = SmallRegistry()
    handler = type("Handler", (_Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        registry.go_on()
        server.shutdown()
        thread.join()
        server.server_close()


def signed(secret: str, body: bytes, *, id_: str = "", at: float | None = None) -> dict[str, str]:
    """The headers with which MLflow would send this body."""
    id_, stamp = id_ or str(uuid.uuid4()), str(int(time.time() if at is None else at))
    mac = hmac.digest(secret.encode(), f"{id_}.{stamp}.".encode() + body, "sha256")
    return {
        "content-type": "application/json",
        "X-MLflow-Delivery-Id": id_,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": f"v1,{b64encode(mac).decode()}",
    }


def moved_body(name: str, alias: str, version: int) -> bytes:
    """What MLflow sends when an alias was set."""
    data = {"name": name, "alias": alias, "version": str(version)}
    return json.dumps({"entity": "model_version_alias", "action": "created", "data": data}).encode()


def post(url: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send a webhook to a control plane."""
    return httpx.post(f"{url}/v1/hooks/mlflow", content=body, headers=headers, trust_env=False)
