"""Which source of models a place is: the one module that knows them all.

A source is a `serving.models.files.source.Source`. The folder is the one there is; what fetches from
elsewhere is a module beside this one and a branch of `open_source`.
"""

from pathlib import Path

from serving.models.files.repository import Repository
from serving.models.files.source import Source


def open_source(models: Path) -> Source:
    """The source of models at a place that settings or the command line name; nothing is read yet."""
    return Repository(models)
