"""The kinds of file that are scored, by what their names end with."""

from pathlib import Path
from typing import Final

from serving.errors import InvalidInput
from understudy.scoring.formats.arrow_file import ArrowFile
from understudy.scoring.formats.block import Format
from understudy.scoring.formats.csv_file import Csv
from understudy.scoring.formats.json_lines import JsonLines
from understudy.scoring.formats.parquet import Parquet

FORMATS: Final[dict[str, Format]] = {
    ".parquet": Parquet(),
    ".csv": Csv(),
    ".jsonl": JsonLines(),
    ".arrow": ArrowFile(),
    ".feather": ArrowFile(),
}


def format_of(path: Path) -> Format:
    """The kind of a file.

    Raises:
        InvalidInput: its name ends with none of them.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise InvalidInput(f"{path}: rows are scored from {', '.join(FORMATS)} files")
    return found
