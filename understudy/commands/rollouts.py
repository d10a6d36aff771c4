"""`understudy rollouts`: look at rollouts and change them, through the admin door.

Exit codes: 0 done, 1 refused or failed, 3 the rollout was rolled back (`watch`) or a guard raised a false
alarm (`aa`), 4 stale revision.
"""

import difflib
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import orjson
import typer
from rich.console import Console
from ruamel.yaml import YAML

from router.rollout import schema as rollout_schema
from router.rollout.parser import parse_each, parse_one, to_document
from serving.document import DocumentError, all_of
from serving.errors import ServingError
from serving.host.whole_files import write_whole
from understudy.admin import HERE, Admin, Ca, Token, checked, connected, trust
from understudy.arguments import fraction
from understudy.commands.approvals import answer, waiting_lines
from understudy.output import (
    Json,
    candidate_tables,
    emit_json,
    fail,
    given_shares,
    outcome_tables,
    segment_tables,
    table,
)
from understudy.places import origin_of

app = typer.Typer(no_args_is_help=True, help="Rollouts: how each public model name is served")

Name = Annotated[str, typer.Argument(help="Public model name")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the audit log")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")]


@app.callback()
def connect(ca: Ca = None) -> None:
    """Rollouts: how each public model name is served."""
    trust(ca)


@app.command("list")
def list_rollouts(admin: Admin = HERE, token: Token = "", json: Json = False) -> None:
    """All rollouts: first what needs a person, then shares and where they are."""
    with connected(admin, token) as client:
        needs = checked(client.get("/v1/needs"))
        rows = checked(client.get("/v1/rollouts"))
    # Standard error under --json, where what is of no rollout has no place.
    for need in [need for need in needs if not json or need["model"] is None]:
        typer.echo(_need(need), err=json)
    if json:
        emit_json(rows)
        return
    if needs:
        typer.echo()
    table("", ["model", "stable", "canary", "share", "phase", "needs", "status"], [_row(row) for row in rows])
    _show_shadows(rows)


def _need(need: Mapping[str, Any]) -> str:
    """One thing that needs a person, in a line."""
    since = datetime.fromtimestamp(need["since"], UTC).astimezone().strftime("%F %T")
    about = f"{need['model']}: " if need["model"] is not None else ""
    return f"! {about}{need['title']} since {since}: {need['sentence']}"


def _show_shadows(views: Sequence[Mapping[str, Any]]) -> None:
    """What the comparisons with each shadow say."""
    found = [
        [view["model"], shadow["target"], shadow["verdict"] or "not judged", shadow["sentence"]]
        for view in views
        for shadow in view["shadows"]
    ]
    if found:
        table("", ["model", "shadow", "verdict", "comparisons"], found)


def _show_origins(origins: Sequence[Mapping[str, Any]]) -> None:
    """What is claimed of where the models come from; what their files say of themselves alone is left out."""
    rows = [
        [origin["target"], claim["about"], claim["value"], claim["said_by"]]
        for origin in origins
        for claim in origin["lineage"]["claims"]
        if claim["about"] not in {"metadata", "producer"}
    ]
    if rows:
        table("Claimed of where the models come from", ["target", "about", "claim", "said by"], rows)
    for origin in origins:
        for problem in origin["lineage"]["problems"]:
            typer.echo(f"{origin['target']}: {problem}", err=True)


def _row(view: Mapping[str, Any]) -> list[str]:
    serving, status = view["serving"], view["status"]
    given = given_shares(view)
    return [
        view["model"],
        serving["stable"],
        ", ".join(target for target, _, _ in given) or "-",
        ", ".join(f"{weight:g}%" for _, weight, _ in given) or "-",
        status["phase"],
        ", ".join(need["title"] for need in view["needs"]) or "-",
        status["sentence"],
    ]


def _following(follow: Mapping[str, Any]) -> str:
    """What a rollout follows, in a line."""
    at = "no version yet" if follow["at"] is None else f"version {follow['at']}"
    seen = "" if follow["seen"] in (None, follow["at"]) else f"; the alias is at {follow['seen']}"
    problem = f"; {follow['problem']}" if follow["problem"] else ""
    return f"follows {follow['alias']} of {follow['model']}: {at}{seen}{problem}"


