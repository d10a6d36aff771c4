"""Which configurations are tried, when one is taken, and how it stands in config.yaml."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.document import DocumentError
from understudy.tuning.trials import BATCHES, LEVELS, Choice, Trial, tried
from understudy.tuning.written import entered


def search(rates, cpus=2, most=100, there=Choice()):  # noqa: B008  (immutable)
    """Tries with these rates, by configuration."""
    asked = []

    def measure(choice):
        asked.append(choice)
        return Trial(choice, rates(choice))

    return tried(cpus, there, measure, lambda: len(asked) < most)


def test_one_setting_after_the_other_each_with_the_best_before():
    found = search(lambda at: 100 + 50 * (at.threads == 2) + 50 * (at.batching == 8))
    assert found.whole
    assert [trial.choice.words() for trial in found.trials] == [
        "as it is",
        "threads 1",
        "threads 2",
        *(f"threads 2, optimization {level}" for level in LEVELS),
        *(f"threads 2, batching {most}" for most in BATCHES),
        "threads 2, batching 8, execution inline",
        "threads 2, batching 8, execution pooled",
        "as it is",
    ]
    assert found.best.choice == Choice(2, 8)


def test_what_is_set_is_not_tried_a_second_time_by_its_own_name():
    found = search(lambda _at: 100, there=Choice(1, "auto", "pooled", "all"))
    assert [trial.choice.words() for trial in found.trials] == [
        "as it is",
        "threads 2",
        "optimization basic",
        "optimization extended",
        "batching 1",
        "batching 8",
        "batching 32",
        "execution inline",
    ]


def test_what_is_a_little_better_is_not_taken():
    found = search(lambda at: 100 + 9 * (at.threads == 2))
    assert found.best.choice == Choice()


def test_what_does_nothing_beside_what_helps_is_not_taken_with_it():
    found = search(lambda at: 100 * (1 + 0.08 * (at.threads == 2) + 0.5 * (at.execution == "pooled")))
    assert found.best.choice == Choice(execution="pooled")
    assert found.better


def test_a_machine_that_was_busy_at_first_makes_nothing_better():
    rates = iter([10, *[100] * 11, 100])
    found = search(lambda _at: next(rates))
    assert found.best.choice == Choice()


def test_none_that_keeps_the_target_is_none_and_time_ends_the_search():
    found = search(lambda _at: 0, most=2)
    assert (found.best, found.whole, len(found.trials)) == (None, False, 2)


TEXT = """# ours
versions: all   # every one
batching: {independent: true}
labels: ["a", "b"]
"""


def test_comments_and_other_settings_stay_and_figures_come_above():
    written = entered(TEXT, Choice(2, 8, "pooled", "basic"), "by tune\n900/s")
    assert written.startswith("# ours\nversions: all   # every one\n# by tune\n# 900/s\nbatching:")
    assert "independent: true, max: 8" in written
    assert written.endswith('labels: ["a", "b"]\nthreads: 2\noptimization: basic\nexecution: pooled\n')
    assert entered(written, Choice()) == written


@given(
    st.none() | st.integers(1, 64),
    st.sampled_from([None, "auto", 1, 32]),
    st.sampled_from([None, "inline", "pooled"]),
    st.sampled_from([None, *LEVELS]),
)
def test_whatever_is_chosen_can_be_read_back(threads, batching, execution, optimization):
    for text in ("", TEXT, "threads: 1\n"):
        entered(text, Choice(threads, batching, execution, optimization), "a comment")


def test_what_cannot_be_read_is_not_written():
    with pytest.raises(DocumentError, match="unknown key"):
        entered("thread: 2\n", Choice(2))
