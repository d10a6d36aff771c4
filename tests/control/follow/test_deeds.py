"""What MLflow is told of a change, and that telling it again changes nothing."""

import pytest

from control.follow.deeds import Alias, deeds
from control.follow.telling import FORBIDDEN_SECONDS, do, worth_another_try
from control.store.store import Revision
from harness.small_registry import small_registry
from serving.errors import Conflict, Forbidden, InvalidInput, NotFound
from serving.sources.mlflow.api import Registry
from serving.sources.remote import Away

FOLLOW = {"alias": "challenger", "promote": "champion", "model": "digits", "version": 2}


def row(event, number=7, evidence=None, **follow):
    document = {"stable": "digits/1", "follow": {**FOLLOW, **follow}}
    return Revision(number, "shop", document, 1.5, "autopilot", "autopilot", "proven", evidence, event)


def test_a_promotion_moves_the_other_alias_and_marks_the_version():
    due = deeds(row("promoted"), [], "https://u.example.org")
    assert (due.model, due.version, due.alias) == ("digits", "2", Alias("champion", "2"))
    assert dict(due.tags) == {
        "understudy.result": "promoted",
        "understudy.rollout": "shop",
        "understudy.reason": "proven",
        "understudy.evidence": "https://u.example.org/v1/rollouts/shop/history?limit=1&before=8",
        "understudy.revision": "7",
        "understudy.at": "1970-01-01T00:00:01.500+00:00",
    }
    assert due.tags[-2:] == due.mark


@pytest.mark.parametrize(
    ("older", "before"),
    [
        ([row("promoting", 6, {"verdict": "proven"}), row("started", 5)], 7),
        ([row("edited", 6), row("step", 4, {"verdict": "proven"}), row("started", 3)], 5),
        ([row("promoting", 6), row("started", 5), row("promoted", 4, {"verdict": "proven"})], 8),
    ],
)
def test_the_link_leads_to_the_last_evidence_of_this_version_or_to_the_change_itself(older, before):
    link = dict(deeds(row("promoted"), older, "https://u").tags)["understudy.evidence"]
    assert link == f"https://u/v1/rollouts/shop/history?limit=1&before={before}"


def test_a_rollback_tags_and_moves_no_alias_unless_it_undoes_a_promotion():
    assert deeds(row("rolled_back"), [row("step"), row("started")], None).alias is None
    undone = deeds(row("rolled_back"), [row("cooled"), row("promoted")], None)
    assert undone.alias == Alias("champion", "1", only_from="2")
    assert "understudy.evidence" not in dict(undone.tags)


@pytest.mark.parametrize("event", ["started", "step", "edited", "paused", None])
def test_of_other_changes_nothing_is_told(event):
    assert deeds(row(event), [], None) is None


def test_of_a_rollout_that_follows_nothing_nothing_is_told():
    assert deeds(row("promoted", version=None), [], None) is None
    plain = Revision(1, "shop", {"stable": "digits/1"}, 0.0, "a", "api", "r", None, "promoted")
    assert deeds(plain, [], None) is None


@pytest.fixture
def registry():
    with small_registry() as small:
        small.move("digits", "champion", 1)
        small.move("digits", "challenger", 2)
        yield small


def test_what_was_done_is_not_done_again_so_a_person_who_moved_the_alias_since_is_not_overruled(registry):
    client, due = Registry(registry.url, environ={}), deeds(row("promoted"), [], None)
    do(due, client)
    assert registry.aliases["digits"]["champion"] == "2"
    assert registry.versions["digits", "2"]["understudy.result"] == "promoted"
    registry.move("digits", "champion", 1)
    do(due, client)
    assert registry.aliases["digits"]["champion"] == "1"
    client.close()


def test_what_broke_off_half_way_is_done_whole_the_next_time(registry):
    client, due = Registry(registry.url, environ={}), deeds(row("promoted"), [], None)
    registry.versions["digits", "2"]["understudy.result"] = "promoted"
    do(due, client)
    assert dict(due.tags) == registry.versions["digits", "2"]
    client.close()


def test_an_undone_promotion_moves_the_alias_back_only_from_where_it_was_put(registry):
    client = Registry(registry.url, environ={})
    registry.move("digits", "champion", 2)
    do(deeds(row("rolled_back", 8), [row("promoted")], None), client)
    assert registry.aliases["digits"]["champion"] == "1"
    registry.move("digits", "champion", 5)
    do(deeds(row("rolled_back", 9), [row("promoted")], None), client)
    assert registry.aliases["digits"]["champion"] == "5"
    client.close()


def test_a_version_that_is_gone_and_a_server_that_is_away_are_told_apart(registry):
    client = Registry(registry.url, environ={})
    with pytest.raises(NotFound):
        do(deeds(row("promoted", version=9), [], None), client)
    registry.away = True
    with pytest.raises(Away):
        do(deeds(row("promoted"), [], None), client)
    client.close()


def test_what_is_forbidden_holds_up_the_rest_for_a_while_only_and_an_absence_for_as_long_as_it_lasts():
    assert worth_another_try(Away("away"), 1e9)
    assert worth_another_try(Forbidden("not yours"), FORBIDDEN_SECONDS - 1)
    assert not worth_another_try(Forbidden("not yours"), FORBIDDEN_SECONDS)
    for refused in (NotFound("gone"), InvalidInput("no"), Conflict("no")):
        assert not worth_another_try(refused, 0.0)
