"""Where models come from, as far as whoever serves, checks or lists them is concerned. Pure.

Law: what `find` gives has its files on this machine, in `ModelEntry.root`. So the process that checks, the
runtime and the keeping of bytes by their digest read files, whatever the source; and `find`, which may fetch,
is never called on an event loop that serves. `serving.models.files.repository.read` reads those files, and
names them by their SHA-256.
"""

from typing import Protocol

from serving.models.files.repository import ModelEntry


class Source(Protocol):
    """Models by name and version, each call looking anew.

    Attributes:
        problems: what the last `discover` left out though it looks like a model, a sentence each.
    """

    problems: tuple[str, ...]

    def discover(self) -> tuple[ModelEntry, ...]:
        """List every version of every model, by name and then number; never raises for what it finds."""

    def served(self, name: str) -> tuple[ModelEntry, ...]:
        """List the versions that the model's policy names and that exist, highest first.

        Raises:
            NotFound: there is no model of that name.
            DocumentError: its configuration is wrong.
        """

    def configured(self, name: str, version: str) -> ModelEntry:
        """What is said beside a version now; of its files only those beside it need be on this machine.

        So whoever keeps the bytes of a version can follow its configuration without fetching others.

        Raises:
            NotFound: there is none of that name and version, or these can be no name and version.
            Unavailable: the source cannot be asked now.
            DocumentError: its configuration is wrong.
        """

    def find(self, name: str, version: str) -> ModelEntry:
        """Resolve one version of a model; blocks for as long as it takes to have its files here.

        Raises:
            NotFound: there is none of that name and version, or these can be no name and version.
            InvalidModel: its files cannot be used.
            Unavailable: they are not here, and cannot be had now.
            DocumentError: its configuration is wrong.
        """
