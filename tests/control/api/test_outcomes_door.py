"""Outcomes told to a real control plane: taken once, or left out with a reason."""

import gzip
import time

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from control.api.limits import MAX_OUTCOMES_BYTES
from harness.control import Control, controlling, is_problem, own_name
from harness.system import eventually
from harness.told import Stamps
from router.wire.outcomes import Told, written

OUTCOMES = {
    "label": {"output": "label", "within": "1h"},
    "conversion": {"kind": "binary", "within": "1h"},
    "revenue": {"kind": "number", "range": [0, 500], "within": "1h"},
}
DOCUMENT = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 10, "mirror": 10},
    "outcomes": OUTCOMES,
    "guards": {"conversions": {"outcome": "conversion", "maxDrop": "5%"}},
}


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    with controlling(tmp_path_factory.mktemp("outcomes")) as running:
        yield running


@pytest.fixture(scope="module")
def stamps(control):
    return Stamps(control)


@pytest.fixture
def model(request, control) -> str:
    name = own_name(request.node.name)
    control.put(name, DOCUMENT).raise_for_status()
    return name


def tell(control, content, path="/v1/outcomes", **headers):
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return control.client.post(path, content=body, headers=headers)


def taken(answer) -> tuple[int, dict]:
    answer.raise_for_status()
    found = answer.json()
    return found["accepted"], found["left_out"]


def test_an_outcome_is_taken_once_however_it_is_told(control, stamps, model):
    receipt = stamps.make(model, 1, "canary", time.time())
    one = {"receipt": receipt, "name": "conversion", "value": True}
    assert taken(tell(control, one)) == (1, {})
    assert taken(tell(control, [one, {**one, "name": "revenue", "value": 30}])) == (1, {"duplicate": 1})
    lines = b"\n".join(orjson.dumps({**one, "name": name, "value": 1}) for name in ("label", "revenue"))
    compressed = gzip.compress(lines)
    assert taken(tell(control, compressed, **{"content-encoding": "gzip"})) == (1, {"duplicate": 1})


def test_what_is_left_out_is_counted_with_a_reason_and_examples(control, stamps, model):
    now = time.time()
    good = stamps.make(model, 1, "stable", now)
    told = [
        {"receipt": good, "name": "conversion", "value": 1},
        {"receipt": good, "name": "conversion", "value": 1},
        {"receipt": good, "name": "nothing", "value": 1},
        {"receipt": good, "name": "revenue", "value": 501},
        {"receipt": stamps.make(model, 1, None, now), "name": "conversion", "value": 1},
        {"receipt": stamps.make(model, 1, "stable", now - 3601.0), "name": "conversion", "value": 1},
        {"receipt": stamps.make(model, 1, "stable", now + 3600.0), "name": "conversion", "value": 1},
        {"receipt": stamps.make("nobody", 1, "stable", now), "name": "conversion", "value": 1},
        {"receipt": stamps.make(model, 7, "stable", now), "name": "conversion", "value": 1},
        {"receipt": "x" * 72, "name": "conversion", "value": 1},
        {"model": model, "key": "anna", "time": now, "name": "conversion", "value": 1},
    ]
    answer = tell(control, told).raise_for_status().json()
    reasons = [
        "duplicate",
        "outcome",
        "value",
        "not_drawn",
        "late",
        "early",
        "rollout",
        "rollout",
        "receipt",
        "ambiguous",
    ]
    assert answer["accepted"] == 1
    assert [example["reason"] for example in answer["examples"]] == reasons
    assert [example["line"] for example in answer["examples"]] == list(range(2, 12))
    assert answer["left_out"] == {reason: reasons.count(reason) for reason in reasons}
    assert "no `sticky`" in answer["examples"][-1]["words"]
    samples = [
        sample
        for family in text_string_to_metric_families(control.client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "understudy_outcomes_total" and sample.labels["model"] == model
    ]
    counted = {(s.labels["outcome"], s.labels["result"]): s.value for s in samples}
    assert counted["conversion", "accepted"] == counted["conversion", "duplicate"] == 1
    assert counted["", "outcome"] == counted["revenue", "value"] == 1


def test_a_user_is_attributed_by_the_draw_that_their_key_makes(control, model):
    control.put(model, {**DOCUMENT, "sticky": {"header": "x-user"}}).raise_for_status()
    now = time.time()
    told = {"model": model, "key": "anna", "time": now, "name": "conversion", "value": 1}
    # The draw has just changed: nobody knows how each router drew.
    assert taken(tell(control, told)) == (0, {"ambiguous": 1})
    assert taken(tell(control, {**told, "time": now + 30.0})) == (1, {})
    assert taken(tell(control, {**told, "time": now + 30.0})) == (0, {"duplicate": 1})
    assert taken(tell(control, {**told, "time": now + 30.0, "name": "label"})) == (0, {"receipt": 1})


def test_a_node_says_when_it_took_each(control, stamps, model):
    now = time.time()
    receipt = stamps.make(model, 1, "canary", now - 3700.0)
    body = written([Told("conversion", True, receipt)], now - 200.0)
    assert taken(tell(control, body, "/v1/sync/outcomes")) == (1, {})
    assert taken(tell(control, body, "/v1/sync/outcomes")) == (0, {"duplicate": 1})
    later = written([Told("revenue", 5.0, receipt)], now - 50.0)
    assert taken(tell(control, later, "/v1/sync/outcomes")) == (0, {"late": 1})
    is_problem(
        tell(control, orjson.dumps({"receipt": receipt, "name": "x", "value": 1}), "/v1/sync/outcomes"), 400
    )


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"", "", 400),
        (b"{", "", 400),
        (b'{"name": "x", "value": 1}', "", 400),
        (b"[" + b"1," * 10_001 + b"1]", "", 400),
        (b"x", "gzip", 400),
        (gzip.compress(b"{}", mtime=0)[:-3], "gzip", 400),
        (gzip.compress(b" " * (MAX_OUTCOMES_BYTES + 1)), "gzip", 413),
        (b" " * (MAX_OUTCOMES_BYTES + 1), "", 413),
        (b"{}", "br", 400),
    ],
)
def test_a_request_that_is_not_understood_is_refused_whole(control, body, encoding, status):
    headers = {"content-encoding": encoding} if encoding else {}
    is_problem(tell(control, body, **headers), status)


