"""docs/benchmarks/outcomes.md from page.md and the cells: every figure in a table is computed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.outcomes.cells import Cell
from benchmarks.policies.words import share, table


def page(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The page.

    Args:
        found: cells by part, as in outcomes.json.
    """
    parts = {part: [Cell(**values) for values in cells] for part, cells in found.items()}
    every = [cell for cells in parts.values() for cell in cells]
    errors = [cell for cell in every if cell.null and cell.used]
    template = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8"))
    return template.substitute(
        {part: _table(cells) for part, cells in parts.items()},
        cells=len(every),
        errors=len(errors),
        broken=sum(not cell.holds for cell in errors),
    )


def _table(cells: Sequence[Cell]) -> str:
    head = ["case", "test", "runs", "ever", "allowed", "median / 95%", "specified"]
    return table(head, (_row(cell) for cell in cells))


def _row(cell: Cell) -> list[object]:
    test = cell.test if cell.used else f"{cell.test} (not used)"
    allowed = share(cell.allowed) if cell.null else ""
    ever = share(cell.crossed) if cell.holds else f"**{share(cell.crossed)}**"
    return [
        cell.case,
        test,
        f"{cell.runs:,}",
        ever,
        allowed,
        "" if cell.null else _spread(cell),
        cell.specified,
    ]


def _spread(cell: Cell) -> str:
    if cell.median is None:
        return "never"
    p95 = "" if cell.p95 is None else f" / {cell.p95:,.0f}"
    return f"{cell.median:,.0f}{p95} {cell.unit}"
