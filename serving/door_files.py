"""Whether the files that a door is told of can be used: asked before any process is started for it."""

from pathlib import Path

from serving.api_keys import load as load_keys
from serving.errors import ServingError
from serving.tls import load as load_certificate


def problem_of_files(cert: Path | None, key: Path | None, api_keys: Path | None = None) -> str:
    """Why they cannot be used; empty when they can."""
    try:
        if cert is not None and key is not None:
            load_certificate(cert, key)
        if api_keys is not None:
            load_keys(api_keys)
    except ServingError as error:
        return str(error)
    return ""
