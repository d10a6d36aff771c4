"""A snapshot is applied in short laps of the event loop, and is in force all at once."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.rows import body
from harness.search import examples
from harness.system import MODELS
from router import laps
from router.answered import Answered
from router.rollout.parser import parse_one
from router.rollout.snapshot import Arm, Placed, ServedRollout, Snapshot
from router.rollout.values import Target
from router.route_table import RouteTable
from router.settings import WorkerSettings
from serving.clock import clock
from serving.errors import Unavailable
from serving.telemetry.cells import Metrics, read
from serving.wire.message import Call, Reply
from serving.wire.protocol import decode_response

URL = "http://127.0.0.1:1"
DOCUMENTS = {
    "stable": f"stable: {{model: digits/1, url: '{URL}'}}",
    "other": f"stable: {{model: digits/3, url: '{URL}'}}",
    "canary": f"stable: {{model: digits/1, url: '{URL}'}}\n"
    f"canary: {{model: digits/2, url: '{URL}', weight: 10}}",
    "several": f"stable: {{model: digits/1, url: '{URL}'}}\n"
    f"candidates: [{{model: digits/2, url: '{URL}', weight: 10, mirror: 50}},"
    f" {{model: digits/3, url: '{URL}', weight: 20}}, {{model: digits/4, url: '{URL}', weight: 40}}]",
}
STATES = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(sorted(DOCUMENTS)), max_size=8)


def snapshot(revision: int, state: dict[str, str]) -> Snapshot:
    rollouts = {}
    for model, kind in state.items():
        rollout = parse_one(model, DOCUMENTS[kind], "test")
        canary = rollout.canary.target if rollout.canary is not None else None
        arms = tuple(
            Arm(number, each.target, each.weight or 0.0, each.mirror)
            for number, each in enumerate(rollout.candidates, 1)
            if number != 2  # taken off
        )
        weight = 10.0 if canary else 0.0
        rollouts[model] = ServedRollout(rollout, 1, rollout.stable, canary, weight, arms=arms)
    return Snapshot(revision, rollouts)


def table_in(folder: Path) -> RouteTable:
    chosen = WorkerSettings(state_dir=folder, models=MODELS, run_dir=folder, control=URL)
    return RouteTable(chosen, Metrics(folder / "metrics", "worker"))


def paths_of(snapshot: Snapshot) -> set[bytes]:
    """Where a whole application of it answers."""
    found = set()
    for model, served in snapshot.rollouts.items():
        targets = [target for _, target in served.roles()]
        found |= {b"/v2/models/%b/infer" % model.encode(), b"/v1/models/%b:predict" % model.encode()}
        numbers = [target.model.rpartition("/")[2] for target in targets]
        found |= {b"/v2/models/%b/versions/%b/infer" % (model.encode(), n.encode()) for n in numbers}
    return found


def said(table: RouteTable) -> dict[str, object]:
    shown = {labels: gauge._cells[gauge._at] for labels, gauge in table._weights.items()}
    weights = {labels: percent for labels, percent in shown.items() if percent}
    stable = {model: route.stable.key for model, route in table.routes.items()}
    return {"paths": set(table.paths), "weights": weights, "stable": stable, "pins": table._stable_pins()}


@pytest.fixture(autouse=True)
def a_rest_after_each_piece(monkeypatch):
    monkeypatch.setattr(laps, "LAP_SECONDS", 0.0)


@settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(states=st.lists(STATES, min_size=1, max_size=4))
def test_snapshots_applied_in_laps_come_to_what_the_last_one_comes_to_alone(states):
    async def story() -> None:
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            table, fresh = table_in(Path(one)), table_in(Path(other))
            wanted = {revision: snapshot(revision, state) for revision, state in enumerate(states, 1)}
            torn: list[int] = []

            async def watch() -> None:
                while True:
                    now = table.snapshot
                    if set(table.paths) - paths_of(now) or table.routes.keys() - now.rollouts.keys():
                        torn.append(now.revision)
                    await asyncio.sleep(0)

            watching = asyncio.create_task(watch())
            for state in wanted.values():
                await table.apply(state)
                await table.report()
            watching.cancel()
            await fresh.apply(wanted[len(states)])
            assert not torn
            assert said(table) == said(fresh)
            assert set(table.paths) == paths_of(wanted[len(states)])
            _, rows, _ = await table.report()
            assert {(row.model, row.role) for row in rows} == {
                (model, role)
                for model, served in table.snapshot.rollouts.items()
                for role, _ in served.roles()
            }
            for each in (table, fresh):
                await each.stop()
                each._metrics.close()

    asyncio.run(story())


class Heard:
    """A sink that keeps what it is offered."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.offered: list[Answered] = []

    def offer(self, answered: Answered) -> None:
        self.offered.append(answered)


