"""What a store of models elsewhere has to be able to do: list, and give bytes. Pure.

Law: a remote knows one protocol and nothing of caches, disks or digests. What it lists is laid out as in a
folder of models, `NAME/VERSION/model.onnx` and `NAME/config.yaml`, whatever it looks like over there. Its
methods block, and raise `Away` when the store does not answer or refuses the credentials, so that what is
kept serves on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from serving.errors import Unavailable


class Away(Unavailable):
    """The store cannot be asked now: which one and why, without credentials."""


class Changed(Away):
    """A file is another one than was listed, or gone: asking for it again is in vain."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a model.

    Attributes:
        path: relative to the folder of models, e.g. `digits/2/model.onnx`.
        size: bytes.
        tag: another one whenever the bytes are others (an ETag, a run's artifact); never empty.
        place: what the remote itself calls it.
        md5: of the bytes, in hexadecimal, where the store seems to say so; else empty.
        put_at: when it was put, by the store's clock, seconds since 1970; 0 where nothing is overwritten.
    """

    path: str
    size: int
    tag: str
    place: str
    md5: str = ""
    put_at: float = field(default=0.0, compare=False)


Progress = Callable[[RemoteFile, int], None]
"""Told how many bytes of a file are here."""


class Remote(Protocol):
    """A store of models: `s3://`, `gs://`, `az://`, MLflow.

    Attributes:
        url: of the store, without credentials; part of the names of what is cached.
        problems: what the last `models` left out though it looks like a model, a sentence each.
    """

    url: str
    problems: tuple[str, ...]

    def models(self) -> tuple[tuple[str, str], ...]:
        """Name and version of each version of each model, in no order; any version string.

        Raises:
            Away: the store cannot be asked.
        """

    def files(self, name: str, version: str) -> tuple[RemoteFile, ...]:
        """All files of one version, and those beside it that its model needs; empty where there is none.

        Raises:
            InvalidModel: the store has it in a way that nobody can fetch.
            Changed: it did answer, and does not give this version now.
            Away: the store cannot be asked.
        """

    def read(self, file: RemoteFile, start: int = 0) -> Iterator[bytes]:
        """The bytes of a file from a position on, in pieces; one that changed since it was listed is refused.

        Raises:
            Changed: the store has another file by now, or none.
            Away: the store does not answer.
        """
