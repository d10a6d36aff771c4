"""`understudy receipts`: what the receipt of an answer says, and a new key to sign them with."""

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from understudy.admin import HERE, Admin, Ca, Token, checked, connected, trust
from understudy.output import Json, emit_json

app = typer.Typer(no_args_is_help=True, help="Receipts: which rollout, stage and role an answer belongs to")


@app.callback()
def connect(ca: Ca = None) -> None:
    """Receipts: which rollout, stage and role an answer belongs to."""
    trust(ca)


@app.command()
def show(
    receipt: Annotated[str, typer.Argument(help="`x-understudy-receipt` of an answer")],
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """What a receipt says, once control has verified it."""
    with connected(admin, token) as client:
        said = checked(client.get(f"/v1/receipts/{quote(receipt, safe='')}"))
    if json:
        emit_json(said)
        return
    for name, text in _rows(said):
        typer.echo(f"{name:12} {text}")


def _rows(said: dict[str, Any]) -> list[tuple[str, str]]:
    arrived = datetime.fromtimestamp(said["arrived"], UTC).isoformat(sep=" ", timespec="microseconds")
    return [
        ("rollout", said["model"] or "not known here"),
        ("stage", str(said["stage"])),
        ("answered by", said["role"]),
        ("drawn", said["drawn"] or "nobody: not part of the evidence"),
        ("candidate", str(said.get("candidate") or "none")),  # an older control says none
        ("arrived", arrived),
        ("node", f"{said['node'] or 'not there now'}, worker {said['worker']}"),
        ("sticky key", said["sticky_key_hash"] or "none"),
    ]


@app.command("rotate-key")
def rotate_key(
    forget: Annotated[
        bool, typer.Option("--forget", help="Refuse the receipts of the keys before at once, as after a leak")
    ] = False,
    admin: Admin = HERE,
    token: Token = "",
    json: Json = False,
) -> None:
    """Sign receipts with a new key from now on; control does so by itself every `--receipt-key-days`."""
    with connected(admin, token) as client:
        made = checked(client.post("/v1/receipt-keys", json={"forget": forget}))
    if json:
        emit_json(made)
        return
    before = "refused" if forget else "still taken"
    typer.echo(f"key {made['id']} signs from now on; receipts of the keys before it are {before}")
