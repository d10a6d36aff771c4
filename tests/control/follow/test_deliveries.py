"""Webhooks of MLflow: whom to believe."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.follow.deliveries import MOST_SECONDS, Deliveries
from harness.search import examples
from harness.small_registry import moved_body, signed
from serving.errors import Conflict, InvalidInput, ServingError, Unauthenticated

NOW = 1_790_000_000.0
BODY = moved_body("digits", "challenger", 2)


class Taking:
    """Deliveries with a clock of their own, and what they counted."""

    def __init__(self, *secrets):
        self.now = NOW
        self.counted = []
        self.hooks = Deliveries(secrets or ["s3cret"], self.counted.append, lambda: self.now)

    def take(self, body=BODY, secret="s3cret", **how):
        headers = signed(secret, body, at=how.pop("at", self.now), **how)
        return self.hooks.take({name.lower(): value for name, value in headers.items()}, body)


def test_what_is_signed_is_taken_and_says_of_which_model_it_speaks():
    taking = Taking("old", "s3cret")
    assert taking.take() == "digits"
    assert taking.take(secret="old") == "digits"
    assert taking.take(b"{}") is None
    assert taking.counted == ["taken"] * 3


def test_what_another_secret_signed_is_refused_in_words():
    taking = Taking()
    with pytest.raises(Unauthenticated, match="UNDERSTUDY_MLFLOW_WEBHOOK_SECRET"):
        taking.take(secret="guess")
    with pytest.raises(Unauthenticated, match="a webhook of MLflow has"):
        taking.hooks.take({}, BODY)
    assert taking.counted == ["forged", "forged"]


@pytest.mark.parametrize("off", [-MOST_SECONDS - 1, MOST_SECONDS + 1])
def test_what_was_signed_long_ago_or_ahead_is_refused(off):
    taking = Taking()
    with pytest.raises(Unauthenticated, match="more than 5 minutes ago"):
        taking.take(at=NOW + off)
    assert taking.counted == ["late"]


def test_a_delivery_is_taken_once_for_as_long_as_its_time_would_let_it_in():
    taking = Taking()
    taking.take(id_="a", at=NOW + MOST_SECONDS)
    for taking.now in (NOW, NOW + MOST_SECONDS, NOW + 2 * MOST_SECONDS):
        with pytest.raises(Conflict, match="delivery a was taken already"):
            taking.take(id_="a", at=NOW + MOST_SECONDS)
    taking.now = NOW + 2 * MOST_SECONDS + 1
    with pytest.raises(Unauthenticated):
        taking.take(id_="a", at=NOW + MOST_SECONDS)
    taking.take(id_="b")
    assert len(taking.hooks._taken) == 1


def test_what_is_signed_and_no_json_is_said_so():
    with pytest.raises(InvalidInput, match="no JSON"):
        Taking().take(b"not json")


@settings(max_examples=examples(100))
@given(st.binary(max_size=20), st.sampled_from(["id", "stamp", "signature", "body"]), st.integers(0, 40))
def test_whatever_is_changed_of_a_delivery_it_is_not_taken(extra, what, at):
    taking = Taking()
    headers = {name.lower(): value for name, value in signed("s3cret", BODY, at=NOW, id_="one").items()}
    names = {"id": "x-mlflow-delivery-id", "stamp": "x-mlflow-timestamp", "signature": "x-mlflow-signature"}
    body, text = BODY, extra.decode("latin-1") + "~"
    if what == "body":
        body = BODY[:at] + text.encode() + BODY[at:]
    else:
        headers[names[what]] = headers[names[what]][:at] + text + headers[names[what]][at:]
    with pytest.raises(ServingError):
        taking.hooks.take(headers, body)
    assert taking.counted == ["forged"]
