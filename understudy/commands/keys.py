"""`understudy keys`: API keys for the public door."""

from typing import Annotated

import typer

from serving.admission.api_keys import line_of, new_key
from serving.errors import InvalidInput
from understudy.output import fail

app = typer.Typer(no_args_is_help=True, help="API keys of the public door")


@app.callback()
def _group() -> None:
    """Keep `new` a command of its own."""


@app.command()
def new(name: Annotated[str, typer.Argument(help="Whose key it is; counts and limits go by it")]) -> None:
    """Make a key: it goes to standard error, for its owner, and its line for the key file to standard output.

    The key is shown this once and stored nowhere: `understudy keys new mobile >> keys`.
    """
    key = new_key()
    try:
        line = line_of(name, key)
    except InvalidInput as error:
        fail(str(error))
    typer.echo(f"key of {name}: {key}", err=True)
    typer.echo(line)