def _on_nodes(placed: Mapping[str, Any] | None) -> str:
    """On which nodes a target with a placement stands; nothing of others, and of an older control."""
    if placed is None:
        return ""
    return f" on {', '.join(placed['nodes']) or 'no node yet'}"


@app.command()
def show(model: Name, admin: Admin = HERE, token: Token = "", json: Json = False) -> None:
    """One rollout: document, status, where its targets are ready, and what its guards have found."""
    from understudy.commands.watch import candidate_evidence, evidence_tables

    with connected(admin, token) as client:
        view = checked(client.get(f"/v1/rollouts/{model}"))
        origins = [] if json else checked(client.get(f"/v1/rollouts/{model}/lineage"))
    if json:
        emit_json(view)
        return
    console = Console(markup=False, emoji=False)
    sentence = view["status"]["sentence"]
    console.print(f"{view['model']} revision {view['revision']}: {sentence}", highlight=False)
    if (follow := view.get("follow")) is not None:
        console.print(_following(follow), highlight=False)
    for need in view["needs"]:
        console.print(_need(need), highlight=False)
    for line in waiting_lines(view):
        console.print(line, highlight=False)
    rows = []
    for target in view["targets"]:
        ready = sum(target["ready"].values())
        problem = next(iter(target["problems"].values()), "")
        where = f"{ready} of {len(target['ready'])}{_on_nodes(target.get('placed'))}"
        rows.append([target["role"], target["target"], where, problem])
    table("", ["role", "target", "ready in", "problem"], rows)
    _show_shadows([view])
    _show_origins(origins)
    for drawn in (
        *evidence_tables(view["guards"]),
        *candidate_tables(view),
        *candidate_evidence(view),
        *segment_tables(view),
        *outcome_tables(view),
    ):
        console.print(drawn)
    console.print(_yaml({view["model"]: view["document"]}), highlight=False, markup=False)


