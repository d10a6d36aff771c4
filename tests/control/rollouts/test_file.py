"""What the rollout file's comings and goings do, and what they do not."""

import asyncio
import os

import pytest

from control.rollouts.catalogue import Catalogue
from control.rollouts.file import RESTED_SECONDS, RolloutFile
from control.rollouts.writer import Door
from control.store.store import Store
from harness.system import MODELS
from serving.errors import Unavailable

ONE = "digits: {stable: digits/1}\n"
BAD = "digits: {stable: nobody/1}\n"
PARTLY = BAD + "iris: {stable: iris/1}\nfraud: {stabel: fraud/1}\n"
BOTH = ONE + "iris: {stable: iris/1}\n"


class Watched:
    """A door, its file, and a clock that tests move."""

    def __init__(self, folder, catalogue, *, strict: bool = False) -> None:
        self.path = folder / "rollouts.yaml"
        self.now = 100.0
        self.refused: list[str] = []
        self.door = Door(Store(f"sqlite:///{folder}/state.db"), catalogue)
        self.file = RolloutFile(
            self.path, self.door, {}, self.refused.append, lambda: self.now, strict=strict
        )

    async def look(self, text: str | None = None) -> list[str]:
        if text is not None:
            self.path.write_text(text)
        async with asyncio.timeout(60):
            await self.file.apply()
        return sorted(self.door.entries)


@pytest.fixture(scope="module")
def catalogue(verified):
    return Catalogue(MODELS, verified)


def told(tmp_path, catalogue, story, *, strict: bool = False) -> None:
    async def all_of_it() -> None:
        watched = Watched(tmp_path, catalogue, strict=strict)
        await watched.door.open()
        await story(watched)

    asyncio.run(all_of_it())


def test_a_rollout_is_deleted_only_by_a_file_that_has_rested(tmp_path, catalogue):
    async def story(watched):
        assert await watched.look(BOTH) == ["digits", "iris"]
        assert await watched.look(ONE) == ["digits", "iris"], "it may be half written"
        watched.now += RESTED_SECONDS / 2
        assert await watched.look(ONE + "# more\n") == ["digits", "iris"], "it was"
        watched.now += RESTED_SECONDS - 0.1
        assert await watched.look() == ["digits", "iris"]
        watched.now += 0.1
        assert await watched.look() == ["digits"]
        assert watched.refused == []

    told(tmp_path, catalogue, story)


def test_a_file_that_names_nothing_deletes_nothing(tmp_path, catalogue):
    async def story(watched):
        await watched.look(BOTH)
        watched.now += 10
        assert await watched.look("{}") == ["digits", "iris"]
        assert "rollouts delete" in watched.file.problem
        await watched.look(BOTH)
        assert watched.file.problem == ""

    told(tmp_path, catalogue, story)


def test_a_file_that_was_away_and_comes_back_unchanged_is_well(tmp_path, catalogue):
    async def story(watched):
        await watched.look(BOTH)
        watched.path.unlink()
        assert await watched.look() == ["digits", "iris"]
        assert "cannot be read" in watched.file.problem
        await watched.look(BOTH)
        assert watched.file.problem == ""
        await watched.look(BAD)
        refusal = watched.file.problem
        watched.path.unlink()
        await watched.look()
        await watched.look(BAD)
        assert watched.file.problem == refusal != "", "and one that was refused is refused"

    told(tmp_path, catalogue, story)


def test_a_named_pipe_in_its_place_blocks_nobody(tmp_path, catalogue):
    async def story(watched):
        await watched.look(BOTH)
        watched.path.unlink()
        os.mkfifo(watched.path)
        assert await watched.look() == ["digits", "iris"]
        assert "not a regular file" in watched.file.problem
        watched.path.unlink()
        await watched.look(BOTH)
        assert watched.file.problem == ""

    told(tmp_path, catalogue, story)


