"""Where the profile of a target lies: in the folder of its version, else beside all versions. Pure.

It imports nothing of this room: whoever finds no profile pays for none.
"""

from contextlib import suppress
from pathlib import Path

from serving.errors import ServingError
from serving.models.files.source import Source

PROFILE_FILE = "profile.json"


def profile_beside(source: Source, target: str) -> Path | None:
    """The profile of a target; None where there is none, and of one behind a URL. Blocks.

    Args:
        source: of the models.
        target: its key, `name/version`.
    """
    name, _, version = target.partition("/")
    if not version or "@" in version:
        return None
    with suppress(ServingError, OSError):
        folder = source.find(name, version).path.parent
        places = (folder / PROFILE_FILE, folder.parent / PROFILE_FILE)
        return next((place for place in places if place.is_file()), None)
    return None
