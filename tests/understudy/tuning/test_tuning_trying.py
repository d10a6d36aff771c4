"""What a model cannot be served with is a trial that says so, and ends no search."""

from graphs import cancelling, put, unary

from serving.models.files.repository import Repository
from understudy.tuning.trials import Choice
from understudy.tuning.trying import Target, Trying


def trying(tmp_path, graph, config):
    put(tmp_path / "models", "m", 1, graph, config)
    (tmp_path / "copy").mkdir()
    return Trying(Repository(tmp_path / "models").find("m", "1"), Target(1.0), tmp_path / "copy", print)


def test_batches_of_a_model_whose_rows_cannot_be_joined(tmp_path):
    found = trying(tmp_path, unary("Softmax", axis=0), None).measure(Choice(batching=8))
    assert found.rate == 0.0
    assert "rows that run together may change each other's answers" in found.why


def test_a_level_that_changes_answers_is_served_by_nobody(tmp_path):
    tried = trying(tmp_path, cancelling(), "optimization: none\nversions: [1]\nsha256: {2: " + "0" * 64 + "}")
    for batching in (None, 8):
        found = tried.measure(Choice(batching=batching, optimization="basic"))
        assert (found.rate, found.why) == (0.0, "answers change: y of 16 of 16 rows")