def test_the_good_rollouts_of_a_file_are_in_force_and_the_bad_ones_are_named_once(tmp_path, catalogue):
    async def story(watched):
        assert await watched.look(PARTLY) == ["iris"]
        assert watched.file.problem == ""
        assert watched.file.refused.keys() == {"digits", "fraud"}
        assert watched.file.refused["digits"].startswith("rollouts.yaml:1:18: ")
        assert "rollouts.yaml:3:8: " in watched.file.refused["fraud"]
        await watched.look()
        assert len(watched.refused) == 1
        assert await watched.look(BOTH) == ["digits", "iris"]
        assert watched.file.refused == {}

    told(tmp_path, catalogue, story)


def test_an_edit_with_a_fault_leaves_that_rollout_as_it_was_and_changes_the_others(tmp_path, catalogue):
    async def story(watched):
        await watched.look(BOTH)
        before = watched.door.entries["digits"]
        edited = "iris: {stable: iris/1, timeout: 3s}\n"
        assert await watched.look("digits: {stable: nobody/1}\n" + edited) == ["digits", "iris"]
        assert watched.door.entries["digits"] == before
        assert watched.door.entries["iris"].rollout.timeout_seconds == 3
        revision = watched.door.entries["iris"].revision
        await watched.look(ONE + edited)
        assert watched.file.refused == {}
        assert watched.door.entries["digits"] == before
        assert watched.door.entries["iris"].revision == revision
        watched.now += 10
        await watched.look("digits: {stable: nobody/1}\n" + edited.replace("3s", "4s"))
        await watched.look(edited)
        watched.now += 10
        assert await watched.look() == ["iris"], "it is the file's, so it goes with its line"

    told(tmp_path, catalogue, story)


class Away(Catalogue):
    """A catalogue some of whose models are in a store that is away."""

    away: frozenset[str] = frozenset()

    async def check(self, rollout):
        if rollout.stable.model in self.away:
            raise Unavailable("s3://models: the connection is refused")
        return await super().check(rollout)


WHY = "rollouts.yaml: digits: s3://models: the connection is refused; it is tried again"


def test_a_rollout_whose_models_are_away_holds_up_no_other_and_is_in_force_when_they_are_back(
    tmp_path, verified
):
    async def story(watched):
        assert await watched.look(BOTH) == ["digits", "iris"]
        before = watched.door.entries["digits"]
        catalogue.away = frozenset({"digits/2"})
        text = "digits: {stable: digits/2}\niris: {stable: iris/1, timeout: 3s}\n"
        for _ in range(2):
            await watched.look(text)
            assert watched.door.entries["digits"] == before
            assert watched.door.entries["iris"].rollout.timeout_seconds == 3
            assert watched.file.problem == ""
            assert watched.file.refused == {"digits": WHY}
            assert watched.refused == [WHY], "told once"
        catalogue.away = frozenset()
        await watched.look()
        assert watched.door.entries["digits"].rollout.stable.model == "digits/2"
        assert watched.file.refused == {}

    catalogue = Away(MODELS, verified)
    told(tmp_path, catalogue, story)


@pytest.mark.parametrize("strict", [False, True])
def test_where_nothing_of_a_file_can_be_had_now_it_is_the_file_that_waits(strict, tmp_path, verified):
    async def story(watched):
        catalogue.away = frozenset({"digits/1"})
        text = (ONE + BOTH.removeprefix(ONE)) if strict else ONE + "fraud: {stabel: fraud/1}\n"
        for _ in range(2):
            assert await watched.look(text) == []
            assert watched.file.problem.endswith(WHY)
            assert len(watched.refused) == 1
        catalogue.away = frozenset()
        assert await watched.look() == (["digits", "iris"] if strict else ["digits"])

    catalogue = Away(MODELS, verified)
    told(tmp_path, catalogue, story, strict=strict)


def test_one_bad_rollout_refuses_the_whole_file_when_that_is_asked_for(tmp_path, catalogue):
    async def story(watched):
        assert await watched.look(PARTLY) == []
        assert watched.file.problem.count("rollouts.yaml:") == 3
        assert await watched.look(BOTH) == ["digits", "iris"]
        edited = BOTH.replace("iris/1", "iris/1, timeout: 3s").replace("digits/1", "digits/77")
        await watched.look(edited)
        assert watched.door.entries["iris"].rollout.timeout_seconds != 3

    told(tmp_path, catalogue, story, strict=True)
