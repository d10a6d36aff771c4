import json
import threading

import pytest

from harness.control import CANARY, STABLE, controlling


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with controlling(tmp_path_factory.mktemp("events")) as running:
        yield running


def test_each_change_is_told_once_in_order_to_every_reader(control):
    heard: list[list[dict]] = [[], []]
    listening = threading.Barrier(3)

    def listen(events: list[dict]) -> None:
        with control.client.stream("GET", "/v1/events", timeout=30.0) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            assert next(lines) == "retry: 1000"
            listening.wait(30)
            event: dict = {}
            for line in lines:
                field, _, value = line.partition(": ")
                if field in ("id", "event", "data"):
                    event[field] = value
                elif not line and event:
                    events.append(event)
                    event = {}
                if len(events) == 4:
                    return

    readers = [threading.Thread(target=listen, args=(events,)) for events in heard]
    for reader in readers:
        reader.start()
    listening.wait(30)
    revisions = [control.put("digits", document).json()["revision"] for document in (STABLE, CANARY)]
    revisions.append(control.act("digits", "abort", reason="no good").json()["revision"])
    control.client.delete("/v1/rollouts/digits").raise_for_status()
    for reader in readers:
        reader.join(30)
        assert not reader.is_alive()
    assert heard[0] == heard[1]
    assert [event["event"] for event in heard[0]] == ["edited", "started", "rolled_back", "deleted"]
    assert [int(event["id"]) for event in heard[0]] == [*revisions, revisions[-1] + 1]
    told = json.loads(heard[0][2]["data"])
    assert (told["model"], told["actor"]) == ("digits", "local")
    assert "no good" in told["reason"]
    assert "digits/1 is stable" in told["status"]


def test_a_reader_that_goes_away_harms_nobody(control):
    with control.client.stream("GET", "/v1/events") as answer:
        assert answer.status_code == 200
    assert control.put("other", STABLE).status_code == 200
