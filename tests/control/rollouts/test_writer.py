import asyncio
import itertools
import json
import shutil
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.rollouts.catalogue import Catalogue
from control.rollouts.events import Abort, Pause, Promote, Resume, TakenOff, TargetsReady, Tick
from control.rollouts.progress import IllegalTransition
from control.rollouts.writer import ANY, Actor, Conflict, Door
from control.store.database import StoreError
from control.store.store import Stale, Store
from harness.control import CANARY, STABLE, STEPS
from harness.search import examples
from harness.system import MODELS
from router.rollout.parser import parse_one, to_document
from router.rollout.values import Rollout
from serving.errors import InvalidInput

ANNA, BEN, AUTOPILOT = Actor("anna", "api"), Actor("ben", "api"), Actor("autopilot", "autopilot")
NUMBERS = itertools.count()


def rollout(document: dict, model: str = "digits") -> Rollout:
    import orjson

    return parse_one(model, orjson.dumps(document), "test")


@pytest.fixture(scope="module")
def catalogue(verified):
    return Catalogue(MODELS, verified)


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


async def opened(url: str, catalogue: Catalogue) -> Door:
    door = Door(Store(url, busy_seconds=5.0), catalogue)
    await door.open()
    return door


# ------------------------------------------------------------------ one change
def test_what_was_put_is_in_force_and_survives_a_restart(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(CANARY)], ANNA, "try it")
        again = await opened(url, catalogue)
        assert again.entries == door.entries
        assert again.snapshot == door.snapshot
        assert again.snapshot.rollouts["digits"].weight == 10

    asyncio.run(story())


def test_several_documents_are_accepted_together_or_not_at_all(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        bad = rollout({"stable": "digits/1", "canary": {"model": "iris/1", "weight": 1}}, "other")
        with pytest.raises(InvalidInput, match=r"other\.canary: iris/1 cannot stand in for digits/1"):
            await door.put([rollout(STABLE), bad], ANNA, "both")
        assert door.entries == {}
        await door.put([rollout(STABLE), rollout(STABLE, "other")], ANNA, "both")
        assert sorted(entry.revision for entry in door.entries.values()) == [1, 2]
        assert door.snapshot.revision == 2

    asyncio.run(story())


def test_putting_what_is_in_force_changes_nothing(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(STABLE)], ANNA, "one")
        await door.put([rollout(STABLE)], BEN, "the same")
        assert door.get("digits").revision == 1
        assert len(door.history("digits", 10, None)) == 1

    asyncio.run(story())


def test_an_edit_that_the_store_refuses_is_not_in_force(url, catalogue, monkeypatch):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(STABLE)], ANNA, "one")
        before = (dict(door.entries), door.snapshot)

        def full(*_: object) -> None:
            raise StoreError("the state database cannot be written: the disk is full")

        monkeypatch.setattr(door._store, "change", full)
        with pytest.raises(StoreError):
            await door.put([rollout(CANARY)], ANNA, "two")
        assert (door.entries, door.snapshot) == before

    asyncio.run(story())


def test_a_lost_database_is_written_anew_without_a_change(url, catalogue, tmp_path):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(CANARY)], ANNA, "one")
        for file in tmp_path.glob("state.db*"):
            file.unlink()
        await door.look_after_store()
        again = await opened(url, catalogue)
        assert again.entries == door.entries
        assert [row.actor for row in door.history("digits", 10, None)] == ["control"]
        await door.put([rollout(STABLE)], ANNA, "two")
        assert door.get("digits").revision == 2

    asyncio.run(story())


def test_an_event_without_effect_writes_no_audit_row_and_one_with_effect_writes_one(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(STEPS)], ANNA, "go")
        await door.act("digits", Tick(1.0, ready=False), AUTOPILOT, ANY)
        assert len(door.history("digits", 10, None)) == 1
        await door.act("digits", Tick(2.0, ready=True), AUTOPILOT, ANY)
        rows = door.history("digits", 10, None)
        assert [row.actor for row in rows] == ["autopilot", "anna"]
        assert "waits for a person" in rows[0].reason

    asyncio.run(story())


def test_a_person_s_reason_is_in_the_audit_row_once(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(STEPS)], ANNA, "go")
        await door.act("digits", Tick(1.0), AUTOPILOT, ANY)
        await door.act("digits", Resume(), ANNA, ANY, reason="looks good")
        await door.act("digits", Abort("too slow"), ANNA, ANY, reason="too slow")
        newest, before, *_ = door.history("digits", 10, None)
        assert newest.reason.count("too slow") == 1
        assert before.reason.endswith(": looks good")

    asyncio.run(story())


