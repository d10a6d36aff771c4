"""What a model cannot be served with, or changes its answers, is a trial that says so and ends no search."""

import numpy as np
import pytest
from graphs import cancelling, put, unary

from serving.models.files.repository import Repository
from understudy.tuning.trials import Choice
from understudy.tuning.trying import Target, Trying


@pytest.fixture
def trying(tmp_path):
    """A model that is tried, with ones as the rows beside it."""

    def trying(graph, config=None):
        put(tmp_path / "models", "m", 1, graph, config)
        np.savez(tmp_path / "models" / "m" / "heldout.npz", inputs=np.ones((2, 3, 1, 1), "f4"))
        (tmp_path / "copy").mkdir()
        return Trying(Repository(tmp_path / "models").find("m", "1"), Target(1.0), tmp_path / "copy", print)

    return trying


def test_batches_of_a_model_whose_rows_cannot_be_joined(trying):
    found = trying(unary("Softmax", axis=0)).measure(Choice(batching=8))
    assert found.rate == 0.0
    assert "rows that run together may change each other's answers" in found.why


def test_a_level_that_changes_answers_is_served_by_nobody(trying):
    tried = trying(cancelling(), "optimization: none\nversions: [1]\nlabels: [a]\n")
    for batching in (None, 8):
        found = tried.measure(Choice(batching=batching, optimization="basic"))
        assert (found.rate, found.why) == (0.0, "answers change: y of 2 of 2 rows")
