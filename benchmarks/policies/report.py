"""docs/benchmarks/policies.md from page.md and the CSVs of the parts: every figure in a table is computed."""

import sys
from importlib.util import find_spec
from pathlib import Path
from string import Template

from benchmarks.policies.aa import tolerated_of
from benchmarks.policies.words import Row, count, most, number, percent, rate, read, seconds, spread, table

PARTS = ("aa", "power", "latency", "agreement", "speed", "inputs")
POLICIES = ("understudy", "flagger", "argo", "five in a row", "peeking z-test")
_WAYS = {"harm": "harmful", "proof": "proven"}
SPECIFIED = ("3 / 4", "16 / 40", "102 / 293", "3,446 / 7,631", "250 / 612")


def write(docs: Path, raw: Path) -> None:
    """Write the page, and the plots where matplotlib is installed; every part must have run before."""
    missing = [part for part in PARTS if not (raw / f"{part}.csv").exists()]
    if missing:
        print(f"no page yet: {', '.join(missing)} did not run", file=sys.stderr)
        return
    rows = {part: read(raw / f"{part}.csv") for part in PARTS}
    alone = [row for row in rows["power"] if row["policy"] == "label test alone"]
    race = [row for row in rows["power"] if row["policy"] != "label test alone"]
    page = Template((Path(__file__).parent / "page.md").read_text(encoding="utf-8"))
    filled = page.substitute(
        _aa(rows["aa"]),
        alone=_alone(alone),
        failed=_failed(race),
        until=_by_traffic(race, "0.05", "seconds", "rolled_back", ("0.1",)),
        false=_false(race),
        promote=_by_traffic(race, "0.005", "promote", "promoted", ("0.01", "0.1", "0.5")),
        between=_between([row for row in race if row["stable_errors"] != "0.0"]),
        clean=_between([row for row in race if row["stable_errors"] == "0.0"]),
        slow=_slow(race),
        latency=_latency(rows["latency"]),
        agreement=_agreement(rows["agreement"]),
        speed=_speed(rows["speed"]),
        inputs=_inputs(rows["inputs"]),
        **_no_better(race),
    )
    (docs / "policies.md").write_text(filled, encoding="utf-8")
    if find_spec("matplotlib") is None:
        print("plots left as they are: matplotlib is not installed", file=sys.stderr)
        return
    from benchmarks.policies.plots import draw  # noqa: PLC0415 - matplotlib is optional

    draw(rows, raw)


def _speed(rows: list[Row]) -> str:
    ways = ("harm", "proof")
    body = [
        [
            row["case"],
            row["min"],
            count(row["runs"]),
            *(percent(row[f"{way}_crossed"]) for way in ways),
            percent(row["tolerated"]),
            *(count(row[f"{way}_median"]) for way in ways),
        ]
        for row in rows
    ]
    head = ["canary", "min", "runs", "harmful", "proven", "allowed", "pairs until harmful", "until proven"]
    return table(head, body)


def _inputs(rows: list[Row]) -> str:
    body = []
    for row in rows:
        ways = [way for way in ("harm", "proof") if row[f"{way}_crossed"]]
        crossed = ", ".join(f"{percent(row[f'{way}_crossed'])} {_WAYS[way]}" for way in ways)
        soon = ", ".join(
            f"{count(row[f'{way}_median'])} {row['unit']}" for way in ways if row[f"{way}_median"]
        )
        allowed = percent(row["tolerated"]) if row["tolerated"] else ""
        body.append([row["case"], row["test"], row["runs"], crossed, allowed, soon])
    return table(["case", "test", "runs", "ever", "allowed", "median"], body)


def _aa(rows: list[Row]) -> dict[str, object]:
    labels = [row for row in rows if row["test"] == "label test"]
    body = []
    for scenario in dict.fromkeys(row["scenario"] for row in labels):
        of = [row for row in labels if row["scenario"] == scenario]
        worst = [most(of, key) for key in ("harm_crossed", "safe_crossed", "peeking_z_crossed")]
        fails = sum(number(row["peeking_z_crossed"]) > tolerated_of(int(row["peeking_runs"])) for row in of)
        body.append([scenario, len(of), *worst, fails])
    others = [
        [
            row["test"],
            row["scenario"],
            *(percent(row[key]) for key in ("weight", "rate")),
            *(percent(row[key]) for key in ("harm_crossed", "safe_crossed")),
        ]
        for row in rows
        if row["test"] != "label test"
    ]
    return {
        "aa_cells": len(rows),
        "aa_runs": count(rows[0]["runs"]),
        "aa_tolerated": percent(rows[0]["tolerated"]),
        "aa_broken": sum(row["holds"] != "True" for row in rows),
        "aa_table": table(
            [
                "scenario",
                "cells",
                "called harmful, worst cell",
                "called proven, worst cell",
                "z-test fires, worst cell",
                "cells the z-test fails",
            ],
            body,
        ),
        "aa_others": table(["test", "case", "weight", "rate", "ever harmful", "ever proven"], others),
    }


def _alone(rows: list[Row]) -> str:
    return table(
        ["stable", "canary", "median / 95%", "specified"],
        [
            [percent(row["stable_errors"]), percent(row["canary_errors"]), spread(row, "canary"), specified]
            for row, specified in zip(rows, SPECIFIED, strict=True)
        ],
    )


def _failed(rows: list[Row]) -> str:
    here = [row for row in rows if row["rps"] == "100.0" and row["weight"] == "0.1" and row["truth"] == "bad"]
    body = []
    for stable, canary in dict.fromkeys((row["stable_errors"], row["canary_errors"]) for row in here):
        of = {
            row["policy"]: row
            for row in here
            if (row["stable_errors"], row["canary_errors"]) == (stable, canary)
        }
        failed = [spread(of[policy], "failed", of="rolled_back") for policy in POLICIES]
        body.append([percent(stable), percent(canary), spread(of["understudy"], "canary"), *failed])
    return table(["stable", "canary", "understudy: canary requests", *POLICIES], body)


