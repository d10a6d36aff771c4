"""Takes out of an environment what nothing that serves imports: `slim.py SITE_PACKAGES`.

Only files that a distribution's RECORD names go, and they leave the RECORD, so that it says what is there.
"""

import csv
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

EVERYWHERE: Final = ("*/tests/*", "*.a", "*.h", "*.hpp", "*.pxd", "*.pyx")
"""Tests of packages, and what only compilers read."""

OF: Final = {
    "onnx": ("onnx/backend/test/*", "onnx/*.cc"),
    "pyarrow": (
        *(
            "pyarrow/_flight*",
            "pyarrow/flight.py",
            "pyarrow/libarrow_flight*",
            "pyarrow/libarrow_python_flight*",
        ),
        *("pyarrow/src/*", "pyarrow/_pyarrow_cpp_tests*"),
    ),
}
"""Parts of single packages: test cases of the standard; Arrow's RPC, which no other part of Arrow links."""


def slim(packages: Path) -> int:
    """How many bytes were taken out of all distributions of a folder."""
    return sum(_slim(packages, record) for record in sorted(packages.glob("*.dist-info/RECORD")))


def unwanted(distribution: str, file: str) -> bool:
    """Whether a file of a distribution goes; the path is as its RECORD has it."""
    return any(fnmatchcase(f"/{file}", f"/{pattern}") for pattern in (*EVERYWHERE, *OF.get(distribution, ())))


def _slim(packages: Path, record: Path) -> int:
    distribution = record.parent.name.partition("-")[0]
    with record.open(newline="") as text:
        rows = list(csv.reader(text))
    gone = [packages / row[0] for row in rows if unwanted(distribution, row[0])]
    freed = sum(path.stat().st_size for path in gone)
    for path in gone:
        path.unlink()
    with record.open("w", newline="") as text:
        csv.writer(text, lineterminator="\n").writerows(
            row for row in rows if not unwanted(distribution, row[0])
        )
    _drop_empty({path.parent for path in gone}, packages)
    return freed


def _drop_empty(folders: set[Path], top: Path) -> None:
    for folder in sorted({each for path in folders for each in (path, *path.parents)}, reverse=True):
        if folder.is_relative_to(top) and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


if __name__ == "__main__":
    print(f"{slim(Path(sys.argv[1])) / 2**20:.0f} MiB that nothing imports are taken out")
