"""The page of benchmarks.evidence.aa, from its raw figures."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.evidence.aa_cells import (
    ALPHA,
    CONNECTIONS,
    PLACEMENTS,
    WEIGHTS,
    Tally,
    by,
    cells,
    interval,
    tally,
)
from benchmarks.policies.words import table

RAW = Path(__file__).parents[2] / "docs" / "benchmarks" / "aa.json"
DIMENSIONS: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("workers", lambda run: run["workers"]),
    ("served", lambda run: run["placement"]),
    ("connections", lambda run: run["connections"]),
    ("weight", lambda run: run["weight"]),
)
Runs = Sequence[Mapping[str, Any]]


def write(raw: Path) -> None:
    """The page beside the raw figures."""
    found = orjson.loads(raw.read_bytes())
    raw.with_suffix(".md").write_text(page(found), encoding="utf-8")


def page(found: Mapping[str, Any]) -> str:
    """All of it, as Markdown."""
    copies = [run for run in found["runs"] if not run["slower"]]
    slower = [run for run in found["runs"] if run["slower"]]
    first, last = found["sessions"][0], found["sessions"][-1]
    seconds = (_session_seconds(each, found["sessions"], found["runs"]) for each in found["sessions"])
    small, mlp = (first["models"][name] for name in ("small", "mlp"))
    return (Path(__file__).parent / "aa_page.md").read_text(encoding="utf-8").format(
        minutes=f"{sum(seconds) / 60:.0f}",
        lanes=first["lanes"], run_seconds=first["run_seconds"], longer=_longer(found),
        machine="; then ".join(dict.fromkeys(each["machine"] for each in found["sessions"])),
        timeout=last["timeout"], earlier=_earlier(found.get("earlier", ())),
        note=_note(found, first, last), planned=_planned(len(copies), last["rounds"]),
        all=_all(tally(copies)), within=_within(copies),
        dimensions=_dimensions(copies), guards=_guards(copies), line=copies[0]["guards"][0]["log_line"],
        seen=_seen(copies), cells=_cells(copies), slower=_slower(slower, copies),
        clients=_clients(copies), slower_words=_slower_words(slower), reasons=_reasons(copies),
        small_us=small["stable_us"], small_slower_us=small["slower_us"], small_ratio=small["ratio"],
        mlp_us=mlp["stable_us"], mlp_slower_us=mlp["slower_us"], mlp_ratio=mlp["ratio"],
    )  # fmt: skip


def _longer(found: Mapping[str, Any]) -> str:
    """Of slower canaries that were not found at first, and ran again."""
    again = found.get("undecided_before", ())
    if not again:
        return ""
    most = found["sessions"][-1]["run_seconds"]
    words = f"{len(again)} with a slower canary that was undecided then ran again, at most {most:g} s"
    return f"; {words},\nuntil there was a verdict"


def _session_seconds(session: Mapping[str, Any], sessions: Sequence[Mapping[str, Any]], runs: Runs) -> float:
    """Of one that was ended from outside, until its last run."""
    if "seconds" in session:
        return float(session["seconds"])
    began = session["began"]
    until = min((each["began"] for each in sessions if each["began"] > began), default=float("inf"))
    return float(max(run["at"] for run in runs if run["at"] < until) - began)


def _note(found: Mapping[str, Any], first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    loads = first["load_at_start"], last.get("load_at_end", ())
    began, ended = (", ".join(f"{each:.1f}" for each in those) or "not taken" for those in loads)
    words = (
        f"Loads of the machine (1, 5, 15 minutes): {began} before, {ended} at the end, with these clients."
    )
    return "\n".join(filter(None, (found.get("note", "").strip(), words)))


def _planned(runs: int, rounds: int) -> str:
    whole = rounds * len(cells())
    if runs >= whole:
        return ""
    left = f"Of {whole} runs with a copy that were planned {runs} were done when their time was up"
    return f"\n{left}; `--resume` adds the rest."


def chance(events: int, runs: int) -> str:
    """A share of runs, with its interval."""
    low, high = interval(events, runs)
    return f"{events / runs if runs else 0:.1%} ({low:.1%} to {high:.1%})"


def _earlier(parts: Sequence[Mapping[str, Any]]) -> str:
    """Parts of runs that were ended, since what they found was mended or understood."""
    return "\n".join(f"\n{part['what']}\n\n{_part(part['runs'])}" for part in parts) or "Nothing."


def _part(runs: Runs) -> str:
    head = ["served", "connections", "weight", "", "verdict", "requests", "timed out", "pairs", "slower in"]
    body = [
        [run["placement"], run["connections"], f"{run['weight']}%", "slower" if run["slower"] else "copy",
         run["verdict"], f"{asked(run):,}", run["counts"].get("failover", {}).get("timeout", 0),
         f"{paired(run):,}", run["pairs_slower"] or "not told"]
        for run in sorted(runs, key=lambda run: run["slower"])
    ]  # fmt: skip
    return table(head, body)


def _all(found: Tally) -> str:
    return (
        f"**{found.harmful} of {found.runs} copies were taken off: {chance(found.harmful, found.runs)};"
        f" allowed is alpha, {ALPHA:.0%}.** {found.proven} were proven, {found.undecided} were undecided when"
        " their time was up."
    )


def _within(copies: Runs) -> str:
    beyond = [
        f"{name} {value}"
        for name, of in DIMENSIONS
        for value, found in by(copies, of).items()
        if not found.within
    ]
    if not beyond:
        return "At no value of any is alpha excluded: every interval begins at 1% or below."
    return f"Alpha is **exceeded beyond error** at {', '.join(beyond)}."


def _dimensions(copies: Runs) -> str:
    body = [
        [f"{name} {value}{'%' if name == 'weight' else ''}", found.runs, found.harmful,
         chance(found.harmful, found.runs), found.proven, found.undecided]
        for name, of in DIMENSIONS
        for value, found in by(copies, of).items()
    ]  # fmt: skip
    return table(["", "runs", "harmful", "share", "proven", "undecided"], body)


def _guards(copies: Runs) -> str:
    names = {guard["guard"]: guard["mode"] for run in copies for guard in run["guards"]}
    head = [
        "guard",
        "mode",
        "looked",
        "proven by itself",
        "harmful by itself",
        "log e for harm: median",
        "95%",
        "greatest",
    ]
    return table(head, [[name, mode, *_guard(_of(copies, name))] for name, mode in names.items()])


def _of(runs: Runs, name: str) -> list[Mapping[str, Any]]:
    return [guard for run in runs for guard in run["guards"] if guard["guard"] == name]


def _guard(rows: Sequence[Mapping[str, Any]]) -> list[object]:
    most = sorted(row["most_log_harm"] for row in rows if row["most_log_harm"] is not None)
    proven = sum((row["most_log_safe"] or 0.0) >= (row["log_proof_line"] or 0.0) > 0.0 for row in rows)
    harmful = sum((row["most_log_harm"] or 0.0) >= (row["log_line"] or 0.0) > 0.0 for row in rows)
    figures = [statistics.median(most), most[round(0.95 * (len(most) - 1))], most[-1]] if most else []
    looked = sum(row["log_harm"] is not None for row in rows)
    return [f"{looked} of {len(rows)}", proven, harmful, *(f"{each:.2f}" for each in figures)]


def _clients(copies: Runs) -> str:
    rows = _of(copies, "latency:clients")
    line = max((row["log_line"] for row in rows), default=0.0)
    found = [each for run in copies for each in [(run, _of([run], "latency:clients"))] if each[1]]
    harmful = [run for run, [row] in found if (row["most_log_harm"] or 0.0) >= line]
    where = ", ".join(f"{name} {tally_of}" for name, tally_of in _places(harmful).items())
    looked = sum(row["log_harm"] is not None for _, [row] in found)
    words = f"`latency:clients` would have taken off {len(harmful)} of the {looked} copies at which it looked"
    return f"{words} ({where})." if harmful else f"{words}."


def _places(runs: Runs) -> dict[str, int]:
    return {each.name: sum(run["placement"] == each.name for run in runs) for each in PLACEMENTS}


def _seen(copies: Runs) -> str:
    head = ["", "canary requests: least / median / most", "comparisons", "pairs timed", "seconds"]
    body = [
        [
            name,
            *(
                _spread(of(run) for run in copies if run["placement"] == name)
                for of in (asked, compared, paired, _seconds)
            ),
        ]
        for name in (placement.name for placement in PLACEMENTS)
    ]
    return table(head, body)


def _spread(values: Iterable[float]) -> str:
    ordered = sorted(values)
    if not ordered:
        return "-"
    return " / ".join(f"{each:,.0f}" for each in (ordered[0], statistics.median(ordered), ordered[-1]))


def asked(run: Mapping[str, Any]) -> int:
    """Answers of the canary, and those of stable in its place."""
    counts = run["counts"]
    served = sum(n for key, n in counts.get("requests", {}).items() if key.startswith("canary "))
    return served + sum(counts.get("failover", {}).values())


def compared(run: Mapping[str, Any]) -> int:
    """Comparisons of the output that is guarded."""
    return sum(n for key, n in run["counts"].get("comparison", {}).items() if key != "unruled")


def paired(run: Mapping[str, Any]) -> int:
    """Pairs of compute times, those included that warm and give the edges."""
    return int(run["counts"].get("pairs", {}).get("timed", 0))


def _seconds(run: Mapping[str, Any]) -> float:
    return float(run["seconds"])


def _cells(copies: Runs) -> str:
    body = []
    for placement in PLACEMENTS:
        for connections in CONNECTIONS:
            for weight in WEIGHTS:
                cell = placement.name, connections, weight
                runs = [
                    run for run in copies if (run["placement"], run["connections"], run["weight"]) == cell
                ]
                if runs:
                    body.append([placement.name, connections, f"{weight}%", *_cell(runs)])
    head = [
        "served",
        "connections",
        "weight",
        "harmful / proven / undecided",
        "requests",
        "comparisons",
        "pairs",
        "log e",
    ]
    return table(head, body)


def _cell(runs: Runs) -> list[object]:
    found = tally(runs)
    most = [
        guard["most_log_harm"]
        for run in runs
        for guard in run["guards"]
        if guard["most_log_harm"] is not None and guard["mode"] == "enforce"
    ]
    medians = (statistics.median(of(run) for run in runs) for of in (asked, compared, paired))
    words = f"{found.harmful} / {found.proven} / {found.undecided}"
    return [words, *(f"{each:,.0f}" for each in medians), f"{max(most, default=0.0):.2f}"]


def clients_ratio(run: Mapping[str, Any]) -> float | None:
    """Clients' median at the canary over that at stable; None without either."""
    by_version = {key.rpartition("/")[2]: each["p50_us"] for key, each in run["clients"].items()}
    stable = by_version.pop("1", 0.0)
    return next(iter(by_version.values())) / stable if stable and by_version else None