def test_documents_that_an_older_release_accepted_are_taken_up_and_not_refused(url, catalogue):
    older = {
        "stable": "digits/1",
        "canary": {"model": "digits/2", "weight": 10},
        "guards": {
            "latency": {"maxRatio": 1.05},
            "agreement": {"output": "label", "min": 0.9, "per": "request"},
        },
    }

    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(CANARY)], ANNA, "one")
        with sqlite3.connect(url.removeprefix("sqlite:///")) as before:
            before.execute("UPDATE rollouts SET document = ?", (json.dumps(older),))
        latency, _, agreement = (await opened(url, catalogue)).get("digits").rollout.guards
        assert latency.max_ratio == 1.1
        assert agreement.per == "key"

    asyncio.run(story())


def test_listeners_hear_of_each_change_once_in_order(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        heard: list[tuple[str, int]] = []
        door.listeners.append(lambda kind, event: heard.append((kind, event["revision"])))
        await door.put([rollout(CANARY)], ANNA, "one")
        await door.act("digits", Promote("now"), ANNA, ANY)
        await door.act("digits", TargetsReady(), AUTOPILOT, ANY)
        await door.act("digits", Abort("back"), ANNA, ANY)
        await door.put([], ANNA, "gone", delete=["digits"])
        assert heard == [("edited", 1), ("promoting", 2), ("promoted", 3), ("rolled_back", 4), ("deleted", 5)]

    asyncio.run(story())


# ------------------------------------------------------------------ bytes
@pytest.fixture
def own_models(tmp_path):
    for version in "124":
        shutil.copytree(MODELS / "digits" / version, tmp_path / "models" / "digits" / version)
    return tmp_path / "models"


def overwrite(models, version) -> None:
    other = (MODELS / "digits" / "3" / "model.onnx").read_bytes()
    (models / "digits" / version / "model.onnx").write_bytes(other)


def test_a_revision_names_the_bytes_that_were_accepted(url, own_models, tmp_path):
    async def story() -> None:
        (own_models / "digits" / "config.yaml").write_text(
            'lineage: {"2": {commit: abc, registered_by: ann}}'
        )
        door = await opened(url, Catalogue(own_models, tmp_path / "verified"))
        await door.put([rollout(CANARY)], ANNA, "one")
        digests = door.get("digits").digests
        assert sorted(digests) == ["digits/1", "digits/2"]
        [row] = door.history("digits", 10, None)
        said = {"registered_by": "ann (says config.yaml)", "commit": "abc (says config.yaml)"}
        assert row.lineage == {"digits/2": said}, (
            "what was claimed of them then; nothing of what nobody claims"
        )
        assert row.digests == door.snapshot.rollouts["digits"].digests == digests
        overwrite(own_models, "2")
        await door.act("digits", Promote("now"), ANNA, ANY)
        await door.act("digits", TargetsReady(), AUTOPILOT, ANY)
        assert door.history("digits", 1, None)[0].lineage is None, "it accepted no model"
        assert door.get("digits").digests == digests, "what happens to files is no edit"
        proposal = await door.propose(rollout(CANARY))
        assert "digits/2 has other bytes than before" in " ".join(proposal.warnings)
        await door.put([rollout(CANARY)], ANNA, "take them")
        entry = door.get("digits")
        assert entry.digests["digits/2"] != digests["digits/2"]
        assert (entry.progress.phase, entry.progress.evidence_stage) == ("idle", entry.progress.stage)
        with pytest.raises(Conflict, match="digits/2 had SHA-256"):
            await door.put([rollout(STABLE), rollout(CANARY)], ANNA, "undo", bytes_of=digests)

    asyncio.run(story())


def test_rollouts_of_before_are_pinned_when_they_are_taken_up(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout(CANARY)], ANNA, "one")
        with sqlite3.connect(url.removeprefix("sqlite:///")) as before:
            before.execute("UPDATE rollouts SET digests = NULL")
        again = await opened(url, catalogue)
        assert again.get("digits").digests == {}
        await again.pin()
        assert again.get("digits").digests == door.get("digits").digests
        assert again.get("digits").progress == door.get("digits").progress
        revision = again.snapshot.revision
        await again.pin()
        assert again.snapshot.revision == revision

    asyncio.run(story())


