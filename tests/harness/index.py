"""A package index on loopback that offers given wheels, and releases that are newer than they are."""

import contextlib
import hashlib
import html
import threading
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

NEWER = "9999.0"


def newer_release(folder: Path, name: str, extras: Mapping[str, list[str]]) -> Path:
    """Write a wheel that any resolver prefers to the pin; its extras need what the index does not have.

    Args:
        folder: where it is put.
        name: of the package.
        extras: those that it offers, and what each needs.
    """
    stem = f"{name.replace('-', '_')}-{NEWER}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {NEWER}"]
    for extra, needs in extras.items():
        lines += [
            f"Provides-Extra: {extra}",
            *(f'Requires-Dist: {need} ; extra == "{extra}"' for need in needs),
        ]
    files = {
        f"{stem}.dist-info/METADATA": "\n".join(lines) + "\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{stem}.dist-info/RECORD"
    rows = [f"{path},{_digest(text)},{len(text)}" for path, text in files.items()]
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(record, "\n".join([*rows, f"{record},,"]) + "\n")
    return wheel


def _digest(text: str) -> str:
    return "sha256=" + urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@contextlib.contextmanager
def serve(*folders: Path) -> Iterator[str]:
    """Serve the wheels of these folders as a simple index (PEP 503); gives its URL."""
    wheels: dict[str, dict[str, Path]] = {}
    for file in (file for folder in folders for file in folder.glob("*.whl")):
        name = canonicalize_name(parse_wheel_filename(file.name)[0])
        wheels.setdefault(name, {})[file.name] = file

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            match self.path.strip("/").split("/"):
                case ["simple", name] if name in wheels:
                    links = (
                        f'<a href="/files/{name}/{html.escape(file)}">{file}</a>' for file in wheels[name]
                    )
                    self._answer(
                        "text/html", f"<!DOCTYPE html><html><body>{' '.join(links)}</body></html>".encode()
                    )
                case ["files", name, file] if file in wheels.get(name, {}):
                    self._answer("application/octet-stream", wheels[name][file].read_bytes())
                case _:
                    self.send_error(404)

        def _answer(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple/"
    finally:
        server.shutdown()
        server.server_close()
