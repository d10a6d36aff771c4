"""What the server behind a URL asks of its callers: headers, a credential, certificates.

Law: a secret is in what is sent and nowhere else: errors name files and variables, never what these hold.
What was read whole and found good is used until something as good is read (`Reloading`).
"""

import os
import re
import ssl
from pathlib import Path
from typing import NamedTuple, NoReturn

from router.rollout.values import Bearer, ClientTls, Server
from serving.admission.reloading import Reloading
from serving.errors import InvalidInput
from serving.telemetry.cells import Metrics

_TOKEN = re.compile(r"[!-~]{1,8192}")


class Held(NamedTuple):
    """What a caller has.

    Attributes:
        lines: headers for each request, each ended by CRLF.
        tls: how HTTPS is spoken; None as usual.
    """

    lines: bytes
    tls: ssl.SSLContext | None


class Access:
    """What one target's server is shown, read again when it changes.

    Args:
        key: of the target, in logs and metrics.
        server: what the document says.
        folder: where its files are; None where the node has none.
        metrics: where it is counted that files were read again.
    """

    def __init__(self, key: str, server: Server, folder: Path | None, metrics: Metrics) -> None:
        self._what = f"files of {key}"
        self._server = server
        self._folder = folder
        self._metrics = metrics
        self._once: Held | None = None  # where there are no files
        self._held: Reloading[Held] | None = None

    def look(self) -> Held:
        """What to show now.

        Raises:
            InvalidInput: it was never read: a file or variable is missing, or holds something else.
        """
        if self._once is not None:
            return self._once
        if self._held is not None:
            self._held.look()
            return self._held.value
        paths = [_path(self._folder, name) for name in _files(self._server)]
        if not paths:
            self._once = self._load()
            return self._once
        self._held = Reloading(self._what, paths, self._load, self._metrics)
        return self._held.value

    def _load(self) -> Held:
        server = self._server
        lines = [f"{name}: {value}\r\n" for name, value in server.headers]
        if server.bearer is not None:
            lines.append(f"authorization: Bearer {_token(server.bearer, self._folder)}\r\n")
        return Held("".join(lines).encode(), _context(server.tls, self._folder))


def _files(server: Server) -> list[str]:
    bearer = "" if server.bearer is None else server.bearer.file
    tls = server.tls
    return [name for name in (bearer, tls.ca, tls.certificate, tls.key) if name]


def _path(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise InvalidInput(f"it asks for the file {name}, and this node has no --target-files")
    return folder / name


def _token(bearer: Bearer, folder: Path | None) -> str:
    if bearer.env:
        place, text = f"the variable {bearer.env}", os.environ.get(bearer.env)
        if text is None:
            raise InvalidInput(f"{place} is not set at this node")
    else:
        place = f"the file {bearer.file} of --target-files"
        try:
            text = _path(folder, bearer.file).read_text("ascii")
        except OSError as error:
            raise InvalidInput(f"{place}: {error.strerror}") from None
        except UnicodeDecodeError:
            text = ""
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise InvalidInput(f"{place} holds no token, which is one word of printed characters")
    return token


def _context(tls: ClientTls, folder: Path | None) -> ssl.SSLContext | None:
    if not (tls.ca or tls.certificate):
        return None
    context = _trusting(tls.ca, folder)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate:
        cert, key = _path(folder, tls.certificate), _path(folder, tls.key)
        try:
            context.load_cert_chain(cert, key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _unusable(
                f"{tls.certificate} and {tls.key} are no certificate with its key", error
            ) from None
    return context


def _trusting(ca: str, folder: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=_path(folder, ca) if ca else None)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _unusable(f"{ca} holds no certificates", error) from None


def _unusable(what: str, error: Exception) -> InvalidInput:
    if isinstance(error, InvalidInput):
        return error
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "it is no PEM"
    return InvalidInput(f"{what}: {str(reason).replace('_', ' ').lower()}")


def _no_password() -> NoReturn:
    raise ValueError("the key is encrypted")
