"""The page of the conformance run, and its raw rows."""

import json
import platform
import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from benchmarks.conformance import judge
from benchmarks.conformance.cases import KINDS, Case
from benchmarks.conformance.judge import Alone, Verdict, close
from benchmarks.conformance.neighbours import CONNECTIONS, ROUNDING, Company, influenced
from benchmarks.tools.bench import DOCS

HOW = """
`python -m benchmarks.conformance` wrote this page and `conformance.json` (what came of every model, by
name). The onnx package ships models of single operators ("node"), small graphs, and models that PyTorch
exported, each with inputs and expected outputs. Each of them is run by onnxruntime in a process of its own,
and is a model of a real `understudy serve` without any configuration, which tritonclient.http asks twice:
everything in binary, and everything in JSON.
"""

RIGHT = """
An answer is right when every output equals onnxruntime's in datatype, shape and every bit; in JSON any NaN
counts as any other. "By onnxruntime" means that onnxruntime by itself does the same with the model or its
input.
"""

COMPANY = """
Of {models:,} models all inputs and outputs have rows: a first dimension of one length. They are served
again with a variable number of rows, and {connections} connections send each row by itself, the first two
and all of them, several times, without waiting for each other: {requests:,} requests, which the server ran
in {runs:,} runs, joining rows of {joined:,} of the models. {exact:,} answers equal bit for bit what
onnxruntime gives for the same rows alone.
"""

UNLIKE = """
Of these models onnxruntime's own outputs differ from those that the test expects, by more than its
tolerance. Served answers are compared with onnxruntime's, so they differ likewise:
"""

OUTCOMES = (
    judge.RIGHT,
    judge.WRONG,
    judge.REFUSED_DATA,
    judge.REFUSED_MODEL,
    judge.EXCESS,
    judge.ALONE_REFUSES_MODEL,
    judge.ALONE_REFUSES_DATA,
    judge.LACKS_TYPE,
    judge.NOT_IN_JSON,
)

