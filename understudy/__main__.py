"""`understudy`, and `python -m understudy`."""

import sys
from importlib import import_module

import typer

PROCESSES = {"up": "node", "node": "node", "serve": "serve", "control": "control"}
"""Module of `understudy.processes` by command."""
GROUPS = ("rollouts", "models", "keys", "records")
"""Modules of `understudy.commands`, each with commands of its own."""


def main() -> None:
    """Run the command line; a command does without what only the others import."""
    first = sys.argv[1] if sys.argv[1:] else ""
    if module := PROCESSES.get(first):
        app = import_module(f"understudy.processes.{module}").app
    elif first in GROUPS:
        app = typer.Typer(pretty_exceptions_enable=False)
        app.add_typer(import_module(f"understudy.commands.{first}").app, name=first)
    else:
        from understudy.cli import app
    sys.exit(app())


if __name__ == "__main__":
    main()
