"""The segments that look worst, for people: few, and whatever strangers call them is text."""

import io
from math import log

from rich.console import Console

from understudy.output import WORST_SEGMENTS, segment_tables


def row(value: str, canary: int, *, named: bool = False) -> dict[str, object]:
    return {"value": value, "canary": canary, "stable": 3, "log_harm": log(canary), "named": named}


def printed(view) -> list[str]:
    text = io.StringIO()
    for drawn in segment_tables(view):
        Console(file=text, width=120).print(drawn)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_the_worst_are_listed_and_the_others_counted():
    rows = [row("[red]de[/red]", 1_400, named=True), *(row(f"c{number}", 9) for number in range(7))]
    head, worst, *others, more = printed({"segments": {"header": "x-country", "rows": rows}})
    assert head.split() == ["x-country", "canary", "errors", "stable", "errors", "harm", "harmed"]
    assert worst.split() == ["[red]de[/red]", "1,400", "3", "1,400", "yes"]
    assert len(others) == WORST_SEGMENTS - 1
    assert all(line.endswith("not shown") for line in others)
    assert more.strip() == "and 3 more"


def test_where_no_segment_has_errors_nothing_is_said():
    assert printed({"segments": {"header": "x-country", "rows": []}}) == []
    assert printed({"segments": None}) == []
    assert printed({}) == [], "a control of an older release"
