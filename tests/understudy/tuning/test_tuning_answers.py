"""Levels of optimization that change what a model answers are told, and those that do not are not."""

import numpy as np
import pytest
from graphs import cancelling, linear, put

from serving.models.files.repository import Repository
from understudy.tuning.answers import Answers


@pytest.fixture
def answers(tmp_path):
    """Of a model as it is configured, with rows beside it where there are some."""

    def answers(graph, config, **rows):
        put(tmp_path / "now", "m", 1, graph, config)
        if rows:
            np.savez(tmp_path / "now" / "m" / "heldout.npz", **rows)
        return Answers(Repository(tmp_path / "now").find("m", "1"))

    return answers


def test_a_level_that_changes_answers_is_told_by_output_and_rows(answers, tmp_path):
    rows = np.stack([np.full((3, 1, 1), value, "f4") for value in (1, 0, 1)])
    told = answers(cancelling(), "optimization: none", inputs=rows)
    put(tmp_path / "basic", "m", 1, cancelling(), "optimization: basic")
    put(tmp_path / "refused", "m", 1, b"no model")
    assert told.changed(tmp_path / "basic") == "answers change: y of 2 of 3 rows"
    assert told.changed(tmp_path / "refused") == "m/1 is refused: it is no ONNX file, or a damaged one"


def test_one_that_does_not_is_fine_on_rows_that_are_made_up_where_there_are_none(answers, tmp_path):
    put(tmp_path / "other", "m", 1, linear(), "optimization: basic")
    assert answers(linear(), None).changed(tmp_path / "other") == ""
