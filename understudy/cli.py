"""The whole command line: what runs processes, and what talks to people."""

from understudy.commands import keys, models, rollouts
from understudy.commands.bench import bench
from understudy.processes import app

__all__ = ["app"]

app.add_typer(rollouts.app, name="rollouts")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command()(bench)