@contextlib.asynccontextmanager
async def local_table(folder: Path, **options: Any) -> AsyncIterator[RouteTable]:
    """A table in which `digits` is a model of this process."""
    models = folder / "models" / "digits"
    shutil.copytree(MODELS / "digits" / "1", models / "1")
    (models / "config.yaml").write_text("execution: inline\n")
    chosen = WorkerSettings(state_dir=folder, models=models.parent, run_dir=folder, control=URL)
    metrics = Metrics(folder / "metrics", "worker")
    table = RouteTable(chosen, metrics, **options)
    rollout = parse_one("digits", "stable: digits/1", "test")
    await table.apply(Snapshot(1, {"digits": ServedRollout(rollout, 4, rollout.stable)}))
    try:
        yield table
    finally:
        await table.stop()
        metrics.close()


@pytest.mark.parametrize("path", [b"/v2/models/digits/infer", b"/v2/models/digits/versions/1/infer"])
def test_requests_share_a_run_at_both_paths(tmp_path, path):
    async def story() -> None:
        async with local_table(tmp_path) as table:
            handler = table.paths[path]
            assert handler.joins
            replies = handler.many([Call({}, body(number), clock()) for number in range(5)])
            assert [type(reply) for reply in replies] == [Reply] * 5
            alone = handler.one(Call({}, body(3), clock()))
            labels = [
                decode_response(each.body, each.json_length).outputs["label"] for each in (replies[3], alone)
            ]
            assert labels[0] == labels[1]
            [(*counts, rows)] = read(tmp_path / "metrics")["understudy_batch_size"].series.values()
            assert (sum(counts), rows) == (1, 5), "one run for all that came together"

    asyncio.run(story())


def test_each_rollout_has_the_sinks_that_are_made_for_it(tmp_path):
    made: list[Heard] = []

    def sinks(served: ServedRollout) -> list[Heard]:
        made.append(Heard(served.rollout.model))
        return made[-1:]

    async def story() -> None:
        async with local_table(tmp_path, sinks=sinks) as table:
            for path in (b"/v2/models/digits/infer", b"/v2/models/digits/versions/1/infer"):
                table.paths[path].one(Call({}, body(1), clock()))
            await asyncio.sleep(0)
            [heard] = made
            assert heard.model == "digits"
            offered = [(each.role, each.target, each.drawn, each.stage) for each in heard.offered]
            assert offered == [("stable", "digits/1", "stable", 4), ("stable", "digits/1", None, 4)]

    asyncio.run(story())


def test_what_has_not_changed_is_taken_over(tmp_path):
    async def story() -> None:
        table = table_in(tmp_path)
        await table.apply(snapshot(1, {"a": "canary", "b": "stable", "c": "stable"}))
        before, remotes, paths = dict(table.routes), dict(table._remotes), dict(table.paths)
        await table.apply(snapshot(2, {"a": "canary", "b": "other"}))
        assert table.routes["a"] is before["a"]
        assert table.routes["b"] is not before["b"]
        assert {place for place in table._remotes if place[0] == "a"} == {p for p in remotes if p[0] == "a"}
        assert table.paths[b"/v2/models/a/infer"] is paths[b"/v2/models/a/infer"]
        assert "c" not in table.routes
        await table.stop()
        table._metrics.close()

    asyncio.run(story())


