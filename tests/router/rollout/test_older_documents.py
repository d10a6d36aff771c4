"""What a release before knows of rollout documents, held against its own schema (`recorded`)."""

import json

import jsonschema_rs
import pytest
from hypothesis import given
from test_values import rollouts

from control.store.older import OF_26_NOVEMBER, unknown
from harness.system import ROOT
from router.rollout.parser import to_document

RECORDED = ROOT / "tests" / "router" / "rollout" / "recorded" / "519690d.schema.json"
FIXED = {"canary": {"model": "digits/2", "weight": 10}}
ERRORS = {"guards": {"errors": {"maxRatio": 2}}}


@pytest.fixture(scope="module")
def understood():
    """Whether that release's schema lets a rollout pass."""
    validator = jsonschema_rs.validator_for(json.loads(RECORDED.read_text()))
    return lambda document: validator.is_valid({"digits": document})


@given(rollouts())
def test_a_document_of_which_every_key_is_known_is_one_of_that_release(understood, rollout):
    document = to_document(rollout)
    assert understood(document) == (not list(unknown(document, OF_26_NOVEMBER.document)))


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({**FIXED, **ERRORS}, []),
        ({"canary": {"model": "m/2", "steps": [{"pause": {}}, {"approve": {}}]}}, ["canary.steps.approve"]),
        ({"canary": {"model": "m/2", "url": "http://a", "server": {"timeout": "1s"}}}, ["canary.server"]),
        ({"guards": {"speed": {"min": 1.3}}}, ["guards.speed"]),
        ({"guards": {"drift": {"output": "label", "max": 0.1}}}, ["guards.drift"]),
        ({"guards": {"bought": {"outcome": "bought", "maxDrop": 0.1}}}, ["guards.bought"]),
        ({"compare": {"label": "exact", "scores": {"mse": 1}}}, ["compare.scores.mse"]),
        ({"record": {"sample": 100}, "candidates": [{"model": "m/2"}]}, ["record", "candidates"]),
    ],
)  # fmt: skip
def test_what_is_not_known_is_named_with_its_place(document, found):
    assert list(unknown({"stable": "digits/1", **document}, OF_26_NOVEMBER.document)) == found
