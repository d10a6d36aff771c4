"""A cell of "What the evidence is fed"."""

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.policies.aa import tolerated_of


def row(
    case: str,
    test: str,
    harm: npt.NDArray[np.bool_] | None,
    proof: npt.NDArray[np.bool_] | None,
    *,
    null: bool = False,
    unit: str = "comparisons",
) -> dict[str, Any]:
    """A cell, from whether each run (rows) was over the line at each look (columns)."""
    found: dict[str, Any] = {"case": case, "test": test, "null": null, "unit": unit}
    found["runs"] = len(proof if harm is None else harm)  # type: ignore[arg-type]
    for name, over in (("harm", harm), ("proof", proof)):
        crossed = None if over is None else over.any(axis=1)
        found[f"{name}_crossed"] = None if crossed is None else float(crossed.mean())
        first = None if over is None or not crossed.any() else over.argmax(axis=1)[crossed] + 1
        found[f"{name}_median"] = None if first is None else float(np.median(first))
    found["tolerated"] = tolerated_of(found["runs"]) if null else None
    return found
