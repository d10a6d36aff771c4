"""`understudy`, and `python -m understudy`."""

import sys

PROCESSES = {"up", "node", "serve", "control"}


def main() -> None:
    """Run the command line; a command that starts processes does without what the others import."""
    if sys.argv[1:2] and sys.argv[1] in PROCESSES:
        from understudy import processes as commands
    else:
        from understudy import cli as commands  # type: ignore[no-redef]
    sys.exit(commands.app())


if __name__ == "__main__":
    main()
