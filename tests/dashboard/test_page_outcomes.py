"""The page in a real browser, while outcomes decide: the rollout of the tutorial on outcomes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import httpx
import numpy as np
import pytest

from harness.system import MODELS, eventually, running

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

STABLE = """
digits:
  stable: digits/3
  outcomes: {corrected: {kind: binary, better: lower, within: 5s}, label: {output: label, within: 1h}}
"""
CANARY = """
digits:
  stable: digits/3
  canary:
    model: digits/2
    mirror: 100
    steps: [{setWeight: 50}, {prove: {}}, {pause: {}}]
  outcomes: {corrected: {kind: binary, better: lower, within: 5s}, label: {output: label, within: 1h}}
  guards:
    corrections: {outcome: corrected, maxRise: 5%}
    accuracy: {outcome: label, margin: 2%}
    agreement: {output: label, min: 96%, per: body, mode: observe}
  alpha: 5%
"""
A_TURN = 50


@pytest.fixture(scope="module")
def up(tmp_path_factory, browser):  # without a browser nothing is started
    with running(tmp_path_factory.mktemp("outcomes"), STABLE) as found:
        yield found


@contextmanager
def corrected_by_people(up) -> Iterator[None]:
    """Requests whose truth is known: a wrong answer is corrected at once, and each is labelled."""
    ended, faults = threading.Event(), []
    with np.load(MODELS / "digits/heldout.npz") as rows:
        inputs, labels = rows["inputs"], rows["labels"]

    def ask(client: httpx.Client, row: int) -> list[dict]:
        pixels = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": inputs[row].tolist()}
        answer = client.post("/v2/models/digits/infer", json={"inputs": [pixels]}).raise_for_status()
        receipt, truth = answer.headers["x-understudy-receipt"], int(labels[row])
        told = [{"receipt": receipt, "name": "label", "value": truth}]
        if answer.json()["outputs"][0]["data"] != [truth]:
            told.append({"receipt": receipt, "name": "corrected", "value": True})
        return told

    def send() -> None:
        try:
            with httpx.Client(base_url=up.url, timeout=30, trust_env=False) as client:
                rows = count()
                while not ended.is_set():
                    turn = [ask(client, next(rows) * 7 % len(labels)) for _ in range(A_TURN)]
                    told = [outcome for outcomes in turn for outcome in outcomes]
                    client.post("/v1/outcomes", json=told).raise_for_status()
        except Exception as error:  # noqa: BLE001  (told below, in the test's own thread)
            faults.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not faults


def test_outcomes_are_seen_to_wait_to_be_told_and_to_decide(up, opened):
    page = opened(up.admin_url)
    page.set_default_timeout(60_000)
    with corrected_by_people(up):
        eventually(lambda: outcome(up, "corrected")["taken"] > 0, "outcomes are told")
        up.edit(CANARY)
        eventually(lambda: up.view("digits")["serving"]["weight"] == 50, "the canary answers")
        page.evaluate("() => { location.hash = '#/rollouts/digits' }")
        corrections = guard(page, "corrections")
        expect(corrections.locator(".chip")).to_have_text("Undecided", timeout=60_000)
        row = page.locator("[data-outcome='corrected']")
        expect(row.locator("td").nth(3)).to_contain_text("the first until", timeout=60_000)
        for name in ("corrections", "accuracy"):
            expect(guard(page, name).locator(".chip")).to_have_text("Proven", timeout=120_000)
        expect(corrections.locator(".effect")).to_contain_text("of stable's (")
        expect(corrections.locator(".why")).to_contain_text("of the canary's answers")
        expect(page.locator("[data-labels='accuracy']")).to_contain_text("labels held against both answers")
        expect(guard(page, "agreement:label").locator(".chip")).to_have_text(
            "Harmful, observed only", timeout=60_000
        )
        page.get_by_role("button", name="Resume").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Why").fill("people correct it less")
        dialog.get_by_role("button", name="Resume").click()
        expect(page.locator(".titled .chip").first).to_have_text("Promoted", timeout=60_000)
    expect(page.locator(".history")).to_contain_text("digits/2 took over from digits/3", timeout=60_000)


def test_what_is_left_out_is_shown_with_its_reason(up, opened):
    pixels = {"name": "pixels", "datatype": "FP32", "shape": [1, 64], "data": [0] * 64}
    answer = up.client.post("/v2/models/digits/infer", json={"inputs": [pixels]}).raise_for_status()
    told = {"receipt": answer.headers["x-understudy-receipt"], "name": "corrected", "value": 7}
    assert up.admin.post("/v1/outcomes", json=told).json()["left_out"] == {"value": 1}
    page = opened(up.admin_url)
    page.evaluate("() => { location.hash = '#/rollouts/digits' }")
    row = page.locator("[data-outcome='corrected'] td")
    expect(row.nth(4)).to_contain_text("1 no value of it", timeout=60_000)


def outcome(up, name: str) -> dict:
    """What the API says of one outcome."""
    return next(row for row in up.view("digits")["outcomes"] if row["name"] == name)


def guard(page, name: str):
    """The row of a guard."""
    return page.locator(".guards > li").filter(has=page.get_by_role("heading", name=name, exact=True))
