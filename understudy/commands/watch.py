"""`understudy rollouts watch`: a rollout as it moves.

Every change is an audit row, so changes are read from the history: none is missed, none is told twice,
and a control that is away for a while (or killed) only makes the watch late.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from control.judging.verdicts import Effect, e_value
from understudy.commands.approvals import waiting_lines
from understudy.commands.figures import Scrape, agreement, scrape, since, targets
from understudy.output import candidate_tables, given_shares, outcome_tables, segment_tables

PROMOTED = 0
ROLLED_BACK = 3
ASKED = 5
TIME_IS_UP = 6
WINDOW_SECONDS = 60.0
MOST_NAMED = 8
"""Nodes in a line."""
GUARD_TITLES = {"latency": "latency: model", "latency:clients": "latency: clients"}
AWAY = "control cannot be reached; the data plane serves on"

Checked = Callable[[httpx.Response], Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found: the rollout, its guards, changes since the look before, and recent figures."""

    view: Mapping[str, Any]
    guards: list[Mapping[str, Any]]
    changes: list[Mapping[str, Any]]
    figures: Scrape


class _Away(Exception):
    """Control is there, but cannot answer now."""


class Watch:
    """Looks at one rollout again and again.

    Args:
        client: of the admin door.
        model: public name.
        checked: turns an answer into its JSON value, and ends the command when it is an error.
    """

    def __init__(self, client: httpx.Client, model: str, checked: Checked) -> None:
        self._client, self._model, self._checked = client, model, checked
        self._revision: int | None = None
        self._scrapes: deque[tuple[float, Scrape]] = deque()

    def looks(self, interval: float) -> Iterator[Seen | None]:
        """One look an interval (seconds), for ever; None while control cannot be reached."""
        while True:
            try:
                seen = self._look()
            except (httpx.TransportError, _Away):
                seen = None
            yield seen
            time.sleep(interval)

    def _look(self) -> Seen:
        url = f"/v1/rollouts/{self._model}"
        view = self._get(url)
        changes: list[Mapping[str, Any]] = []
        if self._revision != view["revision"]:
            rows = self._get(f"{url}/history?limit=100")
            known = self._revision if self._revision is not None else view["revision"] - 1
            changes = [row for row in reversed(rows) if known < row["revision"] <= view["revision"]]
            self._revision = view["revision"]
        judgement = self._get(f"{url}/evidence")["judgement"]
        guards = judgement["guards"] if judgement is not None else []
        return Seen(view, guards, changes, self._recent(time.monotonic()))

    def _get(self, url: str) -> Any:
        answer = self._client.get(url)
        if answer.status_code == 503:
            raise _Away
        return self._checked(answer)

    def _recent(self, now: float) -> Scrape:
        """What was counted in the last `WINDOW_SECONDS`, or since the watch began."""
        answer = self._client.get("/metrics")
        newest = scrape(answer.text, self._model) if answer.is_success else Scrape()
        self._scrapes.append((now, newest))
        while now - self._scrapes[0][0] > WINDOW_SECONDS:
            self._scrapes.popleft()
        return since(self._scrapes[0][1], newest) if len(self._scrapes) > 1 else newest


def run(watch: Watch, interval: float, *, json: bool, until_done: bool, timeout: float | None) -> int:
    """Watch until interrupted, or with `until_done` until it ended or a person is asked.

    Args:
        watch: what to look at.
        interval: seconds between two looks.
        json: objects instead of lines.
        until_done: whether to end with the rollout.
        timeout: seconds after which to end in any case; None for never.

    Returns:
        The exit code: 0, 3 when it was rolled back, 5 when it waits for a person or a test ended undecided, 6
        when time is up.
    """
    console = Console()
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    try:
        if json or not console.is_terminal:
            return _lines(watch, interval, deadline, json=json, until_done=until_done)
        with Live(console=console, auto_refresh=False) as live:
            for seen in watch.looks(interval):
                live.update(Text(AWAY, "red") if seen is None else panel(seen), refresh=True)
                if (code := _end(seen, deadline, until_done=until_done)) is not None:
                    return code
    except KeyboardInterrupt:
        pass
    return PROMOTED


