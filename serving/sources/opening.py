"""Which source of models a place is: the one module that knows them all.

A source is a `serving.models.files.source.Source`. A folder is one by itself; what is elsewhere is a
`serving.sources.remote.Remote` behind a cache. Nothing of that is imported for a folder.
"""

from importlib import import_module
from pathlib import Path

from serving.models.files.repository import ModelEntry, Repository
from serving.models.files.source import Source
from serving.places import Origin, is_url
from serving.sources.remote import Progress, Remote

_MLFLOW = "mlflow+"
"""How its places begin."""


def open_source(models: Path | Origin, *, lasting: bool = False, progress: Progress | None = None) -> Source:
    """The source of models at places that settings or the command line name; nothing is read yet.

    Args:
        models: a folder, or places and how what comes from elsewhere is kept.
        lasting: what is found stays cached while this process lives, as nobody else keeps its bytes.
        progress: told of files as they come.

    Raises:
        InvalidInput: what a place or signatures need is not installed, the environment says of a place what
            cannot be, or the file of those who sign has nobody in it.
    """
    if isinstance(models, Path):
        return Repository(models)
    source = _of_all(models, lasting=lasting, progress=progress)
    if models.signers is not None:
        from serving.sources.signed.source import Signed  # noqa: PLC0415  (only who requires signatures)

        source = Signed(source, models.signers, models.proven)
    if not models.python_steps:
        return source
    from serving.sources.permitting import Permitting  # noqa: PLC0415  (only who lets code of models run)

    return Permitting(source)


def _of_all(origin: Origin, *, lasting: bool, progress: Progress | None) -> Source:
    sources = {
        place: _source(place, origin, lasting=lasting, progress=progress) for place in origin.places.named
    }
    if len(sources) == 1:
        return next(iter(sources.values()))
    from serving.sources.several import Several  # noqa: PLC0415  (one place needs no order)

    return Several(sources)


def open_remote(place: str) -> Remote:
    """The store at a URL, as `serving.places` takes it.

    Raises:
        InvalidInput: as `open_source`.
    """
    if place.startswith(_MLFLOW):
        remote: Remote = import_module("serving.sources.mlflow.remote").MlflowRemote(place)
        return remote
    from serving.sources.objects import ObjectRemote  # noqa: PLC0415

    return ObjectRemote(place)


def place_of(models: Path | Origin, entry: ModelEntry) -> str:
    """The place that a version is from, as it was named; empty where that is not known."""
    if isinstance(models, Path):
        return str(models)
    for place in models.places.named:
        if not is_url(place):
            if Path(place) == entry.root:
                return place
        else:
            from serving.sources.cache import Cache  # noqa: PLC0415  (a folder needs none of it)

            if Cache(models.cache, models.cache_bytes).store(place) in entry.root.parents:
                return place
    return ""


def _source(place: str, origin: Origin, *, lasting: bool, progress: Progress | None) -> Source:
    if not is_url(place):
        return Repository(Path(place))
    from serving.sources.fetched import Fetched  # noqa: PLC0415  (a folder needs none of it)

    source = Fetched(open_remote(place), origin, lasting=lasting, progress=progress)
    if origin.signers is None or not place.startswith(_MLFLOW):
        return source
    from serving.sources.signed.unsignable import Unsignable  # noqa: PLC0415  (only who requires signatures)

    return Unsignable(source)
