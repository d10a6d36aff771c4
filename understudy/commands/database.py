"""`understudy database`: in which format control's database is, and the way back to an older release.

UNDERSTUDY_DATABASE says where it is, as for control; else it is SQLite in the state folder.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from control.settings import ControlSettings
from serving.errors import ServingError
from understudy.output import Json, emit_json, fail, fault_of_settings

if TYPE_CHECKING:
    from control.store.older import Older
    from control.store.store import Store

app = typer.Typer(no_args_is_help=True, help="Control's database, and the way back to an older release")

StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        help="The state folder of control, unless UNDERSTUDY_DATABASE says where the database is",
        envvar="UNDERSTUDY_STATE_DIR",
    ),
]
HERE = Path(".understudy")


@app.command()
def show(state_dir: StateDir = HERE, json: Json = False) -> None:
    """The database's format, and the releases that it can be taken back to."""
    from control.store.database import NEWEST
    from control.store.older import RELEASES

    with _opened(_settings(state_dir)) as store:
        found = store.format
    if json:
        older = {number: release.released for number, release in RELEASES.items()}
        emit_json({"format": found, "newest": NEWEST, "older": older})
        return
    typer.echo(f"format {found or 'none yet'}; this release writes {NEWEST}")
    for number, release in RELEASES.items():
        typer.echo(f"format {number} is that of {release.released}")


@app.command()
def downgrade(
    to: Annotated[str, typer.Argument(help="The format that the older release writes, as `show` names it")],
    state_dir: StateDir = HERE,
) -> None:
    """Take the database back to an older release; every control has to be ended first.

    What that release has no tables for is forgotten: receipts, outcomes, labels, approvals, lineage. Where it
    would leave out what decides about a rollout that is under way, nothing is changed, and the reason told.
    """
    from control.store.older import RELEASES

    release = RELEASES.get(to)
    if release is None:
        fail(f"no release is known that writes format {to}; there are {', '.join(RELEASES)}")
    settings = _settings(state_dir)
    with _opened(settings) as store:
        if store.format == to:
            typer.echo(f"it is in format {to}")
            return
        for words in asyncio.run(_taken_back(store, settings, release)):
            typer.echo(words)
    typer.echo(f"it is in format {to} now; start {release.released}")


async def _taken_back(store: "Store", settings: ControlSettings, release: "Older") -> tuple[str, ...]:
    async with _leading(store, settings):
        return store.take_back(release)


@asynccontextmanager
async def _leading(store: "Store", settings: ControlSettings) -> AsyncIterator[None]:
    """Lead as a control does, so that none of them writes meanwhile."""
    from control.store.leader import LEASE_SECONDS, Leader

    leader = Leader(store, settings.lead_lock)
    try:
        await asyncio.wait_for(leader.take(), 3 * LEASE_SECONDS)
    except TimeoutError:
        fail("a control leads; end every control of this database first")
    try:
        yield
    finally:
        await leader.resign()


def _settings(state_dir: Path) -> ControlSettings:
    try:
        return ControlSettings(state_dir=state_dir)
    except ValidationError as error:
        place, words = fault_of_settings(error)
        fail(f"UNDERSTUDY_{'_'.join(place).upper()}: {words}")


@contextmanager
def _opened(settings: ControlSettings) -> "Iterator[Store]":
    """The store as it is; what goes wrong with it ends the command in words."""
    from control.store.store import Store

    try:
        with closing(Store(settings.store_url, answer_seconds=60.0, migrates=False)) as store:
            yield store
    except ServingError as error:
        fail(str(error))
