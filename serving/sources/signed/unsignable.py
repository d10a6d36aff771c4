"""A place whose versions carry no signature, where one is required: they are listed, and none is found.

What MLflow keeps of a version comes with a file that is made here of what the registry says, and which nobody
has signed; so nothing of it is fetched in vain.
"""

from serving.errors import InvalidModel
from serving.models.files.repository import ModelEntry
from serving.models.files.source import Source

_WHY = "what comes from MLflow carries no signature, and --require-signature asks for one"
_REMEDY = "put it, signed, into a folder or a bucket that is named before it"


class Unsignable:
    """Such a place, which is a `serving.models.files.source.Source`.

    Args:
        source: of its versions.

    Attributes:
        problems: as of every source; the first says that nothing of it is accepted.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problems: tuple[str, ...] = ()

    def discover(self) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        found = self._source.discover()
        self.problems = (f"no version is accepted: {_WHY}", *self._source.problems)
        return found

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        return self._source.served(name)

    def configured(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        return self._source.configured(name, version)

    def find(self, name: str, version: str) -> ModelEntry:
        """Refuse it.

        Raises:
            InvalidModel: always.
        """
        raise InvalidModel(f"{name}/{version}: {_WHY}; {_REMEDY}")