_REASONS = (
    (r"max supported IR version", "its IR version is newer than this onnxruntime"),
    (r"Opset \d+ is under development", "its operator set is newer than this onnxruntime"),
    (r"not a registered function|No Op registered", "the operator is unknown to onnxruntime"),
    (
        r"implementation for (\w+)|kernel for (\w+)",
        "no implementation for these datatypes or this version of {}",
    ),
    (r"Failed to construct locale with name:([\w.-]+)", "the machine has no locale {}"),
    (r"Batchwise recurrent", "recurrent operators with the batch first are not implemented"),
    (r"This is an invalid model|Type Error", "onnxruntime finds the graph invalid"),
    (r"crashed its process|did not end", "onnxruntime crashes or hangs"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One case.

    Attributes:
        binary, json: what came of it in each way of sending.
        told: why the server did not load the model or answer, in its words.
        foreign: types that the protocol lacks.
        unlike: onnxruntime's own outputs are not those that the test expects.
        random: they are drawn anew for each session, so only datatype and shape are compared.
    """

    name: str
    kind: str
    binary: Verdict
    json: Verdict
    told: str
    foreign: tuple[str, ...]
    unlike: bool
    random: bool

    @property
    def verdicts(self) -> tuple[tuple[str, Verdict], ...]:
        """By way of sending."""
        return ("binary", self.binary), ("JSON", self.json)


def row(case: Case, alone: Alone, binary: Verdict, in_json: Verdict, told: str) -> Row:
    """The row of a case."""
    ran = [pair for pair in zip(alone.outputs, case.expected, strict=False) if pair[0]]
    unlike = not all(
        close(got, wanted, case.rtol, case.atol)
        for outputs, expected in ran
        for got, wanted in zip(outputs.values(), expected, strict=True)
    )
    told = told.removeprefix(f"model {case.name!r} version 1: ")
    return Row(case.name, case.kind, binary, in_json, told, case.foreign, unlike, alone.random)


def faults(rows: Iterable[Row]) -> list[tuple[str, str, Verdict]]:
    """Name, way of sending and verdict of all that is our fault."""
    return [
        (row.name, way, verdict)
        for row in rows
        for way, verdict in row.verdicts
        if verdict.outcome in judge.OURS
    ]


def write(rows: Sequence[Row], company: Sequence[Company], seconds: float) -> None:
    """Write docs/benchmarks/conformance.md and the raw rows."""
    versions = {name: version(name) for name in ("onnx", "onnxruntime", "tritonclient")}
    models = ",\n".join(f"  {json.dumps(row.name)}: {json.dumps(_raw(row))}" for row in rows)
    together = ",\n".join(f"  {json.dumps(asdict(one))}" for one in company)
    raw = (
        f'"versions": {json.dumps(versions)},\n "models": {{\n{models}\n }},\n "together": [\n{together}\n ]'
    )
    (DOCS / "conformance.json").write_text(f"{{\n {raw}\n}}\n")
    packages = ", ".join(f"{name} {number}" for name, number in versions.items())
    taken = (
        f"{len(rows):,} models, taken on {datetime.now(UTC):%Y-%m-%d} in {seconds / 60:.0f} minutes:"
        f" {packages}, Python {platform.python_version()}."
    )
    lines = [
        *("# The onnx project's test models", "", *_wrapped(HOW), "", *_wrapped(RIGHT), "", *_wrapped(taken)),
        *("", *_outcomes(rows), "", "## Ours", "", *_ours(rows)),
        *("", "## Neighbours", "", *_company(company)),
        *("", "## Refused by onnxruntime", "", *_alone(rows)),
        *("", "## Types that the protocol lacks", "", *_types(rows)),
        *("", "## Where onnxruntime differs from the expected output", "", *_unlike(rows)),
    ]
    (DOCS / "conformance.md").write_text("\n".join(lines) + "\n")


def _raw(row: Row) -> dict[str, object]:
    """What is worth keeping: the outcomes, and what is not empty."""
    raw = asdict(row) | {"binary": row.binary.outcome, "json": row.json.outcome}
    raw["reason"] = _reason(row.json.reason or row.binary.reason)
    return {key: value for key, value in raw.items() if value and key != "name"}


def _outcomes(rows: Sequence[Row]) -> list[str]:
    lines = [f"| | {' | '.join(KINDS)} | all, binary | all, JSON |", "|---" * (len(KINDS) + 3) + "|"]
    for outcome in OUTCOMES:
        by_kind = Counter(row.kind for row in rows if row.binary.outcome == outcome)
        in_json = sum(row.json.outcome == outcome for row in rows)
        counts = [*(by_kind[kind] for kind in KINDS), by_kind.total(), in_json]
        lines.append(f"| {outcome} | {' | '.join(f'{count:,}' for count in counts)} |")
    return lines


def _ours(rows: Sequence[Row]) -> list[str]:
    found = faults(rows)
    if not found:
        return _wrapped("None: no answer is wrong, and only for its types is refused what onnxruntime takes.")
    ways: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, way, verdict in found:
        ways[name, f"{verdict.outcome} | {_reason(verdict.reason)}"].append(way)
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (name, what), sent in ways.items():
        names[what, ", ".join(sent)].append(name)
    lines = ["| | reason | sent in | models | |", "|---|---|---|---|---|"]
    for (what, sent), several in sorted(names.items(), key=lambda item: -len(item[1])):
        lines.append(f"| {what} | {sent} | {len(several)} | {', '.join(map(_code, several))} |")
    return lines


def _company(company: Sequence[Company]) -> list[str]:
    counts = {
        "models": len(company),
        "connections": CONNECTIONS,
        "requests": sum(one.requests for one in company),
        "runs": sum(one.runs for one in company),
        "joined": sum(one.runs < one.requests for one in company),
        "exact": sum(one.exact for one in company),
    }
    lines = _wrapped(COMPANY.format(**counts))
    rounded = [one for one in company if 0 < one.difference <= ROUNDING]
    if rounded:
        most = max(one.difference for one in rounded)
        names = ", ".join(_code(one.name) for one in rounded)
        text = (
            f"The others are rounded otherwise, by at most {most:.1f} units in the last place of the largest"
        )
        text += " value of the output, as kernels work through another number of values in other steps: "
        lines += ["", *_wrapped(f"{text}{names}.")]
    for one in influenced(company):
        lines += ["", f"Changed by a neighbour: {_code(one.name)} ({one.error or one.difference})."]
    return lines


def _alone(rows: Sequence[Row]) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.binary.outcome in {judge.ALONE_REFUSES_MODEL, judge.ALONE_REFUSES_DATA}:
            names[_reason(row.binary.reason)].append(row.name)
    told = {row.name: row.told for row in rows}
    lines = ["| reason | models | | what a user is told of the first |", "|---|---|---|---|"]
    for reason, found in sorted(names.items(), key=lambda item: (-len(item[1]), item[0])):
        shown = ", ".join(map(_code, found[:3])) + (", ..." if len(found) > 3 else "")
        lines.append(f"| {reason} | {len(found)} | {shown} | {told[found[0]]} |")
    return lines


def _reason(text: str) -> str:
    """What onnxruntime says, in words that do not name lines of its sources."""
    for pattern, sentence in _REASONS:
        if found := re.search(pattern, text):
            return sentence.format(next(filter(None, found.groups()), ""))
    text = text.rpartition("Status Message: ")[2].rpartition(" was false. ")[2]
    text = re.sub(r"^.*\[ONNXRuntimeError\] : \d+ : \w+ : |^model '\S+' version 1: |\S*/\S*", "", text)
    return re.sub(r"line \d+ column.*", "", text).replace("|", "/").strip()[:160]


def _types(rows: Sequence[Row]) -> list[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.binary.outcome == judge.LACKS_TYPE:
            names[", ".join(row.foreign)].append(row.name)
    lines = ["| type of an input or output | models | |", "|---|---|---|"]
    for types, found in sorted(names.items()):
        lines.append(f"| {types} | {len(found)} | {', '.join(map(_code, found))} |")
    return lines


def _unlike(rows: Sequence[Row]) -> list[str]:
    found = [_code(row.name) for row in rows if row.unlike]
    lines = _wrapped(UNLIKE + ", ".join(found) + ".") if found else ["Nowhere."]
    if random := [_code(row.name) for row in rows if row.random]:
        text = "Outputs that are drawn at random, of which datatype and shape are compared: "
        lines += ["", *_wrapped(text + ", ".join(random) + ".")]
    return lines


def _code(name: str) -> str:
    return f"`{name.removeprefix('test_')}`"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)
