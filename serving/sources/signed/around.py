"""A source around another one, which lists what that one lists and finds what it will."""

from serving.models.files.repository import ModelEntry
from serving.models.files.source import Source


class Around:
    """What a source around another one has of it; `find` is its own.

    Args:
        source: that has the files.

    Attributes:
        problems: as of every source.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problems: tuple[str, ...] = ()

    def discover(self) -> tuple[ModelEntry, ...]:
        """As `Source`; what is listed may turn out not to be found."""
        found = self._source.discover()
        self.problems = self._source.problems
        return found

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """As `discover`."""
        return self._source.served(name)

    def configured(self, name: str, version: str) -> ModelEntry:
        """As `Source`: config.yaml is no part of what is signed."""
        return self._source.configured(name, version)