def _lines(watch: Watch, interval: float, deadline: float, *, json: bool, until_done: bool) -> int:
    """One line a change, for logs and programs."""
    away = False
    for seen in watch.looks(interval):
        if seen is None:
            if not away:
                typer.echo(f"warning: {AWAY}", err=True)
            away = True
        else:
            away = False
            for row in seen.changes:
                typer.echo(_json_line(seen, row) if json else _plain_line(row))
        if (code := _end(seen, deadline, until_done=until_done)) is not None:
            if code in {ASKED, TIME_IS_UP} and seen is not None:
                typer.echo(f"{seen.view['model']}: {seen.view['status']['sentence']}", err=True)
            return code
    raise AssertionError  # looks never end


def _end(seen: Seen | None, deadline: float, *, until_done: bool) -> int | None:
    """The exit code where the watch ends: the rollout does, or it waits for a person, or time is up."""
    codes = {"promoted": PROMOTED, "rolled_back": ROLLED_BACK, "paused": ASKED, "ended": ASKED}
    code = codes.get(seen.view["status"]["phase"]) if seen is not None and until_done else None
    return TIME_IS_UP if code is None and time.monotonic() >= deadline else code


def _plain_line(row: Mapping[str, Any]) -> str:
    at = datetime.fromtimestamp(row["at"], UTC).astimezone().strftime("%T")
    return f"{at} revision {row['revision']} by {row['actor']}: {row['reason']}"


def _json_line(seen: Seen, row: Mapping[str, Any]) -> str:
    """One object a change; status and figures are those of the moment it is told."""
    value = {
        **{key: row[key] for key in ("model", "revision", "at", "actor", "kind", "reason", "evidence")},
        "status": seen.view["status"],
        "serving": seen.view["serving"],
        "guards": seen.guards,
        "candidates": seen.view.get("candidates", []),  # an older control has none
        "best": seen.view.get("best"),
        "targets": targets(seen.figures),
        "agreement": {
            target: {output: {"same": same, "of": total} for output, (same, total) in outputs.items()}
            for target, outputs in agreement(seen.figures).items()
        },
    }
    return orjson.dumps(value).decode()


# ------------------------------------------------------------------ for people
def panel(seen: Seen) -> RenderableType:
    """The live view."""
    view = seen.view
    head = Text.assemble(
        (view["model"], "bold"), f" revision {view['revision']}: ", view["status"]["sentence"]
    )
    lines: list[RenderableType] = [
        head,
        *_track(view),
        *(Text(line, "yellow") for line in waiting_lines(view)),
        _shares(view),
        _figures(view, seen.figures),
        *_agreement(seen.figures),
        *evidence_tables(seen.guards),
        *candidate_tables(view),
        *candidate_evidence(view),
        *segment_tables(view),
        *outcome_tables(view),
    ]
    lag = [f"{node['node']} at {node['revision']}" for node in view["nodes"] if not node["in_force"]]
    if lag:
        more = f" and {len(lag) - MOST_NAMED} more" if len(lag) > MOST_NAMED else ""
        lines.append(Text(f"not in force yet: {', '.join(lag[:MOST_NAMED])}{more}", "yellow"))
    if view.get("out_of_sight"):
        lines.append(Text(f"out of sight: {', '.join(map(_unseen, view['out_of_sight']))}", "yellow"))
    return Group(*lines)


def _unseen(row: Mapping[str, Any]) -> str:
    """A node that is cut off, or gone."""
    return f"{row['node']}, heard of {row['seconds']:.0f} s ago at {row['revision']}"


def _track(view: Mapping[str, Any]) -> list[Text]:
    """The steps in a row, the present one marked."""
    steps = (view["document"].get("canary") or {}).get("steps")
    if not steps:
        return []
    track = Text("steps ")
    for number, step in enumerate(steps, 1):
        present = view["status"]["step"]
        style = "dim" if number < present else "bold reverse" if number == present else ""
        track.append(f" {_step(step)} ", style)
        track.append(" > ")
    return [track.append(" promote ", "bold reverse" if view["status"]["step"] > len(steps) else "")]


