"""The whole command line: what runs processes, and what talks to people."""

from importlib import import_module

from understudy.commands import database, keys, models, outcomes, receipts, records, rollouts, tokens
from understudy.commands.bench import bench
from understudy.commands.offline.gate import run_gate
from understudy.commands.offline.replay import replay
from understudy.commands.offline.score import score
from understudy.commands.offline.test import run_test
from understudy.processes import app
from understudy.profiling.command import profile

__all__ = ["app"]

for module in ("node", "serve", "control"):  # they register themselves, in the order of `--help`
    import_module(f"understudy.processes.{module}")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="tokens")
app.add_typer(receipts.app, name="receipts")
app.add_typer(outcomes.app, name="outcomes")
app.add_typer(records.app, name="records")
app.add_typer(database.app, name="database")
app.command()(bench)
app.command("test")(run_test)
app.command()(score)
app.command("gate")(run_gate)
app.command()(replay)
app.command()(profile)
