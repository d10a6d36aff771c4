"""`understudy`, and `python -m understudy`."""

import sys

import typer

PROCESSES = {"up", "node", "serve", "control"}


def main() -> None:
    """Run the command line; a command does without what only the others import."""
    first = sys.argv[1] if sys.argv[1:] else ""
    if first in PROCESSES:
        from understudy.processes import app
    elif first == "rollouts":
        from understudy.commands import rollouts

        app = typer.Typer(pretty_exceptions_enable=False)
        app.add_typer(rollouts.app, name=first)
    else:
        from understudy.cli import app
    sys.exit(app())


if __name__ == "__main__":
    main()