def _slower(slower: Runs, copies: Runs) -> str:
    head = [
        "served",
        "connections",
        "weight",
        "workers",
        "verdict",
        "seconds",
        "slower in",
        "clients",
        "clients of a copy",
    ]
    return table(
        head, [_slow(run, copies) for run in sorted(slower, key=lambda run: run["key"][1:] + run["key"][:1])]
    )


def _slow(run: Mapping[str, Any], copies: Runs) -> list[object]:
    same = [copy for copy in copies if copy["key"][:4] == run["key"][:4]]
    ratios = [ratio for copy in same if (ratio := clients_ratio(copy)) is not None]
    return [
        *(run["placement"], run["connections"], f"{run['weight']}%", run["workers"], run["verdict"]),
        *(f"{run['seconds']:.0f}", run["pairs_slower"] or "not told", _times(clients_ratio(run))),
        _times(statistics.median(ratios) if ratios else None),
    ]


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _slower_words(slower: Runs) -> str:
    found = tally(slower)
    missed = [
        f"{run['placement']}, {run['connections']} connections, {run['weight']}%, {run['workers']} workers"
        f" ({run['verdict']}; {paired(run):,} pairs)"
        for run in slower
        if run["verdict"] != "harmful"
    ]
    words = f"{found.harmful} of {found.runs} were found."
    return words if not missed else f"{words} Not found: {'; '.join(missed)}."


def _reasons(copies: Runs) -> str:
    false = [f"- {run['key']}: {run['reason']}" for run in copies if run["verdict"] == "harmful"]
    return "Of the false rollbacks:\n\n" + "\n".join(false) if false else "No copy was taken off."
