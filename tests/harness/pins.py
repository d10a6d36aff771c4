"""The lists of requirements*.txt as data, and what needs what according to what is installed."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.system import ROOT

RUNTIME = ROOT / "requirements.txt"
BUILD = ROOT / "requirements-build.txt"
DEVELOPMENT = ROOT / "requirements-dev.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>.+))?")


@dataclass(frozen=True, slots=True)
class Pin:
    """One entry of a list: a version of a package, where it applies, and the files that may be installed."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def applies(self, **environment: str) -> bool:
        """Whether it is installed where the markers have these values, and else those of this Python."""
        return not self.marker or Marker(self.marker).evaluate(environment)


def entries(file: Path) -> list[Pin]:
    """A list of pins; anything else in it is an error."""
    found = []
    for text in file.read_text().replace(" \\\n", " ").splitlines():
        first, *hashes = re.split(r"\s+--hash=", text)
        match = _PIN.fullmatch(first)
        assert match, f"{file.name}: not a pin: {first}"
        found.append(Pin(match["name"], match["version"], match["marker"] or "", tuple(hashes)))
    return found


def here(file: Path) -> dict[str, str]:
    """What the list installs on this Python: name -> version."""
    return {pin.name: pin.version for pin in entries(file) if pin.applies()}


def wanted_to_run() -> list[str]:
    """What pyproject.toml says that the image and the demo need."""
    extras = PROJECT["project"]["optional-dependencies"]
    in_the_image = ("postgres", "otel", "records", "grpc")
    return [*PROJECT["project"]["dependencies"], *(one for name in in_the_image for one in extras[name])]


def wanted_to_develop() -> list[str]:
    """What pyproject.toml says that all of it needs."""
    extras = PROJECT["project"]["optional-dependencies"]
    return [
        *PROJECT["project"]["dependencies"],
        *(one for extra in extras.values() for one in extra),
        *group("dev"),
    ]


def group(name: str) -> Iterator[str]:
    """The requirements of a dependency group (PEP 735), those of the groups that it includes among them."""
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from group(entry["include-group"])


def needed(roots: list[str]) -> dict[str, list[Requirement]]:
    """Every requirement by name, also those of requirements and their extras, as what is installed says."""
    found: dict[str, list[Requirement]] = {}
    ahead = [Requirement(root) for root in roots]
    seen: set[tuple[str, str]] = set()
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        found.setdefault(name, []).append(requirement)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in _requires(name):
                further = Requirement(text)
                if further.marker is None or further.marker.evaluate({"extra": extra}):
                    ahead.append(further)
    return found


def _requires(name: str) -> list[str]:
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []
