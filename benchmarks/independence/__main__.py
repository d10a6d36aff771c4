"""`python -m benchmarks.independence [FOLDER ...]`: what is proven, and whether it is so.

The bundled models, the ones in the folders given (`*.onnx`), the onnx project's test models and graphs made
at random are proven and tried on onnxruntime; what came of it goes into docs/benchmarks/independence.md.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.independence.survey import Survey, many, onnx_tests
from benchmarks.independence.trial import ROWS, Feeds, Outcome, compare, session
from benchmarks.tools.bench import DOCS, ROOT, machine
from serving.models.checking.verify import verify
from serving.models.files.repository import Repository
from serving.models.independence.proof import prove
from serving.wire.tensors import Signature

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
    page = _page(rows, many(arguments.graphs), arguments.graphs, onnx_tests())
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
        pairs = zip(spec.shape or (), shape, strict=True)
        lengths = tuple(length if fixed >= 0 else max(length, 4) for fixed, length in pairs)
        lengths = (ROWS, *lengths[1:]) if lengths else ()
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


_PAGE = """\
# Independence of rows

`python -m benchmarks.independence FOLDER` wrote this page: which models are proven to keep rows apart
([how](../decisions/0022-rows-are-joined-only-where-it-is-proven.md)), and whether onnxruntime agrees. A model
is tried with {rows} rows that differ: together, each alone and in pairs, and one beside as many others.
Measured on {machine}.

## Models

The bundled ones, and those that PyPI packages ship. "Neighbours" says whether what is in the other rows, of
which there are as many, changes a bit of a row's result; "alone" how far a row of {rows} is from the same row
alone, relative to its largest number, which is onnxruntime's rounding where neighbours change nothing. Rows/s
are onnxruntime's alone, with one thread: one row a run, and {together} rows a run.

| model | rows are independent | proof | neighbours | alone | rows/s, 1 | rows/s, {together} |
| --- | --- | ---: | --- | ---: | ---: | ---: |
{models}

What is not proven runs each request by itself: it gets the figure of one row, not that of {together}. A model
whose first dimension is fixed never had requests joined.

## Graphs made at random

{count:,} graphs of the operators that are followed and of some that are not.

{graphs}

Kinds of operators in graphs that were proven: {kinds}.

## The onnx project's test models

Each with one input, and with all inputs of one length, given rows.

{tests}
"""
_SURVEY = """\
| | graphs |
| --- | ---: |
| independent in every trial | {independent:,} |
| of those proven | {proven:,} ({share:.1%}) |
| some row depends on others | {dependent:,} |
| proven, and a neighbour changed something, if only a bit | {wrong} |
| did not run on several rows | {untold:,} |
| lost with a process that onnxruntime ended | {lost:,} |
| proven, and all bits as alone in every trial | {exact:,} |
| proven, and not all bits as alone | {rounded:,} |

The largest difference of a proven one from what it is alone, relative to the largest number of the row's
output: {largest:.1e}. Independent and not proven, mostly: {reasons}."""


def _page(rows: list[Row], graphs: Survey, count: int, tests: Survey) -> str:
    return _PAGE.format(
        rows=ROWS,
        machine=machine(),
        together=TOGETHER,
        models="\n".join(map(_table_row, rows)),
        count=count,
        graphs=_survey(graphs),
        kinds=len(graphs.operators),
        tests=_survey(tests),
    )


def _survey(survey: Survey) -> str:
    return _SURVEY.format(
        independent=survey.independent,
        proven=survey.proven,
        share=survey.proven / max(survey.independent, 1),
        dependent=survey.dependent,
        wrong=len(survey.wrong),
        untold=survey.untold,
        lost=survey.lost,
        exact=survey.rounding[None],
        rounded=survey.proven - survey.rounding[None],
        largest=survey.largest,
        reasons="; ".join(f"{reason} ({count})" for reason, count in survey.reasons.most_common(8)),
    )


def _table_row(row: Row) -> str:
    verdict = f"not proven: {row.reason}" if row.reason else "proven"
    outcome = row.outcome
    if not outcome.told:
        seen = "not tried | "
    else:
        alone = "bit for bit" if not outcome.rounding else f"{outcome.rounding:.0e}"
        seen = f"{'change it' if outcome.influenced else 'change no bit'} | {alone}"
    rates = f"{row.single:,.0f} | {row.joined:,.0f}" if row.single else " | "
    return f"| {row.name} | {verdict} | {row.proof_ms:.0f} ms | {seen} | {rates} |"


if __name__ == "__main__":
    main()