def _step(step: Mapping[str, Any]) -> str:
    match step:
        case {"setWeight": percent}:
            return f"{percent:g}%"
        case {"pause": {"duration": duration}}:
            return f"pause {duration}"
        case {"prove": {"max": longest}}:
            return f"prove in {longest}"
        case {"approve": {"by": number}}:
            return f"approved by {number}"
        case {"run": _}:
            return "hook"
        case _:
            return next(iter(step))


def _shares(view: Mapping[str, Any]) -> Text:
    serving = view["serving"]
    given = given_shares(view)
    left = 100 - sum(weight for _, weight, _ in given)
    bar = round((100 - left) / 100 * 40)
    text = Text.assemble("share  ", (" " * (40 - bar), "on blue"), (" " * bar, "on green"))
    text.append(f"  {serving['stable']} {left:g}%")
    for target, weight, mirror in given:
        text.append(f", {target} {weight:g}%, mirror {mirror:g}%")
    if serving["canary"] and serving["top_up"] > 0:
        text.append(f", top-up {serving['top_up']:g}/s")
    return text


def _figures(view: Mapping[str, Any], counts: Scrape) -> Table:
    table = Table("target", "role", "requests", "errors", "p50", "p99", "ready in", box=None)
    itself = view["aa"] is not None  # then roles alone tell them apart
    for target in view["targets"]:
        own = targets(counts, target["role"] if itself else "").get(target["target"])
        ready = f"{sum(target['ready'].values())} of {len(target['ready'])}"
        numbers = ["-"] * 4
        if own is not None:
            numbers = [str(own.requests), str(own.errors), _ms(own.p50), _ms(own.p99)]
        table.add_row(target["target"], target["role"], *numbers, ready)
    return table


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f} ms"


def _agreement(counts: Scrape) -> list[Text]:
    return [
        Text(f"agreement of {target} on {output}: {same / total:.2%} of {total}")
        for target, outputs in agreement(counts).items()
        for output, (same, total) in outputs.items()
        if total
    ] + [
        Text(f"{target} on {output}: not ruled, {number} compared", style="dim")
        for (target, output, verdict), number in sorted(counts.compared.items())
        if verdict == "unruled" and number
    ]


def evidence_tables(guards: list[Mapping[str, Any]]) -> list[RenderableType]:
    """Each guard: its e-values, the line that one must cross, how long that should take, and the effect."""
    if not guards:
        return []
    columns = ("guard", "verdict", "harm", "of", "no worse", "of", "to harm", "to proof", "canary")
    table = Table(*columns, box=None)
    for guard in guards:
        title = GUARD_TITLES.get(guard["guard"], guard["guard"])
        name = title if guard["mode"] == "enforce" else f"{title} (observed)"
        values = [_e_value(guard[key]) for key in ("log_harm", "log_line", "log_safe", "log_proof_line")]
        more = [_more(guard[key]) for key in ("more_to_harm", "more_to_proof")]
        table.add_row(name, guard["verdict"], *values, *more, _effect(guard))
    return [table]


def candidate_evidence(view: Mapping[str, Any]) -> list[RenderableType]:
    """The guards of each candidate of an A/B/n test that is judged."""
    judged = [row for row in view.get("candidates", ()) if row["judgement"] is not None]
    return [
        drawn
        for row in judged
        for drawn in (
            Text(f"{row['target']} beside {view['serving']['stable']}", "bold"),
            *evidence_tables(row["judgement"]["guards"]),
        )
    ]


def _effect(guard: Mapping[str, Any]) -> str:
    """How far the canary is from stable; a dash where the guard does not tell."""
    effect = guard.get("effect")  # of a control that is older, nothing
    return "-" if effect is None else Effect(**effect).words()


def _e_value(log_e: float | None) -> str:
    return "-" if log_e is None else e_value(log_e)


def _more(requests: int | None) -> str:
    """Requests still needed at present rates; a dash where it never would come to it."""
    return "-" if requests is None else f"{requests:,} more"