def test_what_was_told_is_judged_when_it_is_mature_and_a_control_that_was_killed_knows_as_much(tmp_path):
    document = {
        **DOCUMENT,
        "canary": {"model": "digits/2", "weight": 50},
        "outcomes": {"conversion": {"kind": "binary", "within": "2s"}},
    }
    with controlling(tmp_path) as control:
        revision = control.put("digits", document).json()["revision"]
        stamps, now = Stamps(control), time.time()
        told = [
            {
                "receipt": stamps.make("digits", 1, "canary" if n % 2 else "stable", now + n * 1e-3),
                "name": "conversion",
                "value": True,
            }
            for n in range(300)
        ]
        assert taken(tell(control, told)) == (300, {})

        def guard() -> dict:
            found = control.client.get("/v1/rollouts/digits/evidence").json()
            return found["judgement"]["guards"][0] if found["judgement"] else {}

        eventually(lambda: "150 of the canary's answers" in guard().get("reason", ""), "all are judged")
        before = guard()
        assert "150 of stable's" in before["reason"]
        control.process.popen.kill()
        control.process.popen.wait()
        control.start()
        control.wait_ready()
        eventually(lambda: "150 of the canary's answers" in guard().get("reason", ""), "they are known again")
        assert guard()["log_safe"] == pytest.approx(before["log_safe"])
        assert taken(tell(control, told[:10])) == (0, {"late": 10})
        assert control.view("digits")["revision"] >= revision


def test_a_control_that_does_not_lead_takes_nothing(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    environment = {"UNDERSTUDY_DATABASE": f"sqlite:///{tmp_path}/shared.db"}
    with controlling(tmp_path / "a", environment=environment) as first:
        first.put("digits", DOCUMENT).raise_for_status()
        told = {"receipt": Stamps(first).make("digits", 1, "stable", time.time()), "name": "conversion"}
        second = Control(tmp_path / "b", environment=environment)
        try:
            eventually(lambda: second.client.get("/readyz").status_code == 503, "the second is there")
            assert is_problem(second.client.get("/readyz/lead"), 503)["detail"] == "another control leads"
            assert first.client.get("/readyz/lead").status_code == 200
            for path in ("/v1/outcomes", "/v1/sync/outcomes"):
                answer = tell(second, {**told, "value": 1}, path)
                is_problem(answer, 503)
                assert answer.headers["retry-after"] == "1"
                # Kept open, it would bind whoever comes by a balancer of connections to this one.
                assert answer.headers["connection"] == "close"
        finally:
            second.client.close()
            second.process.end()
        assert taken(tell(first, {**told, "value": 1})) == (1, {})
