"""Where models come from, as settings and the command line say it: folders and stores elsewhere. Pure.

Law: a place that is taken here can be opened, as far as its text tells; one that cannot be is refused with
its name and what to write instead. No place holds credentials, so places may be logged and shown.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

SEPARATOR: Final = "|"
"""Between several places in one text: in no URL, and in few names of folders."""
STORES: Final = ("s3", "gs", "az")
SCHEMES: Final = (*STORES, "mlflow+http", "mlflow+https")
GB: Final = 10**9

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_SLIP = re.compile(rf"(?:{'|'.join(map(re.escape, SCHEMES))}):", re.IGNORECASE)
_KNOWN = "a folder, s3://, gs://, az:// or mlflow+https://"


@dataclass(frozen=True, slots=True)
class Places:
    """Folders and URLs, in the order in which models are looked for; at least one, none twice.

    Attributes:
        named: each as it was written; a URL without the slash at its end.
    """

    named: tuple[str, ...]

    @classmethod
    def of(cls, value: object) -> Self:
        """Read what a setting or an option says: a text, a path, or several of them.

        Raises:
            ValueError: one of them can be no place; says which, without its credentials.
        """
        if isinstance(value, cls):
            return value
        parts = value if isinstance(value, (list, tuple)) else [value]
        texts = [text for part in parts for text in _texts(part)]
        if not texts:
            raise ValueError(f"where are the models? name {_KNOWN}")
        return cls(tuple(dict.fromkeys(map(_place, texts))))

    def __str__(self) -> str:
        return SEPARATOR.join(self.named)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where models come from, and how what comes from elsewhere is kept.

    Attributes:
        places: in the order in which models are looked for.
        cache: the folder that keeps what was fetched.
        cache_bytes: the most that it takes.
        stagger_seconds: over how long the nodes of a fleet spread a large download; 0: nobody waits.
        signers: PEM file of those whose signature a model needs; None: none is needed.
        proven: the folder that remembers which signatures were proven.
        python_steps: whether the operator lets code of models, steps of graphs in Python, be run.
    """

    places: Places
    cache: Path = Path(".understudy/model-cache")
    cache_bytes: int = 20 * GB
    stagger_seconds: float = 0.0
    signers: Path | None = None
    proven: Path = Path(".understudy/signatures")
    python_steps: bool = False


def folders(models: Path | Origin) -> tuple[Path, ...]:
    """Those of the places that are folders."""
    if isinstance(models, Path):
        return (models,)
    return tuple(Path(place) for place in models.places.named if not is_url(place))


def beside(models: Path | Origin, name: str, file: str) -> Path | None:
    """A file that lies beside the versions of a model in one of the folders; None where there is none."""
    found = (folder / name / file for folder in folders(models))
    return next((path for path in found if path.exists()), None)


def is_url(place: str) -> bool:
    """Whether it is no folder."""
    return _SCHEME.match(place) is not None


def _texts(part: object) -> Sequence[str]:
    if isinstance(part, Path):
        return [str(part)]
    if not isinstance(part, str):
        raise ValueError(f"a place of models is a text, not {type(part).__name__}")  # noqa: TRY004  (pydantic's)
    return [text.strip() for text in part.split(SEPARATOR) if text.strip()]


def _place(text: str) -> str:
    """One place, checked.

    Raises:
        ValueError: as `Places.of`.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        slip = _SLIP.match(text)
        if slip is not None and not Path(text).exists():
            raise ValueError(f"{text}: a URL has two slashes, {slip[0]}//{text[slip.end() :].lstrip('/')}")
        return text
    shown = without_credentials(text)
    if scheme[0].lower() not in SCHEMES:
        raise ValueError(f"{shown}: {scheme[0]}:// is not known; {_KNOWN} is")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{shown}: it is no URL") from None
    if "@" in parts.netloc:
        raise ValueError(f"{shown}: no user or password in a URL; they are taken from the environment")
    if parts.query or parts.fragment or re.search(r"[\s?#]", text):
        raise ValueError(f"{shown}: no ?, # or space; what a store needs is in the environment")
    if not parts.hostname:
        wanted = "a bucket" if scheme[0].lower() in STORES else "a host"
        raise ValueError(f"{shown}: it names no {wanted.partition(' ')[2]}; {wanted} follows {scheme[0]}://")
    if port is not None and scheme[0].lower() in STORES:
        raise ValueError(f"{shown}: a bucket has no port; the door of a store is told by the environment")
    return f"{scheme[0].lower()}{text[scheme.end() :].rstrip('/')}"


def without_credentials(url: str) -> str:
    """A URL as it may be shown."""
    head, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2] if "@" in host else host
    return f"{head}{separator}{host}{slash}{re.split('[?#]', path)[0]}"
