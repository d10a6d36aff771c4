"""Whether the files that a door is told of can be used: asked before any process is started for it."""

from pathlib import Path

from serving.admission.api_keys import load as load_keys
from serving.admission.tls import load as load_certificate
from serving.errors import ServingError


def problem_of_files(cert: Path | None, key: Path | None, *key_files: Path | None) -> str:
    """Why they cannot be used; empty when they can."""
    try:
        if cert is not None and key is not None:
            load_certificate(cert, key)
        for path in key_files:
            if path is not None:
                load_keys(path)
    except ServingError as error:
        return str(error)
    return ""
