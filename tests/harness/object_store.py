"""A real object store, SeaweedFS, by its S3 door on this machine: started, killed, and started again.

`make test-servers` installs it into build/servers/objects.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import obstore
from obstore.store import S3Store

from harness.system import ROOT, START_SECONDS, eventually, free_port

WEED = ROOT / "build" / "servers" / "objects" / "bin" / "weed"
PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
OFF = ("-s3.port.iceberg=0", "-s3.port.lance=0")
"""Doors on ports that are fixed: two stores at a time could not have them."""
HIGHEST_PORT = 22_000
"""Each server has another port 10,000 above, where the kernel gives none to outgoing connections yet."""


class ObjectStore:
    """The store of a folder; what was put there outlives a kill.

    Args:
        folder: for its data and its log.
        core: as taskset takes it; empty for any.
        secret: which clients have to know; empty: none.
    """

    def __init__(self, folder: Path, core: str = "", secret: str = "") -> None:
        self._folder = folder
        self._secret = secret
        self._before = ("taskset", "-c", core) if core else ()
        self._ports = {name: _port() for name in PORTS}
        self._process: subprocess.Popen[bytes] | None = None
        self.door = f"http://127.0.0.1:{self._ports['s3.port']}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What leads clients of S3 to it."""
        settings = {
            "ENDPOINT_URL": self.door,
            "ACCESS_KEY_ID": "any",
            "SECRET_ACCESS_KEY": self._secret or "any",
            "REGION": "any",
            "ALLOW_HTTP": "true",
        }
        return {f"AWS_{name}": value for name, value in settings.items()}

    def start(self) -> None:
        """Start it; it takes seconds until it answers, and longer after a kill."""
        assert WEED.exists(), f"{WEED} is not there: `make test-servers` installs it"
        options = [f"-{name}={port}" for name, port in self._ports.items()]
        command = [*self._before, str(WEED), "server", f"-dir={self._folder}", "-ip=127.0.0.1", "-s3"]
        if self._secret:
            command.append(f"-s3.config={self._keys(self._secret)}")
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-volume.max=20", *OFF, *options], stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Without a warning: by itself it takes long to go."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def ask_for(self, secret: str) -> None:
        """Ask clients for another secret from now on."""
        assert self._process is not None
        self._keys(secret)
        self._process.send_signal(signal.SIGHUP)

    def _keys(self, secret: str) -> Path:
        """The file that says who may do what."""
        keys = [{"accessKey": "any", "secretKey": secret}]
        file = self._folder / "keys.json"
        file.write_text(
            json.dumps({"identities": [{"name": "any", "credentials": keys, "actions": ["Admin"]}]})
        )
        return file

    def bucket(self, name: str) -> str:
        """Make a bucket, and say its URL; waits until the store answers."""
        settings = {key.removeprefix("AWS_").lower(): value for key, value in self.environment.items()}
        door = S3Store("any", config={**settings, "virtual_hosted_style_request": "true"})
        url = obstore.sign(door, "PUT", name, timedelta(minutes=5))
        made = eventually(
            lambda: httpx.put(url, trust_env=False).status_code == 200, "a bucket", START_SECONDS
        )
        assert made
        return f"s3://{name}"


def _port() -> int:
    """A free one, of those that are low enough."""
    while (port := free_port()) >= HIGHEST_PORT:
        pass
    return port


@contextmanager
def object_store(folder: Path, core: str = "", secret: str = "") -> Iterator[ObjectStore]:
    """A store that was started, killed in the end."""
    folder.mkdir(exist_ok=True)
    store = ObjectStore(folder, core, secret)
    store.start()
    try:
        yield store
    finally:
        store.kill()