def _by_traffic(rows: list[Row], canary: str, what: str, of: str, weights: tuple[str, ...]) -> str:
    here = [row for row in rows if row["stable_errors"] == "0.005" and row["canary_errors"] == canary]
    body = []
    for rps in _values(here, "rps"):
        for weight in weights:
            cell = {row["policy"]: row for row in here if row["rps"] == rps and row["weight"] == weight}
            body.append([rate(rps), percent(weight), *(spread(cell[p], what, seconds, of) for p in POLICIES)])
    return table(["traffic", "w", *POLICIES], body)


def _false(rows: list[Row]) -> str:
    body = []
    for policy in POLICIES:
        good = [row for row in rows if row["policy"] == policy and row["truth"] == "good"]
        cells = []
        for rps in _values(rows, "rps"):
            here = [row for row in good if row["rps"] == rps]
            mild = [row for row in here if row["stable_errors"] != "0.05"]
            cells.append(f"{most(here, 'rolled_back')} ({most(mild, 'rolled_back')})")
        body.append([policy, *cells])
    return table(["policy", *map(rate, _values(rows, "rps"))], body)


def _no_better(rows: list[Row]) -> dict[str, object]:
    """The cells that speak against us, counted and not chosen by hand."""
    cells: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("rps", "weight", "stable_errors", "canary_errors"))
        cells.setdefault(key, {})[row["policy"]] = row
    bad = {key: of for key, of in cells.items() if of["understudy"]["truth"] == "bad"}
    good = [of for of in cells.values() if of["understudy"]["truth"] == "good"]
    lost, sooner = [], []
    for policy in POLICIES[1:]:
        won = [key for key, of in bad.items() if _better(of[policy], of["understudy"])]
        lost.append([policy, f"{len(won)} of {len(bad)}", *_ranges(won)])
        sooner.append(f"{policy} {sum(_sooner(of[policy], of['understudy']) for of in good)}")
    head = ["policy", "cells", "traffic", "w", "stable errors", "canary errors"]
    return {"lost": table(head, lost), "good_cells": len(good), "sooner": ", ".join(sooner)}


def _better(theirs: Row, ours: Row) -> bool:
    if number(theirs["rolled_back"]) < 0.95:
        return False
    return number(ours["rolled_back"]) < 0.95 or number(theirs["failed_median"]) < number(
        ours["failed_median"]
    )


def _sooner(theirs: Row, ours: Row) -> bool:
    if number(theirs["promoted"]) < 0.95:
        return False
    return number(ours["promoted"]) < 0.5 or number(theirs["promote_median"]) < number(ours["promote_median"])


def _ranges(cells: list[tuple[str, ...]]) -> list[str]:
    words = (rate, percent, percent, percent)
    return [
        ", ".join(word(value) for value in sorted({cell[index] for cell in cells}, key=float))
        for index, word in enumerate(words)
    ]


def _between(rows: list[Row]) -> str:
    here = [
        row
        for row in rows
        if row["policy"] == "understudy"
        and row["truth"] != "good"
        and row["rps"] == "100.0"
        and row["weight"] == "0.1"
        and number(row["canary_errors"]) <= max(2 * number(row["stable_errors"]), 0.01)
    ]
    return table(
        ["stable", "canary", "rolled back", "promoted", "undecided", "time to rollback", "time to promotion"],
        [
            [
                *(
                    percent(row[key])
                    for key in ("stable_errors", "canary_errors", "rolled_back", "promoted", "undecided")
                ),
                spread(row, "seconds", seconds),
                spread(row, "promote", seconds),
            ]
            for row in here
        ],
    )


def _slow(rows: list[Row]) -> str:
    here = [
        row
        for row in rows
        if row["policy"] == "understudy"
        and number(row["rps"]) <= 1
        and row["truth"] != "between"
        and number(row["undecided"]) >= 0.05
    ]
    keys = ("weight", "stable_errors", "canary_errors", "rolled_back", "promoted", "undecided")
    return table(
        ["traffic", "w", "stable", "canary", "rolled back", "promoted", "undecided"],
        [[rate(row["rps"]), *(percent(row[key]) for key in keys)] for row in here],
    )


def _latency(rows: list[Row]) -> str:
    here = [row for row in rows if row["weight"] == "0.1"]
    policies = list(dict.fromkeys(row["policy"] for row in here))
    body = []
    for sigma, canary in dict.fromkeys((row["spread"], row["canary"]) for row in here):
        of = {row["policy"]: row for row in here if (row["spread"], row["canary"]) == (sigma, canary)}
        ends = [f"{percent(of[p]['rolled_back'])} / {percent(of[p]['promoted'])}" for p in policies]
        ours = of["understudy"]
        body.append([sigma, canary, spread(ours, "canary"), seconds(ours["promote_median"]), *ends])
    return table(["spread", "canary", "requests until rollback", "promoted after", *policies], body)


def _agreement(rows: list[Row]) -> str:
    return table(
        ["policy", "disagreement", "harmful", "comparisons", "proven", "comparisons", "undecided"],
        [
            [
                row["policy"],
                percent(row["disagreement"]),
                percent(row["harmful"]),
                spread(row, "harmful"),
                percent(row["proven"]),
                spread(row, "proven"),
                percent(row["undecided"]),
            ]
            for row in rows
        ],
    )


def _values(rows: list[Row], key: str) -> list[str]:
    return sorted({row[key] for row in rows}, key=float)
