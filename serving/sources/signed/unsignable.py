"""A place whose versions carry no signature, where one is required: they are listed, and none is found.

What MLflow keeps of a version comes with a file that is made here of what the registry says, and which nobody
has signed; so nothing of it is fetched in vain.
"""

from serving.errors import InvalidModel
from serving.models.files.repository import ModelEntry
from serving.sources.signed.around import Around

_WHY = "what comes from MLflow carries no signature, and --require-signature asks for one"
_REMEDY = "put it, signed, into a folder or a bucket that is named before it"


class Unsignable(Around):
    """Such a place, which is a `serving.models.files.source.Source`."""

    def discover(self) -> tuple[ModelEntry, ...]:
        """As `Source`; the first problem says that nothing of it is accepted."""
        found = super().discover()
        self.problems = (f"no version is accepted: {_WHY}", *self.problems)
        return found

    def find(self, name: str, version: str) -> ModelEntry:
        """Refuse it.

        Raises:
            InvalidModel: always.
        """
        raise InvalidModel(f"{name}/{version}: {_WHY}; {_REMEDY}")
