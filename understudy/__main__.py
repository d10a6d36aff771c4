"""`understudy`, and `python -m understudy`."""

import sys

from serving.host.entry import imported

PROCESSES = {"up": "node", "node": "node", "serve": "serve", "control": "control"}
"""Module of `understudy.processes` by command."""
GROUPS = ("rollouts", "models", "keys", "records")
"""Modules of `understudy.commands`, each with commands of its own."""


def main() -> None:
    """Run the command line; a command does without what only the others import."""
    first = sys.argv[1] if sys.argv[1:] else ""
    if module := PROCESSES.get(first):
        app = imported(f"understudy.processes.{module}").app
    elif first in GROUPS:
        group = imported(f"understudy.commands.{first}").app
        app = imported("typer").Typer(pretty_exceptions_enable=False)
        app.add_typer(group, name=first)
    else:
        app = imported("understudy.cli").app
    sys.exit(app())


if __name__ == "__main__":
    main()