@app.command()
def lint(
    file: Annotated[Path, typer.Argument(help="A rollout file", exists=False)],
    models: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE", help="Where models are: that they are there, pass and fit each other too"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check a rollout file without a server; every fault is named with file, line and column."""
    try:
        content = file.read_bytes()
        rollouts, errors = parse_each(content, str(file))
        if models:
            from understudy.gate.fitting import misfits  # what verifies models is heavy

            errors |= misfits(content, str(file), rollouts, origin_of(models))
        if errors:
            raise all_of(errors.values())
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except DocumentError as error:
        if not json:
            _fail_each(error)
        faults = [
            {"file": fault.file, "line": fault.line, "column": fault.column, "message": fault.message}
            for fault in error.faults
        ]
        emit_json({"ok": False, **faults[0], "faults": faults})
        raise typer.Exit(1) from None
    except ServingError as error:  # of the repository
        fail(str(error))
    if json:
        emit_json(
            {"ok": True, "rollouts": {model: to_document(rollout) for model, rollout in rollouts.items()}}
        )
    else:
        typer.echo(f"{file}: {len(rollouts)} rollouts, no fault found")


def _fail_each(error: DocumentError) -> NoReturn:
    """End with exit code 1 and a line on standard error for each fault."""
    for fault in error.faults:
        typer.echo(f"error: {fault}", err=True)
    raise typer.Exit(1)


@app.command()
def schema(
    one: Annotated[
        bool, typer.Option("--one", help="Of one rollout, as the admin door takes it, instead of a file")
    ] = False,
) -> None:
    """Print the JSON Schema of the rollout file, for editors and linters; `lint` checks more."""
    typer.echo(rollout_schema.as_text(rollout_schema.of_one() if one else rollout_schema.of_file()), nl=False)


@app.command()
def apply(
    file: Annotated[Path, typer.Option("-f", "--file", help="A rollout file")],
    admin: Admin = HERE,
    token: Token = "",
    reason: Reason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Put every rollout of a file, all or none of them, after showing what changes."""
    try:
        content = file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    url, name = "/v1/rollouts", str(file)
    with connected(admin, token) as client:
        proposals = checked(client.post(url, params={"dryRun": "true"}, content=content), name)
        changed = [proposal["model"] for proposal in proposals if proposal["changed"]]
        if not json:
            for proposal in proposals:
                _show_proposal(client, proposal)
        if dry_run or not changed:
            if json:
                emit_json(proposals)
            return
        if not yes and not typer.confirm(f"apply to {', '.join(changed)}?", err=json):
            raise typer.Exit(1)
        based_on = [f"{proposal['model']}:{proposal['revision']}" for proposal in proposals]
        params = {"reason": reason or f"apply -f {file.name}", "basedOn": based_on}
        views = checked(client.post(url, params=params, content=content), name)
    if json:
        emit_json(views)
        return
    for view in views:
        if view["model"] in changed:
            typer.echo(f"{view['model']}: revision {view['revision']}")


def _show_proposal(client: httpx.Client, proposal: Mapping[str, Any]) -> None:
    model = proposal["model"]
    if not proposal["changed"]:
        typer.echo(f"{model}: no change")
        return
    now = client.get(f"/v1/rollouts/{model}")
    before = _yaml(orjson.loads(now.content)["document"]).splitlines() if now.is_success else []
    after = _yaml(proposal["document"]).splitlines()
    for line in difflib.unified_diff(before, after, f"{model} now", f"{model} after", lineterm=""):
        typer.echo(line)
    shares = ", ".join(f"{target} {share:g}%" for target, share in proposal["after"]["shares"].items())
    typer.echo(f"{model}: shares {shares}; to load: {', '.join(proposal['load']) or 'nothing'}")
    for warning in proposal["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _act(model: str, action: str, asked: Mapping[str, str], admin: str, token: str, *, json: bool) -> None:
    """Ask for an action, and tell what became of it."""
    with connected(admin, token) as client:
        view = checked(client.post(f"/v1/rollouts/{model}/{action}", json=asked))
    if json:
        emit_json(view)
    else:
        typer.echo(f"{model}: {view['status']['sentence']}")


def _add_action(action: str, text: str) -> None:
    def act(
        model: Name, reason: Reason = "", admin: Admin = HERE, token: Token = "", json: Json = False
    ) -> None:
        _act(model, action, {"reason": reason}, admin, token, json=json)

    app.command(action, help=text)(act)


_add_action("abort", "Take the canary or all candidates off, or go back after a promotion.")
_add_action("pause", "Hold the rollout at its step.")
_add_action("resume", "Let a paused rollout go on, or a rolled back one start again.")


def _add_answer(action: str, text: str) -> None:
    def act(
        model: Name,
        reason: Reason = "",
        yes: Yes = False,
        admin: Admin = HERE,
        token: Token = "",
        json: Json = False,
    ) -> None:
        answer(model, action, reason, admin, token, yes=yes, json=json)

    app.command(action, help=text)(act)


_add_answer("approve", "Approve a rollout that waits for it, after showing what is to be approved.")
_add_answer("reject", "Pause a rollout that waits for approval, with the reason.")


@app.command()
def promote(
    model: Name,
    target: Annotated[str, typer.Option(help="Of an A/B/n test: which candidate, such as digits/3")] = "",
    reason: Reason = "",
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Make the canary stable, or a candidate of an A/B/n test."""
    asked = {"reason": reason} | ({"target": target} if target else {})
    _act(model, "promote", asked, admin, token, json=json)


@app.command()
def delete(
    model: Name,
    reason: Reason = "",
    yes: Yes = False,
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Serve this name no longer, after saying what serves it now."""
    url = f"/v1/rollouts/{model}"
    with connected(admin, token) as client:
        view = checked(client.get(url))
        if not json:
            typer.echo(f"{model}: {view['status']['sentence']}")
        if not yes and not typer.confirm(f"answer requests for {model} no longer?", err=json):
            raise typer.Exit(1)
        headers = {"if-match": f'"{view["revision"]}"'}
        checked(client.delete(url, params={"reason": reason} if reason else {}, headers=headers))
    if json:
        emit_json({"model": model, "deleted": True})
    else:
        typer.echo(f"{model}: deleted")


@app.command()
def undo(
    model: Name,
    to: Annotated[
        int | None, typer.Option(help="Revision to go back to; the document before when left out")
    ] = None,
    reason: Reason = "",
    yes: Yes = False,
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Go back to the document of an earlier revision, after saying what will serve.

    What served before a promotion is served again by `abort`.
    """
    params: dict[str, Any] = {} if to is None else {"to": to}
    url = f"/v1/rollouts/{model}/undo"
    with connected(admin, token) as client:
        proposal = checked(client.post(url, params={**params, "dryRun": "true"}))
        if not json:
            _show_proposal(client, proposal)
            promoted = checked(client.get(f"/v1/rollouts/{model}"))["status"]["phase"] == "promoted"
            typer.echo(f"{model}: {'still' if not proposal['changed'] else 'then'}: {proposal['status']}")
            if promoted:
                typer.echo(f"{model}: to serve what served before the promotion: understudy rollouts abort")
        if not proposal["changed"]:
            view = proposal
        elif not yes and not typer.confirm(f"put this document of {model} in force?", err=json):
            raise typer.Exit(1)
        else:
            headers = {"if-match": f'"{proposal["revision"]}"'}
            view = checked(client.post(url, params=params, headers=headers, json={"reason": reason}))
    if json:
        emit_json(view)
    elif proposal["changed"]:
        typer.echo(f"{model}: revision {view['revision']}, {view['status']['sentence']}")


@app.command()
def watch(
    model: Name,
    interval: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds between two looks")] = 0.5,
    until_done: Annotated[
        bool,
        typer.Option(
            "--until-done",
            help="End when it is promoted (exit code 0), rolled back (3), or asks a person or ended (5)",
        ),
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="End after so many seconds in any case (exit code 6)")
    ] = None,
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """A live view at a terminal, else a line a change; `--json` prints an object a change."""
    from understudy.commands.watch import Watch, run

    with connected(admin, token) as client:
        watched = Watch(client, model, checked)
        code = run(watched, interval, json=json, until_done=until_done, timeout=timeout)
    raise typer.Exit(code)


@app.command()
def aa(
    model: Name,
    weight: Annotated[
        float, typer.Option(min=0.001, max=99.999, help="Percent that it answers as canary")
    ] = 10.0,
    mirror: Annotated[
        float, typer.Option(min=0, max=100, help="Percent of stable's requests that it runs too")
    ] = 100.0,
    lasting: Annotated[
        str, typer.Option("--for", help="For how long, e.g. 10m; counted while the copy is ready")
    ] = "10m",
    requests: Annotated[
        int | None, typer.Option(min=1, help="End sooner when so many were counted, of both together")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds between two looks")] = 1.0,
    reason: Reason = "",
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Hold stable against itself (A/A): false alarms, noise, and the tolerances above it.

    It is its own canary for a while; nothing is taken off or promoted by it, and the document stays as it is.
    Ctrl-C ends it. Exit code 3: a guard raised a false alarm.
    """
    from understudy.arguments import duration
    from understudy.commands.aa import run

    wanted = {"weight": weight, "mirror": mirror, "seconds": duration(lasting), "reason": reason}
    with connected(admin, token) as client:
        code = run(client, model, checked, {**wanted, "requests": requests}, interval, json=json)
    raise typer.Exit(code)


@app.command()
def plan(
    model: Name,
    file: Annotated[
        Path | None, typer.Option("-f", "--file", help="A rollout file instead of the document in force")
    ] = None,
    traffic: Annotated[
        float | None, typer.Option(min=0.001, help="Requests a second; measured when left out")
    ] = None,
    over: Annotated[float, typer.Option(min=0.1, max=600, help="Seconds to measure")] = 5.0,
    harm_errors: Annotated[str, typer.Option(help="Share of a harmful canary's requests that fail")] = "5%",
    harm_slower: Annotated[float, typer.Option(min=1, help="How many times as slow a harmful one is")] = 1.5,
    harm_agreement: Annotated[str, typer.Option(help="Share of a harmful one's answers that agree")] = "90%",
    harm_outcomes: Annotated[
        str, typer.Option(help="By what share a harmful one's outcomes are worse")
    ] = "20%",
    harm_accuracy: Annotated[
        str, typer.Option(help="What share of labels fewer a harmful one gets right")
    ] = "3%",
    outcome: Annotated[
        list[str] | None,
        typer.Option(
            help="What share of the requests has an outcome, such as conversion=5%; of a label, what share is"
            " labelled, and of what share of the labels just one of the two is right, such as label=10%,6%"
        ),
    ] = None,
    ahead: Annotated[
        str, typer.Option(help="Of an A/B/n test: by what share the best candidate is ahead of the others")
    ] = "20%",
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """What each step should take at today's traffic, and what share of harmful canaries it would catch.

    Of an A/B/n test: when harm in each candidate is seen, and when the best of them is named.
    """
    from control.judging.guards.simulation import Least
    from understudy.commands.plan import Source, simulate

    shares = map(fraction, (harm_agreement, harm_outcomes, harm_accuracy))
    least = Least(fraction(harm_errors), harm_slower, *shares)
    source = Source(lambda: connected(admin, token), checked, file)
    simulate(source, model, traffic, over, least, outcome or [], fraction(ahead), json=json)


@app.command()
def history(
    model: Name,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Who changed it, when and why; the latest first."""
    with connected(admin, token) as client:
        rows = checked(client.get(f"/v1/rollouts/{model}/history", params={"limit": limit}))
    if json:
        emit_json(rows)
        return
    drawn = [
        [
            str(row["revision"]),
            datetime.fromtimestamp(row["at"], UTC).astimezone().strftime("%F %T"),
            row["actor"],
            row["reason"],
        ]
        for row in rows
    ]
    table("", ["revision", "when", "who", "why"], drawn)


@app.command()
def drift(
    model: Name,
    most: Annotated[
        int, typer.Option("--most", min=1, max=1000, help="Features of each target that are shown")
    ] = 20,
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """How far inputs and answers of the last hour are from the profiles of its targets.

    The features that moved most come first. These are numbers to look at, and no verdict.
    """
    from understudy.profiling.telling import HEADINGS, distances_of, rows_of, seen_in_words

    with connected(admin, token) as client:
        found = checked(client.get(f"/v1/rollouts/{model}/drift"))
    if json:
        emit_json(found)
        return
    if found["problem"]:
        typer.echo(found["problem"])
    for target in found["targets"]:
        for line in seen_in_words(target):
            typer.echo(line)
        distances = distances_of(target)
        if distances:
            table("", HEADINGS, rows_of(distances, most))
        if len(distances) > most:
            typer.echo(f"{len(distances) - most} features that moved less are not shown")


@app.command()
def export(
    model: Name,
    page: Annotated[bool, typer.Option("--page", help="A page to print, in place of JSON")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write")] = None,
    admin: Admin = HERE,
    token: Token = "",
) -> None:
    """The whole file of a rollout, for auditors: what is in force, and all of its audit log."""
    with connected(admin, token) as client:
        answer = client.get(f"/v1/rollouts/{model}/export", params={"as": "page" if page else "json"})
    if not answer.is_success:
        checked(answer)
    if output is None:
        typer.echo(answer.content, nl=False)
        return
    try:
        write_whole(output, answer.content)
    except OSError as error:
        fail(f"{output}: {error.strerror}")


@app.command()
def examples(
    model: Name,
    output: Annotated[str | None, typer.Option(help="Only of this output")] = None,
    order: Annotated[str, typer.Option(help="distance: the farthest first; recent: the latest")] = "distance",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    replay: Annotated[
        str, typer.Option(help="URL of a server to send the requests to again; says whose answer it gives")
    ] = "",
    admin: Admin = HERE,
    token: Token = "",
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each")] = False,
) -> None:
    """Comparisons that were kept, with both answers; those that differ first."""
    from understudy.commands import examples as command

    params: dict[str, str | int] = {"order": order, "limit": limit}
    if output is not None:
        params["output"] = output
    with connected(admin, token) as client:
        view = checked(client.get(f"/v1/rollouts/{model}/examples", params=params))
        if replay:
            document = orjson.dumps(checked(client.get(f"/v1/rollouts/{model}"))["document"])
    if not replay:
        command.export(view["examples"]) if json else command.show(view)
        return
    rollout = parse_one(model, document, model)
    found = list(command.replay(replay, model, rollout, view["examples"]))
    command.export(found) if json else command.show_replay(found)


def _yaml(value: Any) -> str:
    out = io.StringIO()
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(value, out)
    return out.getvalue()
