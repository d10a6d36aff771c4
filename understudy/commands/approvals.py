"""`understudy rollouts approve` and `reject`: what a rollout waits for, looked at before it is answered."""

from collections.abc import Mapping
from typing import Any

import typer

from understudy.admin import checked, connected
from understudy.output import emit_json, fail, table


def waiting_lines(view: Mapping[str, Any]) -> list[str]:
    """What a rollout waits for, in lines for people; none where it waits for nothing."""
    waiting = view.get("waiting_for")  # of a control that is older, nothing
    if waiting is None:
        return []
    left = "" if waiting["expires"] is None else f", {waiting['expires']:.0f} s left"
    if waiting["run"] is not None:
        return [f"waits for the hook {waiting['run']['url']}{left}"]
    wanted = waiting["approval"]
    lines = [f"waits for {wanted['missing']} more of {' or '.join(wanted['from'])}{left}"]
    lines += [f"approved by {each['person']} ({each['role']})" for each in wanted["given"]]
    if wanted["not_by"]:
        lines.append(f"not by its authors: {', '.join(wanted['not_by'])}")
    return lines


def answer(model: str, action: str, reason: str, admin: str, token: str, *, yes: bool, json: bool) -> None:
    """Show what is to be approved, ask, and say what became of it."""
    with connected(admin, token) as client:
        view = checked(client.get(f"/v1/rollouts/{model}"))
        wanted = (view.get("waiting_for") or {}).get("approval")
        if wanted is None:
            fail(f"{model} waits for no approval: {view['status']['sentence']}")
        if not json:
            _show(view, wanted)
        if not yes and not typer.confirm(f"{action} {model}?", err=json):
            raise typer.Exit(1)
        asked = {"reason": reason} | ({"seen": wanted["seen"]} if action == "approve" else {})
        view = checked(client.post(f"/v1/rollouts/{model}/{action}", json=asked))
    if json:
        emit_json(view)
    else:
        typer.echo(f"{model}: {view['status']['sentence']}")


def _show(view: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    typer.echo(f"{view['model']} revision {view['revision']}: {view['status']['sentence']}")
    for line in waiting_lines(view):
        typer.echo(line)
    table(
        "", ["target", "SHA-256"], [[name, digest] for name, digest in wanted["evidence"]["targets"].items()]
    )
    guards = [[each["guard"], each["verdict"], each["reason"]] for each in view["guards"]]
    if guards:
        table("", ["guard", "verdict", "why"], guards)
    typer.echo(f"what is seen here: {wanted['seen']}")
