"""How the files of the prediction log are named: `model=<public name>/date=<day>/hour=<hour>/<file>`. Pure.

Law: what has another name is no file of the log, and is left alone; nor is one whose name begins with a dot
or an underscore, as others of the field name what is not to be read. Hours are UTC, of when requests arrived.
"""

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple

_LEVELS: Final = ("model=*", "date=*", "hour=*", "*.parquet")
_NAME: Final = re.compile(
    r"model=(?P<model>[^/]+)/date=(?P<date>\d{4}-\d\d-\d\d)/hour=(?P<hour>\d\d)/(?P<file>[^/._][^/]*\.parquet)"
)


class Named(NamedTuple):
    """What the name of a file says.

    Attributes:
        model: the public name.
        hour: in which the requests of its rows arrived, UTC.
        file: the last part of the name.
    """

    model: str
    hour: datetime
    file: str


def model_folder(model: str) -> str:
    """Where all files of a model are."""
    return f"model={model}"


def hour_folder(model: str, at: datetime) -> str:
    """Where rows of a model are whose requests arrived in the hour of `at`, UTC."""
    return f"{model_folder(model)}/date={at:%Y-%m-%d}/hour={at:%H}"


def folder_of(name: str) -> str:
    """The folder that a file is in."""
    return name.rpartition("/")[0]


def below(folder: str) -> str:
    """A pattern of all files below a folder, relative to it.

    Args:
        folder: one of the log's; empty for its root.
    """
    return "/".join(_LEVELS[len(folder.split("/")) if folder else 0 :])


def parsed(name: str) -> Named | None:
    """Say what a name below the root says; None of what is no file of the log."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        hour = datetime.strptime(f"{found['date']} {found['hour']}", "%Y-%m-%d %H").replace(tzinfo=UTC)
    except ValueError:  # a thirteenth month
        return None
    return Named(found["model"], hour, found["file"])
