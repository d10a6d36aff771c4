"""Several places with models as one source: a name is of the first place that has it.

Law: all versions of a model come from one place. A later one is asked for a name only when each before it
has said that it has none; one that is away and may have it is an error, and no reason to serve what another
calls so.
"""

from collections.abc import Mapping

from serving.errors import InvalidInput, InvalidModel, NotFound
from serving.models.files.repository import ModelEntry
from serving.models.files.source import Source


class Several:
    """Sources in order, which is a `serving.models.files.source.Source`.

    Args:
        sources: by their place.

    Attributes:
        problems: as of every source; those of a place begin with it.
    """

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = dict(sources)
        self.problems: tuple[str, ...] = ()

    def discover(self) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        owner: dict[str, str] = {}
        found: list[ModelEntry] = []
        problems: list[str] = []
        for place, source in self._sources.items():
            entries = source.discover()
            problems += [_at(place, problem) for problem in source.problems]
            for entry in entries:
                first = owner.setdefault(entry.name, place)
                if first == place:
                    found.append(entry)
            hidden = sorted({entry.name for entry in entries if owner[entry.name] != place})
            problems += [f"{place}: {name} is not taken from here; {owner[name]} has it" for name in hidden]
        self.problems = tuple(problems)
        return tuple(sorted(found, key=lambda entry: (entry.name, int(entry.version))))

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """As `Source`."""
        for source in self._sources.values():
            try:
                return source.served(name)
            except NotFound:
                continue
        raise NotFound(f"no model {name[:130]!r}")

    def configured(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        return self._holder(name, version).configured(name, version)

    def find(self, name: str, version: str) -> ModelEntry:
        """As `Source`."""
        return self._holder(name, version).find(name, version)

    def _holder(self, name: str, version: str) -> Source:
        """The first place that has a model of this name.

        Raises:
            NotFound: none has.
            Unavailable: one before it cannot be asked, and may have it.
        """
        for source in self._sources.values():
            try:
                source.served(name)
            except NotFound:
                continue
            except (InvalidInput, InvalidModel):  # its configuration; `find` says it
                return source
            return source
        raise NotFound(f"no model {name[:130]!r} version {version[:12]!r}")


def _at(place: str, problem: str) -> str:
    """A problem with its place, which those of a store that is away begin with already."""
    return problem if problem.startswith(place) else f"{place}: {problem}"