# ------------------------------------------------------------------ races
class Editor:
    """Reads, then changes what it read, as a person with a browser does; counts what it got through."""

    def __init__(self, door: Door, actor: Actor) -> None:
        self.door, self.actor = door, actor
        self.seen = door.get("digits")
        self.won: list[int] = []
        self.lost = 0

    def look(self) -> None:
        self.seen = self.door.get("digits")

    async def edit(self) -> None:
        """Add one to the number that is kept in `timeout`."""
        seconds = self.seen.rollout.timeout_seconds + 1
        document = {**to_document(self.seen.rollout), "timeout": f"{seconds:g}s"}
        await self._do(self.door.put([rollout(document)], self.actor, "+1", self.seen.revision))

    async def act(self, event) -> None:
        await self._do(self.door.act("digits", event, self.actor, self.seen.revision))

    async def _do(self, change) -> None:
        try:
            await change
        except Stale:
            self.lost += 1
        except IllegalTransition:
            pass
        else:
            self.won.append(self.seen.revision)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["anna", "ben"]),
        st.sampled_from(["look", "edit", "edit", "pause", "resume", "abort"]),
        st.booleans(),  # whether it waits for what is under way
    ),
    max_size=25,
)


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES, ticks=st.integers(0, 6))
def test_no_interleaving_of_two_editors_and_the_autopilot_loses_an_update(tmp_path, catalogue, moves, ticks):
    async def story() -> None:
        door = await opened(f"sqlite:///{tmp_path}/{next(NUMBERS)}.db", catalogue)
        await door.put([rollout({**STEPS, "timeout": "1s"})], ANNA, "go")
        editors = {"anna": Editor(door, ANNA), "ben": Editor(door, BEN)}
        asked: dict[str, int] = {"edit": 0}
        running: list[asyncio.Task[None]] = []

        async def autopilot() -> None:
            for now in range(ticks):
                await door.act("digits", Tick(float(now)), AUTOPILOT, ANY)

        running.append(asyncio.create_task(autopilot()))
        for name, move, waits in moves:
            editor = editors[name]
            if move == "look":
                editor.look()
            elif move == "edit":
                asked["edit"] += 1
                running.append(asyncio.create_task(editor.edit()))
            else:
                event = {"pause": Pause("wait"), "resume": Resume(), "abort": Abort("no")}[move]
                running.append(asyncio.create_task(editor.act(event)))
            await (asyncio.gather(*running) if waits else asyncio.sleep(0))
        await asyncio.gather(*running)

        rows = door.history("digits", 1000, None)
        edits = [row for row in rows if row.reason == "+1"]
        # Every edit that was let through is in the document, whatever happened around it.
        assert door.get("digits").rollout.timeout_seconds == 1 + len(edits)
        # Each change is based on the newest one: of those based on one revision, one was let through.
        assert [row.revision for row in reversed(rows)] == list(range(1, len(rows) + 1))
        # What is in force is what is stored.
        assert (
            await opened(str(door._store._database._url), catalogue)
        ).entries.keys() == door.entries.keys()
        stored = door._store.load().rollouts["digits"]
        assert (stored.revision, stored.document) == (
            rows[0].revision,
            to_document(door.get("digits").rollout),
        )

    asyncio.run(story())


def test_of_two_edits_based_on_one_revision_the_second_is_refused(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout({**STABLE, "timeout": "1s"})], ANNA, "go")
        anna, ben = Editor(door, ANNA), Editor(door, BEN)
        await asyncio.gather(*(editor.edit() for editor in (anna, ben) * 5))
        assert (len(anna.won) + len(ben.won), anna.lost + ben.lost) == (1, 9)
        assert door.get("digits").rollout.timeout_seconds == 2

    asyncio.run(story())


def test_two_doors_over_one_database_lose_no_update_either(url, catalogue):
    async def story() -> None:
        first = await opened(url, catalogue)
        await first.put([rollout({**STABLE, "timeout": "1s"})], ANNA, "go")
        second = await opened(url, catalogue)
        await first.put([rollout({**STABLE, "timeout": "2s"})], ANNA, "first")
        with pytest.raises(Exception, match="is at revision 2, the change is based on 1") as refused:
            await second.put([rollout({**STABLE, "timeout": "3s"})], BEN, "second")
        assert refused.value.status == 412
        assert (await opened(url, catalogue)).get("digits").rollout.timeout_seconds == 2

    asyncio.run(story())


