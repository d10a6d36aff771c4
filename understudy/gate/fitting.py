"""Whether the models that a rollout file names are in a repository and fit each other."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from control.rollouts.catalogue import Catalogue
from control.rollouts.file import located
from router.rollout.values import Rollout
from serving.document import DocumentError
from serving.places import Origin


def misfits(
    content: bytes, file: str, rollouts: Mapping[str, Rollout], models: Path | Origin
) -> dict[str, DocumentError]:
    """Why some rollouts could not be served with these models, by public model name.

    Each model is verified in a limited process of its own, as control does before it accepts a document.

    Args:
        content: of the rollout file.
        file: the name that errors show.
        rollouts: what was read of it.
        models: where they come from.

    Raises:
        ServingError: there is no such repository.
    """
    with TemporaryDirectory() as verified:
        found = asyncio.run(Catalogue(models, Path(verified)).faults(list(rollouts.values())))
    return {model: located(content, file, error) for model, error in found.items()}