def test_each_candidate_of_a_test_has_its_target_weight_mirror_and_counts(tmp_path):
    async def story() -> None:
        table = table_in(tmp_path)
        await table.apply(snapshot(1, {"a": "several"}))
        keys = [f"digits/{version}@{URL}" for version in (2, 4)]
        assert said(table)["weights"] == {
            ("a", f"digits/1@{URL}", "stable"): 50.0,
            ("a", keys[0], "canary"): 10.0,
            ("a", keys[1], "canary"): 40.0,
        }
        assert [(side.target.key, side.number) for side in table.routes["a"].candidates] == [
            (keys[0], 1),
            (keys[1], 3),
        ]
        assert len(table._channels) == 1, "one of them is mirrored"
        _, targets, counts = await table.report()
        assert [row.target for row in targets if row.role == "canary"] == keys
        assert [(row.stage, row.candidate) for row in counts] == [(1, keys[0]), (1, keys[1])]
        assert [row.counts.weight for row in counts] == pytest.approx([10 / 60, 40 / 90])
        await table.stop()
        table._metrics.close()

    asyncio.run(story())


def test_where_no_candidate_is_ready_stable_answers_and_nobody_counts_it(tmp_path):
    async def story() -> None:
        async with local_table(tmp_path) as table:
            one = table.snapshot.rollouts["digits"]
            arms = tuple(Arm(n, Target(f"digits/{n + 1}", URL), 30.0) for n in (1, 2))
            await table.apply(Snapshot(2, {"digits": replace(one, stage=5, arms=arms)}))
            handler = table.paths[b"/v2/models/digits/infer"]
            assert handler.joins
            replies = handler.many([Call({}, body(number), clock()) for number in range(20)])
            assert [type(reply) for reply in replies] == [Reply] * 20
            for recorder in table._recorders.each("digits"):
                recorder.rotate()
            _, _, counts = await table.report()
            found = [row.counts for row in counts if row.stage == 5]
            assert [(row.stable.requests, row.canary.requests) for row in found] == [(0, 0)] * 2

    asyncio.run(story())


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (b"/v2/models/digits/infer", {b"x-understudy-target": b"canary"}),
        (b"/v2/models/digits/versions/2/infer", {}),
    ],
)
def test_where_the_canary_is_elsewhere_stable_answers_and_nothing_is_drawn(tmp_path, path, headers):
    async def story() -> None:
        heard = Heard("digits")
        async with local_table(tmp_path, sinks=lambda _: [heard]) as table:
            rollout = parse_one("digits", "{stable: digits/1, canary: {model: digits/2, weight: 5}}", "test")
            placed = {"digits/2": Placed(("another",), 2)}
            served = ServedRollout(rollout, 5, rollout.stable, Target("digits/2"), 5.0, placed=placed)
            await table.apply(Snapshot(2, {"digits": served}).at("this one"))
            for _ in range(20):
                reply = table.paths[b"/v2/models/digits/infer"].one(Call({}, body(1), clock()))
                assert isinstance(reply, Reply)
            with pytest.raises(Unavailable, match="digits/2, stands on other nodes"):
                table.paths[path].one(Call(headers, body(1), clock()))
            await asyncio.sleep(0)
            table.settle()
            _, targets, counts = await table.report()
            assert {each.role for each in targets} == {"stable"}
            row = next(each for each in counts if each.stage == 5)
            assert (row.counts.weight, row.counts.stable.assigned, row.counts.canary.assigned) == (0.1, 0, 0)
            assert [each.drawn for each in heard.offered if not each.refused] == [None] * 20

    asyncio.run(story())


def test_a_control_that_lost_its_memory_begins_a_stage_again(tmp_path):
    async def story() -> None:
        table = table_in(tmp_path)
        await table.apply(snapshot(1, {"a": "canary"}))
        await table.apply(snapshot(2, {"a": "several"}))
        assert [recorder.candidate[:8] for recorder in table._recorders.each("a")] == ["digits/2", "digits/4"]
        await table.apply(snapshot(3, {"a": "canary"}))
        assert [recorder.candidate for recorder in table._recorders.each("a")] == [""]
        await table.stop()
        table._metrics.close()

    asyncio.run(story())
