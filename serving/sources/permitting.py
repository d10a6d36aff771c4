"""A source whose graphs may run steps in Python: what the operator said once, on each thing that is found."""

from dataclasses import replace

from serving.models.files.repository import ModelEntry
from serving.models.files.source import Source
from serving.sources.signed.around import Around


class Permitting(Around):
    """A source around another one."""

    def discover(self) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        return tuple(map(_permitted, super().discover()))

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        return tuple(map(_permitted, super().served(name)))

    def configured(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        return _permitted(super().configured(name, version))

    def find(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        return _permitted(self._source.find(name, version))


def permits(source: Source) -> bool:
    """Whether what a source gives may run steps in Python, for whoever keeps its bytes elsewhere."""
    return isinstance(source, Permitting)


def _permitted(entry: ModelEntry) -> ModelEntry:
    return replace(entry, python_steps=True)
