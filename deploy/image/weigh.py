"""What the parts of an image weigh, and what was left out of each: the table of docs/image.md."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

from slim import unwanted

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "image.md"
MARK: Final = "<!-- weights -->\n"
OWN_ROW: Final = 4.0
"""MiB from which a distribution has a row of its own."""


@dataclass(frozen=True, slots=True)
class Part:
    """One row: a name, and MiB in the image and left out of it."""

    name: str
    weight: float
    left_out: float = 0.0


def parts(root: Path, wheels: Path) -> list[Part]:
    """What an image holds, by weight; light distributions together.

    Args:
        root: the files of the image.
        wheels: a folder of what was installed, as it was before.
    """
    [packages] = root.glob("opt/understudy/lib/python3*/site-packages")
    left_out = dict(_left_out(wheels))
    single = [_part(each, packages, left_out) for each in distributions(path=[str(packages)])]
    heavy = [part for part in single if part.weight + part.left_out >= OWN_ROW]
    light = [part for part in single if part not in heavy]
    others = Part(f"{len(light)} others", sum(p.weight for p in light), sum(p.left_out for p in light))
    environment = root / "opt/understudy"
    links = Part("the environment's own files", _under(environment) - sum(part.weight for part in single))
    base = Part("the base: Debian, Python 3.11", _under(root) - _under(environment))
    ranked = sorted(heavy, key=lambda part: part.weight, reverse=True)
    return [base, *ranked, others, links]


def table(rows: Iterable[Part]) -> str:
    """The rows and their sum, as Markdown."""
    rows = list(rows)
    total = Part("**in all**", sum(row.weight for row in rows), sum(row.left_out for row in rows))
    head = ["| part | MiB | MiB left out |", "|---|---|---|"]
    lines = [f"| {row.name} | {row.weight:.1f} | {row.left_out:.1f} |" for row in (*rows, total)]
    return "\n".join([*head, *lines]) + "\n"


def read(text: str) -> dict[str, Part]:
    """The rows of a table that `table` wrote, by name."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {name: Part(name, float(weight), float(left_out)) for name, weight, left_out in cells}


def shown() -> str:
    """The table that the page has."""
    return PAGE.read_text().split(MARK)[1].strip()


def write(rows: Iterable[Part]) -> None:
    """Put them into the page."""
    before, _, after = PAGE.read_text().split(MARK)
    PAGE.write_text(f"{before}{MARK}\n{table(rows)}\n{MARK}{after}")


def _part(distribution: Distribution, packages: Path, left_out: dict[str, float]) -> Part:
    paths = {packages / str(file) for file in distribution.files or ()}
    compiled = {Path(cache_from_source(str(path))) for path in paths if path.suffix == ".py"}
    name = distribution.metadata["Name"]
    return Part(name, _weight(paths | compiled), left_out.get(plain(name), 0.0))


def _left_out(wheels: Path) -> Iterator[tuple[str, float]]:
    for path in wheels.glob("*.whl"):
        distribution = path.name.partition("-")[0]
        with zipfile.ZipFile(path) as wheel:
            gone = [file.file_size for file in wheel.infolist() if unwanted(distribution, file.filename)]
        yield plain(distribution), sum(gone) / 2**20


def plain(name: str) -> str:
    """The name of a distribution as lists of pins have it."""
    return name.replace("_", "-").replace(".", "-").lower()


def _under(folder: Path) -> float:
    return _weight(path for path in folder.rglob("*"))


def _weight(paths: Iterable[Path]) -> float:
    """MiB of files, each once, links not followed."""
    found = {}
    for path in paths:
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            found[status.st_dev, status.st_ino] = status.st_size
    return sum(found.values()) / 2**20
