"""Files of the prediction log in an object store: S3, Google Cloud Storage, Azure, and what is like them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError

from router.record.files.layout import parsed
from router.record.files.remote import remote_file
from serving.errors import InvalidInput
from serving.sources.buckets import in_words, of_store, open_store

RETRY_SECONDS: Final = 10.0
"""Short: the log writer tries again itself, and says that it does."""


class BucketStore:
    """A bucket of an object store, by obstore; keys and region come from the environment.

    Args:
        store: of obstore.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def put(self, name: str, data: bytes) -> None:
        """As `Store`: a file of this name is this one, since nobody else has the name."""
        with _of(name), suppress(AlreadyExistsError):
            obstore.put(self._store, name, data, mode="create")

    def exists(self, name: str) -> bool:
        """As `Store`."""
        try:
            with _of(name):
                obstore.head(self._store, name)
        except FileNotFoundError:
            return False
        return True

    def names(self, folder: str = "") -> Iterator[str]:
        """As `Store`."""
        with _of(folder or "the files"):
            batches = obstore.list(self._store, prefix=folder or None)
            listed = [meta["path"] for batch in batches for meta in batch]
        yield from sorted(path for path in listed if parsed(path) is not None)

    def open(self, name: str) -> object:
        """As `Store`; reads what is asked for, with some more around it."""
        of_this = partial(_of, name)
        with of_this():
            return remote_file(obstore.open_reader(self._store, name), of_this)

    def delete(self, name: str) -> None:
        """As `Store`."""
        with suppress(FileNotFoundError), _of(name):
            obstore.delete(self._store, name)


@contextmanager
def _of(name: str) -> Iterator[None]:
    """What obstore raises, as what a disk does: an `OSError` that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except BaseException as error:
        if not of_store(error):
            raise
        raise OSError(f"{name}: {in_words(error)}") from None


def open_bucket(url: str) -> BucketStore:
    """The bucket of a URL, and what of it the path names.

    Raises:
        OSError: the URL, or what the environment says of it, cannot be.
    """
    try:
        return BucketStore(open_store(url, {}, RETRY_SECONDS))
    except InvalidInput as error:
        raise OSError(str(error)) from None
