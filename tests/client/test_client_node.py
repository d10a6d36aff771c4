"""Both clients against a node of which the processes run: answers, targets, receipts, outcomes, errors."""

import asyncio
import time

import numpy as np
import pandas as pd
import pytest

import understudy_client as us
from harness.pilot import piloted
from harness.rows import digits, outputs_of
from harness.system import eventually

SHOP = {
    "stable": "digits/1",
    "canary": {"model": "digits/2", "weight": 20},
    "sticky": {"header": "x-user-id"},
    "outcomes": {
        "conversion": {"kind": "binary", "within": "1h"},
        "label": {"output": "label", "within": "7d"},
    },
}
SECONDS = 60.0


@pytest.fixture(scope="module")
def client(node):
    with us.Client(node.url, sticky="x-user-id", timeout=SECONDS, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def shop(node):
    """A canary with outcomes under a name of its own, both sides of which are ready."""
    with piloted(node, "client-shop", SHOP) as pilot:
        eventually(pilot.ready, "the canary is ready")
        yield pilot


@pytest.mark.parametrize("binary", [True, False, None])
def test_answers_are_those_of_the_model(client, binary):
    answer = client.infer("digits", digits()[:7], binary=binary)
    expected = outputs_of("digits/1")
    assert list(answer.outputs) == ["label", "probabilities"]
    assert answer["label"].tolist() == expected["label"][:7].tolist()
    assert np.allclose(answer["probabilities"], expected["probabilities"][:7], atol=1e-6)
    assert (answer["label"].dtype, answer["probabilities"].dtype) == (np.int64, np.float32)
    assert (answer.model_name, answer.model_version, answer.target) == ("digits", "1", "digits/1")
    assert answer.receipt is None


def test_metadata_says_what_the_model_takes_and_gives(client):
    found = client.metadata("digits")
    assert found.name == "digits"
    assert found.inputs == (us.TensorSpec("pixels", "FP32", (-1, 64)),)
    assert [spec.name for spec in found.outputs] == ["label", "probabilities"]
    assert client.metadata("digits", version="1").versions == ("1",)


def test_rows_come_as_lists_columns_or_a_dataframe(client):
    rows = digits()[:3].astype(np.float64)
    frame = pd.DataFrame(rows, columns=[f"p{number}" for number in range(64)])
    labels = outputs_of("digits/1")["label"][:3].tolist()
    for inputs in (rows, rows.tolist(), {"pixels": rows}, frame):
        answer = client.infer("digits", inputs, outputs=["label"])
        assert list(answer.outputs) == ["label"]
        assert answer["label"].tolist() == labels


def test_what_does_not_fit_is_said_before_anything_is_sent(client, node):
    before = node.metric("understudy_requests_total", model="digits")
    for inputs in (digits()[0], {"pixel": digits()[:1]}, [["a"] * 64], {"pixels": np.ones((1, 63))}):
        with pytest.raises(us.InvalidData):
            client.infer("digits", inputs)
    with pytest.raises(us.InvalidData, match=r"no output 'labels'; it gives: 'label' INT64 \[-1\]"):
        client.infer("digits", digits()[:1], outputs="labels")
    assert node.metric("understudy_requests_total", model="digits") == before


def test_a_target_can_be_named_and_answers_say_who_gave_them(client, shop):
    for target, expected in (("canary", "digits/2"), ("stable", "digits/1"), ("digits/2", "digits/2")):
        answer = client.infer(shop.model, digits()[:1], target=target)
        assert answer.target == expected
        with pytest.raises(us.OutcomeLeftOut, match="not_drawn") as left_out:  # a named one is no draw
            answer.outcome("conversion", 1)
        assert left_out.value.reason == "not_drawn"
    assert client.infer(shop.model, digits()[:1], version="2").target == "digits/2"
    with pytest.raises(us.InvalidRequest, match="'nobody' is not a target"):
        client.infer(shop.model, digits()[:1], target="nobody")


def test_a_user_is_always_answered_by_the_same_side(client, shop):
    sides = {f"u{n}": client.infer(shop.model, digits()[:1], key=f"u{n}").target for n in range(40)}
    assert set(sides.values()) == {"digits/1", "digits/2"}
    again = {key: client.infer(shop.model, digits()[:1], key=key).target for key in sides}
    assert again == sides


def test_outcomes_are_told_by_answers_and_by_receipts_that_were_kept(client, shop):
    row = {row["name"]: row for row in shop.view["outcomes"]}
    before = {name: row[name]["taken"] for name in row}
    answer = client.infer(shop.model, digits()[:1], key="buyer", request_id="order 17")
    assert answer.request_id == "order 17"
    answer.outcome("conversion", True)
    client.outcome(us.Outcome("label", answer["label"][0], receipt=answer.receipt))
    told = client.outcomes(
        [
            {"receipt": answer.receipt, "name": "conversion", "value": 2},
            us.Outcome("conversion", 1, receipt="x" * 72),
            us.Outcome("returned", 1, receipt=answer.receipt),
        ]
    )
    assert (told.accepted, told.left_out) == (0, {"value": 1, "receipt": 1, "outcome": 1})
    assert [example.number for example in told.examples] == [1, 2, 3]

    def at_control():
        return {row["name"]: row["taken"] - before[row["name"]] for row in shop.view["outcomes"]}

    eventually(lambda: at_control() == {"conversion": 1, "label": 1}, "control has both")


def test_users_are_called_as_in_any_language(client, shop):
    target = client.infer(shop.model, digits()[:1], key="Jürg 𝔘").target
    assert client.infer(shop.model, digits()[:1], key="Jürg 𝔘").target == target
    by_user = us.Outcome("conversion", 1, model=shop.model, key="Jürg 𝔘", time=time.time())
    assert client.outcomes([by_user]).accepted == 1


def test_more_outcomes_than_a_request_takes_are_told_in_several(client, shop):
    outcomes = [us.Outcome("conversion", 1, receipt=f"{number:072d}") for number in range(10_001)]
    told = client.outcomes(outcomes)
    assert (told.accepted, told.left_out) == (0, {"receipt": 10_001})
    assert told.examples[-1].number == 10_001
    assert client.outcomes([]) == us.OutcomesTaken()


def test_an_answer_of_a_rollout_without_outcomes_says_so(client):
    with pytest.raises(us.NoReceipt, match="neither 'outcomes' nor 'record'"):
        client.infer("digits", digits()[:1]).outcome("conversion", 1)


def test_errors_of_the_server_are_exceptions_in_its_words(client, node):
    with pytest.raises(us.NotFound, match="unknown model 'nothing'") as unknown:
        client.infer("nothing", digits()[:1])
    assert unknown.value.status == 404
    with pytest.raises(us.NotFound):
        client.metadata("digits", version="77")
    with pytest.raises(us.NotOffered, match="sequence_id") as refused:
        client.infer("digits", digits()[:1], parameters={"sequence_id": 7}, request_id="r-1")
    assert (refused.value.status, refused.value.request_id) == (501, "r-1")
    with piloted(node, "client-failing", {"stable": "digits/9", "record": {"sample": "100%"}}) as pilot:
        eventually(pilot.ready, "it is ready")
        with pytest.raises(us.StatusError) as failed:
            client.infer(pilot.model, digits()[:1])
        assert failed.value.status >= 400
        assert len(failed.value.receipt) == 72


def test_what_is_known_of_a_model_is_asked_again_when_the_server_refuses(node, client):
    with piloted(node, "client-changing", {"stable": "digits/1"}) as pilot:
        eventually(pilot.ready, "it is ready")
        client.infer(pilot.model, digits()[:1])
        pilot.put({"stable": "iris/1"})
        eventually(pilot.ready, "it is another model")
        with pytest.raises(us.InvalidRequest, match="pixels"):
            client.infer(pilot.model, digits()[:1])
        assert client.infer(pilot.model, [[5.1, 3.5, 1.4, 0.2]])["label"].shape == (1,)


def test_a_model_or_the_server_is_ready_or_not(client, node):
    assert client.ready()
    assert client.ready("digits")
    with pytest.raises(us.NotFound):
        client.ready("nothing")


def test_what_cannot_be_a_header_is_refused_and_keys_need_one(node, client):
    for options in (
        {"key": "a\r\nb"},
        {"target": "ü\n"},
        {"headers": {"a b": "c"}},
        {"request_id": "x" * 129},
    ):
        with pytest.raises(us.InvalidData, match=r"header|request_id"):
            client.infer("digits", digits()[:1], **options)
    with us.Client(node.url, trust_env=False) as plain, pytest.raises(us.InvalidData, match="sticky"):
        plain.infer("digits", digits()[:1], key="anna")


@pytest.mark.parametrize(
    "options", [{"url": "localhost:8000"}, {"url": 7}, {"timeout": 0}, {"retries": -1}, {"sticky": "a b"}]
)
def test_options_that_are_none_are_refused_at_once(options):
    with pytest.raises(us.InvalidData):
        us.Client(**options)


def test_the_async_client_does_the_same_many_at_a_time(node, shop):
    async def work():
        async with us.AsyncClient(node.url, sticky="x-user-id", timeout=SECONDS, trust_env=False) as client:
            answers = await asyncio.gather(
                *(client.infer(shop.model, digits()[n : n + 1], key=f"a{n}") for n in range(50))
            )
            assert await client.ready(shop.model)
            assert (await client.metadata(shop.model)).inputs[0].name == "pixels"
            await answers[0].outcome("conversion", True)
            await client.outcome(us.Outcome("label", 1, receipt=answers[1].receipt))
            told = await client.outcomes([us.Outcome("conversion", 7, receipt=answers[2].receipt)])
            with pytest.raises(us.NotFound):
                await client.infer("nothing", digits()[:1])
            with pytest.raises(us.OutcomeLeftOut, match="value"):
                await answers[3].outcome("conversion", 7)
            return answers, told

    answers, told = asyncio.run(work())
    for number, answer in enumerate(answers):
        assert answer["label"].tolist() == outputs_of(answer.target)["label"][number : number + 1].tolist()
    assert told.left_out == {"value": 1}
