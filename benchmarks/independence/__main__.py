"""`python -m benchmarks.independence [FOLDER ...]`: what is proven, and whether it is so.

The bundled models, the ones in the folders given (`*.onnx`), the onnx project's test models and graphs made at
random are proven and tried on onnxruntime; what came of it goes into docs/benchmarks/independence.md.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bench import DOCS, ROOT, machine
from benchmarks.independence.survey import Survey, generated, onnx_tests
from benchmarks.independence.trial import ROWS, Feeds, Outcome, compare, session
from serving.models.independence.proof import prove
from serving.repository import Repository
from serving.tensors import Signature
from serving.verify import verify

GRAPHS = 20_000
TOGETHER = 8
TIMED_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the table."""

    name: str
    reason: str
    proof_ms: float
    outcome: Outcome
    single: float
    joined: float


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="where models of packages lie, as *.onnx")
    parser.add_argument("--graphs", type=int, default=GRAPHS, help="how many are made at random")
    arguments = parser.parse_args()
    bundled = [(f"{e.name}/{e.version}", e.path) for e in Repository(ROOT / "models").discover()]
    packages = [(p.stem, p) for folder in arguments.folders for p in sorted(folder.glob("*.onnx"))]
    rows = [_row(name, path) for name, path in (*bundled, *packages)]
    page = _page(rows, generated(0, arguments.graphs), arguments.graphs, onnx_tests())
    (DOCS / "independence.md").write_text(page)


def _row(name: str, path: Path) -> Row:
    data = path.read_bytes()
    began = time.perf_counter()
    verdict = prove(data)
    proof_ms = (time.perf_counter() - began) * 1e3
    untold = Row(name, verdict.reason, proof_ms, Outcome(told=False), 0.0, 0.0)
    if "fixed" in verdict.reason or "has no first dimension" in verdict.reason:
        return untold
    alone = session(data)
    feeds = _feeds(path)
    if feeds is None:
        return untold
    outcome = compare(lambda given: alone.run(None, given), feeds)
    single = _rate(lambda: alone.run(None, {n: a[:1] for n, a in feeds.items()}), 1)
    many = {n: np.resize(a, (TOGETHER, *a.shape[1:])) for n, a in feeds.items()}
    try:
        joined = _rate(lambda: alone.run(None, many), TOGETHER)
    except Exception:  # noqa: BLE001  (onnxruntime's exceptions have no base of their own)
        joined = 0.0
    return Row(name, verdict.reason, proof_ms, outcome, single, joined)


def _feeds(path: Path) -> Feeds | None:
    """Five rows for each input, of lengths that the check found to run."""
    import tempfile  # noqa: PLC0415  (a repository of one model)

    with tempfile.TemporaryDirectory() as folder:
        version = Path(folder) / "m" / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(path.read_bytes())
        [report] = verify([Repository(Path(folder)).find("m", "1")])
    if not report.ok or report.signature is None or report.trial is None:
        return None
    rng = np.random.default_rng(0)
    return _drawn(report.signature, list(report.trial.shapes), rng)


def _drawn(signature: Signature, shapes: list[tuple[int, ...]], rng: np.random.Generator) -> Feeds:
    feeds: Feeds = {}
    needed = [spec for spec in signature.inputs if not spec.optional]
    for spec, shape in zip(needed, shapes, strict=True):
        lengths = (
            (
                ROWS,
                *(
                    max(length, 4) if s < 0 else length
                    for s, length in zip(spec.shape[1:], shape[1:], strict=True)
                ),
            )
            if spec.shape
            else ()
        )
        if spec.datatype == "BYTES":
            feeds[spec.name] = np.full(lengths, "a b", dtype=object)
        elif spec.datatype.startswith("FP"):
            feeds[spec.name] = rng.normal(size=lengths).astype(spec.dtype)
        else:
            feeds[spec.name] = rng.integers(0, 2, lengths).astype(spec.dtype)
    return feeds


def _rate(run: object, rows: int) -> float:
    """Rows a second."""
    assert callable(run)
    run()
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < TIMED_SECONDS:
        run()
        count += rows
    return count / passed


def _page(rows: list[Row], graphs: Survey, count: int, tests: Survey) -> str:
    lines = [
        "# Independence of rows",
        "",
        "`python -m benchmarks.independence FOLDER` wrote this page: which models are proven to keep rows apart",
        "([how](../decisions/0022-rows-are-joined-only-where-it-is-proven.md)), and whether onnxruntime agrees. A"
        " model is tried",
        f"with {ROWS} rows that differ, run together, each alone and in pairs. Measured on {machine()}.",
        "",
        "## Models",
        "",
        f"The bundled ones, and those that PyPI packages ship. Rows/s of onnxruntime alone, with one thread: one"
        f" row a run, and {TOGETHER}.",
        "",
        f"| model | rows are independent | proof | together = alone | rows/s, 1 | rows/s, {TOGETHER} |",
        "| --- | --- | ---: | --- | ---: | ---: |",
        *map(_table_row, rows),
        "",
        "What is not proven runs each request by itself: its clients get the figure of one row, not that of"
        f" {TOGETHER}.",
        "",
        "## Graphs made at random",
        "",
        *_survey(graphs, f"{count:,} graphs of all operators that are followed, and some that are not."),
        f"Operators in graphs that were proven: {len(graphs.operators)}.",
        "",
        "## The onnx project's test models",
        "",
        *_survey(tests, "Each with one input, and with all inputs of one length, given rows."),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table_row(row: Row) -> str:
    verdict = f"not proven: {row.reason}" if row.reason else "proven"
    outcome = row.outcome
    if not outcome.told:
        seen = "not tried"
    elif outcome.differs:
        seen = "no"
    else:
        seen = "bit for bit" if outcome.exact else f"to {outcome.rounding:.0e}"
    rates = f"{row.single:,.0f} | {row.joined:,.0f}" if row.single else " | "
    return f"| {row.name} | {verdict} | {row.proof_ms:.0f} ms | {seen} | {rates} |"


def _survey(survey: Survey, lead: str) -> list[str]:
    exact = survey.rounding[None]
    reasons = "; ".join(f"{reason} ({count})" for reason, count in survey.reasons.most_common(8))
    return [
        lead,
        "",
        "| | graphs |",
        "| --- | ---: |",
        f"| independent in every trial | {survey.independent:,} |",
        f"| of those proven | {survey.proven:,} ({survey.proven / max(survey.independent, 1):.1%}) |",
        f"| some row depends on others | {survey.dependent:,} |",
        f"| of those proven (would be a mistake) | {len(survey.wrong)} |",
        f"| ran on no several rows | {survey.untold:,} |",
        f"| proven, and all bits equal in every trial | {exact:,} |",
        f"| proven, and not all bits equal | {survey.proven - exact:,} |",
        "",
        "The largest difference of a proven one, relative to the largest number of the row's output:"
        f" {survey.largest:.1e}.",
        f"Independent and not proven, mostly: {reasons}.",
        "",
    ]


if __name__ == "__main__":
    main()
