"""`understudy tokens`: people with tokens of their own at the admin door."""

from pathlib import Path
from typing import Annotated

import typer

from control.people.file import line_of, new_token, parse
from serving.errors import ServingError
from serving.host.whole_files import write_whole
from understudy.output import fail

app = typer.Typer(no_args_is_help=True, help="Tokens of people, for the admin door")


@app.callback()
def _group() -> None:
    """Keep `add` a command of its own."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Who; the audit log has this name")],
    role: Annotated[
        list[str],
        typer.Option(help="viewer reads, operator changes, any other word may approve where it is asked"),
    ],
    file: Annotated[
        Path, typer.Option(help="The file of people, as `--tokens` takes it", envvar="UNDERSTUDY_TOKENS")
    ] = Path("tokens.yaml"),
    email: Annotated[str, typer.Option(help="Where links for approvals go")] = "",
) -> None:
    """Make a token for a person: it is printed this once, and the file gets its hash.

    A control that runs takes the file as it changes. To replace a token, delete the line of its person first.
    """
    token = new_token()
    try:
        line = line_of(name, token, role, email)
        before = file.read_text() if file.exists() else ""
        text = f"{before.rstrip()}\n{line}" if before.strip() else line
        parse(text, str(file))
        write_whole(file, text.encode(), lasting=True, mode=0o600)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    except ServingError as error:
        fail(str(error))
    typer.echo(f"{file}: {name} was added", err=True)
    typer.echo(token)
