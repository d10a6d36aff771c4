"""TLS of a door: from two files, renewed without a restart.

Law: each new connection gets the certificate that was read last and found good; connections that are open
keep theirs. A certificate without its key, or with another's, is never put to use. TLS 1.2 at least.
"""

import ssl
from pathlib import Path
from typing import Any, NamedTuple

from serving.admission.reloading import Reloading
from serving.errors import InvalidInput
from serving.telemetry.cells import Metrics

HANDSHAKE_SECONDS = 10.0
"""A client that has not finished its handshake by then is let go."""


class Loaded(NamedTuple):
    """A certificate, the chain behind it and its private key, which belong together.

    Attributes:
        context: a server's side with them.
        cert, key: PEM.
    """

    context: ssl.SSLContext
    cert: bytes
    key: bytes


def load(cert: Path, key: Path) -> Loaded:
    """Read a certificate (and the chain behind it) and its private key, both PEM.

    Raises:
        InvalidInput: they cannot be read, do not belong together, change meanwhile, or the key is encrypted.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    found = _bytes_of(cert, key)
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except InvalidInput:
        raise
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "it is no PEM"
        text = str(reason).replace("_", " ").lower()
        raise InvalidInput(f"{cert.name} and {key.name} are no certificate with its key: {text}") from None
    if _bytes_of(cert, key) != found:
        raise InvalidInput(f"{cert.name} or {key.name} changed while it was read")
    return Loaded(context, *found)


def _bytes_of(*paths: Path) -> list[bytes]:
    found = []
    for path in paths:
        try:
            found.append(path.read_bytes())
        except OSError as error:
            raise InvalidInput(f"{path.name}: {error.strerror}") from None
    return found


def _no_password() -> str:
    """Asked for instead of the person at the terminal."""
    raise InvalidInput("the private key is encrypted, and nobody is there to say its password")


class Certificate(Reloading[Loaded]):
    """The certificate of one door.

    Args:
        door: in logs and metrics, `public` or `admin`.

    Raises:
        InvalidInput: see `load`.
    """

    def __init__(self, door: str, cert: Path, key: Path, metrics: Metrics) -> None:
        super().__init__(f"{door} certificate", (cert, key), lambda: load(cert, key), metrics)

    def context(self) -> ssl.SSLContext:
        """For listeners: hands each handshake over to the certificate of the day."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sni_callback = self._choose
        return context

    def _choose(self, handshake: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called when the client has greeted, whether or not it named a server."""
        handshake.context = self.value.context
