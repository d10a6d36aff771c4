"""How commands reach the admin door: where it is, by which token, and what its refusals become."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import httpx
import orjson
import typer

from serving.errors import ServingError
from understudy.output import fail

Admin = Annotated[str, typer.Option("--admin", help="URL of the admin door", envvar="UNDERSTUDY_CONTROL")]
Token = Annotated[
    str, typer.Option("--token", help="Bearer token", envvar="UNDERSTUDY_TOKEN", show_default=False)
]
Ca = Annotated[
    Path | None,
    typer.Option(help="CA certificates to check the admin door's by", envvar="UNDERSTUDY_CONTROL_CA"),
]

HERE = "http://127.0.0.1:9000"
STALE = 4
"""Exit code of a change that is based on a revision that is no longer the model's."""

_ca: ContextVar[Path | None] = ContextVar("ca", default=None)


def trust(ca: Path | None) -> None:
    """Check the door's certificate by those of this file; None for those of the system."""
    _ca.set(ca)


def _trusted() -> ssl.SSLContext | bool:
    """What the certificate of the admin door is checked by: the file that was named, or the system's."""
    ca = _ca.get()
    if ca is None:
        return True
    try:
        from router.sync import trusting

        return trusting(ca)
    except ServingError as error:
        fail(f"--ca: {error}")


@contextmanager
def connected(admin: str, token: str) -> Iterator[httpx.Client]:
    """A client of the admin door; what keeps it from answering ends the command."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    verify = _trusted()
    with httpx.Client(
        base_url=admin, headers=headers, timeout=10.0, trust_env=False, verify=verify
    ) as client:
        try:
            yield client
        except httpx.HTTPError as error:
            fail(f"{admin}: {error}")


def checked(response: httpx.Response, file: str = "") -> Any:
    """What was answered; a refusal ends the command with its words.

    Args:
        response: the answer.
        file: the user's file where its content was sent, for the places of faults.
    """
    if response.is_success:
        return orjson.loads(response.content) if response.content else None
    try:
        problem = orjson.loads(response.content)
        faults = problem.get("faults") or [problem]
        details = [
            f"{file or fault['file']}:{fault['line']}:{fault['column']}: {fault['detail']}"
            if "line" in fault
            else str(fault["detail"])
            for fault in faults
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        details = [f"status {response.status_code}"]
    for detail in details:
        typer.echo(f"error: {detail}", err=True)
    raise typer.Exit(STALE if response.status_code == 412 else 1)
