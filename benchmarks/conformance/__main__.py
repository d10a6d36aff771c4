"""`python -m benchmarks.conformance`: the onnx project's test models through `understudy serve`.

Every model is run by onnxruntime itself and by the server, which is asked in binary and in JSON. Those that
have rows are given a variable number of them, and asked by several clients at once. What came of it goes into
docs/benchmarks/conformance.md and conformance.json.
"""

import argparse
import time

import tritonclient.http as triton

from benchmarks.conformance import report
from benchmarks.conformance.alone import Onnxruntime
from benchmarks.conformance.asking import ANSWER_SECONDS, ask, serving
from benchmarks.conformance.cases import Case, all_cases
from benchmarks.conformance.judge import judge
from benchmarks.conformance.neighbours import Company, ask_at_once, influenced, with_rows

CHUNK = 300
"""Models of one server; loading them is what takes the time."""


def main() -> None:
    """Run all cases, or those whose names contain one of the words given, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only cases whose names contain one of these; no page")
    arguments = parser.parse_args()
    began = time.monotonic()
    cases = [
        case
        for case in all_cases()
        if not arguments.words or any(word in case.name for word in arguments.words)
    ]
    chunks = [cases[start : start + CHUNK] for start in range(0, len(cases), CHUNK)]
    rows = [row for chunk in chunks for row in run(chunk)]
    company = [one for chunk in chunks for one in in_company(chunk)]
    seconds = time.monotonic() - began
    for name, way, verdict in (found := report.faults(rows)):
        print(f"{name}, {way}: {verdict.outcome}: {verdict.reason}")
    print(*(changed := influenced(company)), sep="\n")
    print(f"{len(rows)} models, {len(found)} faults; {len(company)} with rows, {len(changed)} influenced")
    if not arguments.words:
        report.write(rows, company, seconds)


def in_company(cases: list[Case]) -> list[Company]:
    """What came of those of some cases that have rows, when several requests are sent at once."""
    onnxruntime = Onnxruntime()
    several = [case for case in map(with_rows, cases) if case is not None]
    results = [onnxruntime.run(case) for case in several]
    onnxruntime.end()
    fixed = [
        pair for pair in zip(several, results, strict=True) if any(pair[1].outputs) and not pair[1].random
    ]
    return ask_at_once([case for case, _ in fixed], [alone for _, alone in fixed]) if fixed else []


def run(cases: list[Case]) -> list[report.Row]:
    """What came of some cases."""
    began = time.monotonic()
    onnxruntime = Onnxruntime()
    results = [onnxruntime.run(case) for case in cases]
    onnxruntime.end()
    alone_seconds = time.monotonic() - began
    rows = []
    with (
        serving(cases) as server,
        triton.InferenceServerClient(server.host, network_timeout=ANSWER_SECONDS) as client,
    ):
        ready_seconds = time.monotonic() - began - alone_seconds
        for case, alone in zip(cases, results, strict=True):
            served = ask(client, server, case)
            binary = judge(case, alone, served.refusal, served.binary, exact=True)
            json = judge(case, alone, served.refusal, served.json, exact=False)
            errors = (answer.error for answer in (*served.binary, *served.json) if answer.error)
            told = served.refusal or next(errors, "")
            rows.append(report.row(case, alone, binary, json, told))
    seconds = time.monotonic() - began
    print(f"{len(cases)}: {alone_seconds:.0f} + {ready_seconds:.0f} s, in all {seconds:.0f} s", flush=True)
    return rows


if __name__ == "__main__":
    main()
