"""A search for the best by a label takes answers that control may keep."""

import pytest

from router.mirror.label_pairs import wanted_outputs
from router.rollout.parser import parse_one
from serving.document import DocumentError

DOCUMENT = """
stable: digits/1
candidates:
  - {model: digits/2, weight: 20, mirror: 50}
  - {model: digits/3, weight: 20, mirror: 50}
outcomes:
  truth: {output: label, within: 7d}
best: {outcome: truth}
"""


def test_its_output_is_paired_without_any_guard():
    assert wanted_outputs(parse_one("digits", DOCUMENT, "test")) == {"label"}


@pytest.mark.parametrize("section", ["record: {redact: [label]}", "examples: {redact: [label]}"])
def test_an_output_that_is_kept_back_is_refused_at_its_place(section):
    with pytest.raises(DocumentError, match=r"truth is the truth for 'label', which is redacted"):
        parse_one("digits", DOCUMENT + section, "test")
    as_other = (DOCUMENT + section).replace("redact: [label]", "redact: [score]")
    assert parse_one("digits", as_other, "test").best is not None
