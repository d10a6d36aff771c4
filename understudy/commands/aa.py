"""`understudy rollouts aa`: start an A/A test, follow it, say what it showed.

It ends by itself in control, whatever becomes of this command; Ctrl-C ends it at once. A control that is away
for a while only makes the command late.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from control.judging.verdicts import e_value
from understudy.commands.watch import AWAY
from understudy.output import emit_json, table

FINE = 0
ENDED_EARLY = 1
FALSE_ALARM = 3

Checked = Callable[[httpx.Response], Any]
Seen = Mapping[str, Any]


def run(
    client: httpx.Client,
    model: str,
    checked: Checked,
    wanted: Mapping[str, Any],
    interval: float,
    *,
    json: bool,
) -> int:
    """Run one to its end.

    Args:
        client: of the admin door.
        model: public name.
        checked: turns an answer into its JSON value, and ends the command when it is an error.
        wanted: what is asked for, as `POST /v1/rollouts/{model}/aa` takes it.
        interval: seconds between two looks.
        json: the report as an object instead of words; progress goes to standard error.

    Returns:
        The exit code: 0, 1 when somebody else ended it or no request came, 3 after a false alarm.
    """
    started = checked(client.post(f"/v1/rollouts/{model}/aa", json=dict(wanted)))
    revision = int(started["revision"])
    typer.echo(f"{started['status']['sentence']}; Ctrl-C ends it", err=True)
    last = _follow(client, model, checked, revision, interval)
    _show(last, json=json)
    return _code(last)


def _follow(client: httpx.Client, model: str, checked: Checked, revision: int, interval: float) -> Seen:
    """The last that was seen of it; an interrupted one is ended."""
    console = Console(stderr=True)
    last: Seen = {}
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            for seen in _looks(client, model, checked, revision, interval):
                if seen is None:
                    live.update(Text(AWAY, "red"), refresh=console.is_terminal)
                    continue
                if seen["revision"] != revision:  # it was ended without a report, by an edit or a deletion
                    return {**last, "running": False, "ended": "the rollout was changed meanwhile"}
                last = seen
                if not seen["running"]:
                    break
                live.update(Text(_progress(seen)), refresh=console.is_terminal)
    except KeyboardInterrupt:
        return _end(client, model, checked, revision)
    return last


def _looks(
    client: httpx.Client, model: str, checked: Checked, revision: int, interval: float
) -> Iterator[Seen | None]:
    """One look an interval (seconds), for ever; None while control cannot be reached."""
    while True:
        try:
            answer = client.get(f"/v1/rollouts/{model}/aa")
            if answer.status_code == 404:
                yield {"revision": -revision}
            else:
                yield None if answer.status_code == 503 else checked(answer)
        except httpx.TransportError:
            yield None
        time.sleep(interval)


def _end(client: httpx.Client, model: str, checked: Checked, revision: int) -> Seen:
    """End it at once, unless it has ended by itself."""
    answer = client.post(
        f"/v1/rollouts/{model}/abort",
        json={"reason": "interrupted"},
        headers={"if-match": f'"{revision}"'},
    )
    if answer.status_code not in {404, 409, 412}:
        checked(answer)
        typer.echo(f"{model}: interrupted, the A/A was ended", err=True)
    found: Seen = checked(client.get(f"/v1/rollouts/{model}/aa"))
    return {**found, "interrupted": True}


def _code(seen: Seen) -> int:
    report = seen.get("report")
    if report is None or not report["canary"]["requests"]:
        return ENDED_EARLY
    if report["alarms"]:
        return FALSE_ALARM
    return FINE if seen.get("ended_by") == "autopilot" or seen.get("interrupted") else ENDED_EARLY


def _progress(seen: Seen) -> str:
    """Where it is, in a line."""
    report = seen["report"]
    line = f"{seen['waited_seconds']:.0f} of {seen['seconds']:g} s"
    if report is None:
        return f"{line}, the copy starts"
    counted = report["stable"]["requests"] + report["canary"]["requests"]
    of = f" of {seen['requests']:,}" if seen["requests"] is not None else ""
    compared = sum(output["differences"]["trials"] for output in report["outputs"])
    return (
        f"{line}, {counted:,}{of} requests ({report['canary']['requests']:,} by the copy), {compared:,}"
        f" comparisons, {report['latency']['pairs']:,} pairs, {report['alarms']} false alarms"
    )


def _show(seen: Seen, *, json: bool) -> None:
    if json:
        emit_json({key: value for key, value in seen.items() if key != "interrupted"})
        return
    report = seen.get("report")
    if report is None:
        typer.echo(f"error: it ended before anything was seen: {seen['ended']}", err=True)
        return
    typer.echo(f"{seen['model']}: {seen['ended']}")
    rows = [
        [
            guard["guard"],
            "false alarm" if guard["alarm"] else guard["verdict"],
            _e_value(guard["log_greatest"]),
            _e_value(guard["log_line"]),
        ]
        for guard in report["guards"]
    ]
    table("", ["guard", "verdict", "greatest e-value for harm", "of"], rows)
    for sentence in report["sentences"]:
        typer.echo(f"- {sentence}")
    for guard in report["guards"]:
        if guard["alarm"]:
            typer.echo(f"! {guard['guard']}: {guard['alarm']}")
    if report["draws"]:
        typer.echo(f"! {report['draws']}")


def _e_value(log_e: float | None) -> str:
    return "-" if log_e is None else e_value(log_e)
