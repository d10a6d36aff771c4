"""Metrics of processes that ended, kept in one file for all of them.

Each process has files of its own (`serving.telemetry.cells`), and what it counted must outlive it. With a
sandbox for every rollout the dead would take a megabyte each, for ever, and every scrape would read them all.

Law: readers and this share a lock on the folder, so nobody sees a process twice, or not at all.
"""

import json
import os
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.telemetry.cells import Totals, alive, locked, read_files

FOLDED = "folded-0"
"""The files of the dead. No process has the number 0, so they count as dead wherever that matters."""


def fold(folder: Path, at_least: int = 4) -> int:
    """Put what ended processes counted into one pair of files and remove theirs.

    Args:
        folder: of the metrics.
        at_least: with fewer of the dead nothing is done.

    Returns:
        How many processes were folded in; 0 also where the disk had no room: then all stays as it is.
    """
    with locked(folder, exclusive=True):
        dead = [index for index in folder.glob("*.index") if not alive(_pid(index))]
        new = [index for index in dead if index.stem != FOLDED]
        if len(new) < at_least:
            return 0
        target = folder / FOLDED
        made = [target.with_suffix(".index.new"), target.with_suffix(".values.new")]
        try:
            _write(read_files(dead), *made)
        except OSError:
            for path in made:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            return 0
        for index in new:
            index.unlink(missing_ok=True)
            index.with_suffix(".values").unlink(missing_ok=True)
        for path in made:
            path.replace(path.with_suffix(""))
        return len(new)


def _pid(index: Path) -> int:
    return int(index.stem.rpartition("-")[2])


def _write(totals: dict[str, Totals], index: Path, values: Path) -> None:
    """Counters and histograms as `Metrics` writes them; gauges speak of the living only."""
    lines: list[list[Any]] = []
    cells = array("d", [0.0])  # an empty file could not be mapped
    for name, total in totals.items():
        family = total.family
        if family.kind == "gauge":
            continue
        lines.append([name, family.kind, family.help, family.labels, family.buckets, family.merge])
        for labels, counted in total.series.items():
            lines.append([name, labels, len(cells)])
            cells.extend(counted)
    with values.open("wb") as file:
        cells.tofile(file)
        os.fsync(file.fileno())
    index.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