def test_a_reader_of_snapshots_waits_for_the_next_one(url, catalogue):
    async def story() -> None:
        door = await opened(url, catalogue)
        assert await door.newer_than(0, 0.0) is None
        waiting = asyncio.create_task(door.newer_than(0, 30.0))
        await door.put([rollout(STABLE)], ANNA, "go")
        assert await waiting is door.snapshot

    asyncio.run(story())


def test_an_edit_that_draws_no_sticky_user_anew_says_so_and_a_restart_knows_who_was_drawn(url, catalogue):
    users = {"sticky": {"header": "x-user"}, "guards": {"errors": {"maxRatio": 1.5}}}

    async def story() -> None:
        door = await opened(url, catalogue)
        await door.put([rollout({**CANARY, **users})], ANNA, "users")
        other = rollout({**CANARY, **users, "guards": {"errors": {"maxRatio": 2}}})
        told = " ".join((await door.propose(other)).warnings)
        assert "at 10% no user is drawn anew" in told
        await door.put([other], ANNA, "another guard")
        door = await opened(url, catalogue)
        served = door.snapshot.rollouts["digits"]
        assert (served.weight, served.used, served.draw) == (10, 10, 0)
        steps = [{"setWeight": 20}, {"pause": {"duration": "1s"}}, {"setWeight": 20}, {"setWeight": 50}]
        ramp = {"model": "digits/2", "steps": steps}
        told = (await door.propose(rollout({**CANARY, **users, "canary": ramp}))).warnings
        [text] = [text for text in told if "no user" in text]
        assert text.startswith("in step 3, 20%, no user is drawn anew")
        assert text.endswith("the weight was 20% before")

    asyncio.run(story())


def of_candidates(**more) -> dict:
    candidates = [{"model": f"digits/{version}", "weight": 10, "mirror": 5} for version in (2, 4)]
    return {"stable": "digits/1", "candidates": candidates, **more}


def test_candidates_are_pinned_and_other_bytes_begin_their_test_again(url, own_models, tmp_path):
    async def story():
        door = await opened(url, Catalogue(own_models, tmp_path / "verified"))
        await door.put([rollout(of_candidates())], ANNA, "try them")
        assert door.get("digits").digests.keys() == {"digits/1", "digits/2", "digits/4"}
        stage = door.get("digits").progress.stage
        await door.act("digits", TakenOff("digits/2", "it fails", stage), ANNA, ANY)
        overwrite(own_models, "4")
        proposal = await door.propose(rollout(of_candidates()))
        assert "the rollout begins again: its first step and its evidence" in proposal.warnings
        await door.put([rollout(of_candidates())], ANNA, "other bytes")
        assert len(door.get("digits").progress.on) == 2

    asyncio.run(story())


def test_a_test_that_ends_before_its_outcomes_count_is_warned_of(url, catalogue):
    async def story():
        door = await opened(url, catalogue)
        outcomes = {"paid": {"kind": "binary", "within": "1h"}}
        document = of_candidates(outcomes=outcomes, best={"outcome": "paid", "max": "30m"})
        [warning] = (await door.propose(rollout(document))).warnings
        assert warning == "best: paid of an answer counts 1h later, and the test ends after 30m"

    asyncio.run(story())


def test_a_proof_that_outcomes_cannot_give_in_time_is_warned_of(url, catalogue):
    outcomes = {"conversion": {"kind": "binary", "within": "1h"}}
    guards = {"conversions": {"outcome": "conversion", "maxDrop": "5%"}}
    steps = [{"setWeight": 20}, {"prove": {"max": "30m"}}, {"setWeight": 20}, {"prove": {}}]
    document = {
        "stable": "digits/1", "canary": {"model": "digits/2", "steps": steps}, "outcomes": outcomes,
        "guards": guards, "sticky": {"header": "x-user"},
    }  # fmt: skip

    async def story() -> None:
        door = await opened(url, catalogue)
        told = (await door.propose(rollout(document))).warnings
        [text] = [text for text in told if "cannot be proven" in text]
        assert text == (
            "step 2: conversions cannot be proven by then, 30 min after its weight was set: what becomes of"
            " an answer is judged 60 min after it"
        )
        assert [text for text in told if "no evidence for conversions" in text]

    asyncio.run(story())
