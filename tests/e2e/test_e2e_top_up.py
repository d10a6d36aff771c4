"""A candidate without live traffic is judged by what was recorded before it came, as the page says."""

import os
import re
import signal

import pytest

from harness.fences import fences
from harness.pilot import Pilot
from harness.rows import body
from harness.shared import repository
from harness.system import ROOT, eventually, running
from router.record.accounts import Accounts, accounts_folder

REQUESTS = 300
OPTIONS = ("--workers", "1", "--records-roll-seconds", "0.2", "--records", "log")
BROKEN = """
broken:
  stable: digits/1
  canary: {model: digits/9, weight: 0, topUp: 500/s}
  guards: {agreement: {output: label, min: 90%}, errors: {max: 50%, mode: observe}}
  record: {}
"""


def page():
    """The two rollout files of the page, and the sentence that it promises."""
    found = list(fences(ROOT / "docs" / "top-up.md"))
    before, after = (fence.text for fence in found if fence.language == "yaml")
    [sentence] = [fence.text.strip() for fence in found if fence.language == "text"]
    told = re.escape(sentence).replace("…", "[0-9.,e+]+")
    ended, rest = "(; no recorded request is run: [^;]*)?", re.escape("; e-value")  # if all were run before
    return before, after, told.replace(rest, ended + rest)


@pytest.fixture(scope="module")
def topped_up(tmp_path_factory):
    """A node whose traffic of two rollouts ended before they got their candidates."""
    folder = tmp_path_factory.mktemp("top-up")
    before, after, _ = page()
    first = before + "broken: {stable: digits/1, record: {}}\n"
    with running(folder, first, models=repository(folder), options=OPTIONS) as up:
        for name in ("digits", "broken"):
            for number in range(REQUESTS):
                reply = up.client.post(f"/v2/models/{name}/infer", content=body(number))
                assert reply.status_code == 200
        accounts = Accounts(accounts_folder(up.folder / "state"))
        eventually(
            lambda: all(account.written == REQUESTS for account in accounts.by_model().values()),
            "all rows are written",
        )
        up.edit(after + BROKEN)
        yield up


def outcomes(up, model):
    """Recorded requests of a rollout, by outcome."""
    found = [each for each in up.samples("understudy_top_up_total") if each.labels["model"] == model]
    return {each.labels["outcome"]: each.value for each in found}


def test_what_was_recorded_proves_agreement_once_and_says_so(topped_up):
    digits = Pilot(topped_up, "digits")
    eventually(lambda: digits.view["serving"]["weight"] == 10, "the proof let the canary go on")
    proofs = [str(row["reason"]) + str(row["evidence"]) for row in digits.history]
    assert any(re.search(page()[2], said) for said in proofs), proofs
    [first] = topped_up.pids("top-up")
    os.kill(first, signal.SIGKILL)

    def says_that_it_is_done():
        return "no further requests" in digits.guard("agreement:label")["reason"]

    eventually(says_that_it_is_done, "another process went on to the end")
    assert topped_up.pids("top-up") != [first]
    found = outcomes(topped_up, "digits")
    assert 46 < found["compared"] <= sum(found.values()) <= REQUESTS
    guard = digits.guard("errors")
    assert (guard["reason"], guard["recorded"]) == ("undecided: no canary request was counted yet", 0)
    assert topped_up.metric("understudy_shadow_total", model="digits", outcome="compared") == 0


def test_a_candidate_that_fails_on_what_was_recorded_is_harmful(topped_up):
    broken = Pilot(topped_up, "broken")
    status = broken.wait_phase("rolled_back")
    assert "harmful" in status["reason"]
    assert re.search("of [0-9]+ comparisons [0-9]+ were of recorded requests", status["reason"])
    found = outcomes(topped_up, "broken")
    assert found["failed"] > 0 == found.get("compared", 0)
