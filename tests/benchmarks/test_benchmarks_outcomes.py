"""The simulations of outcomes: how cells are made, and that the page is what the figures say."""

import json
import sys

import numpy as np
import pytest

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.outcomes import labels, report, segments
from benchmarks.outcomes.cells import LINE, Cell, cell, first_look, mean_over_bets
from control.judging.evidence import bets_test
from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets, superiority_test

DOCS = ROOT / "docs" / "benchmarks"


def committed() -> dict[str, list[dict]]:
    return json.loads((DOCS / "outcomes.json").read_text(encoding="utf-8"))


def test_the_page_is_what_the_figures_say() -> None:
    assert report.page(committed()) == (DOCS / "outcomes.md").read_text(encoding="utf-8")


def test_errors_are_as_rare_as_they_have_to_be() -> None:
    cells = [Cell(**values) for part in committed().values() for values in part]
    assert [each for each in cells if not each.holds] == []
    assert sum(each.null and each.used for each in cells) > 30


def test_the_first_look_over_the_line_counts_in_units() -> None:
    over = np.array([[False, True, True], [False, False, False], [True, False, False]])
    assert first_look(over).tolist() == [2, np.inf, 1]
    assert first_look(over, 20).tolist() == [40, np.inf, 20]
    assert first_look(over, np.array([[1, 2, 5], [1, 1, 1], [7, 8, 9]])).tolist() == [2, np.inf, 7]


def test_a_cell_says_what_crossed_and_when() -> None:
    found = cell(np.array([10.0, 30.0, np.inf, 20.0]), "case", "harm", "labels", null=True)
    assert (found.crossed, found.median, found.p95, found.holds) == (0.75, 20.0, None, False)
    assert cell(np.array([np.inf]), "case", "harm", "labels", null=True).median is None


def test_means_of_paths_are_those_of_the_test() -> None:
    steps = np.random.default_rng(1).normal(size=(3, 2, 5))
    np.testing.assert_allclose(mean_over_bets([*steps]), bets_test(steps.cumsum(axis=2)))


@pytest.mark.parametrize("margin", [0.01, 0.2])
def test_paths_of_labels_cross_where_the_tests_do(monkeypatch, margin) -> None:
    monkeypatch.setattr(labels, "LABELS", 400)
    gains = labels._gains(np.random.default_rng(2), 6, -0.3, 0.6)
    found = labels._margin(gains, margin) | {"inferior": labels._mcnemar(gains)["harm"]}
    tests = {
        "harm": lambda counts: accuracy_bets(counts, margin).evidence().harm,
        "safe": lambda counts: accuracy_bets(counts, margin).evidence().safe,
        "inferior": lambda counts: superiority_test(counts).harm,
    }
    for run, of in enumerate(gains):
        kinds = [PairedLabels(*(float((of[:n] == gain).sum()) for gain in (1, 0, -1))) for n in range(1, 401)]
        for name, test in tests.items():
            over = [n for n, counts in enumerate(kinds, 1) if test(counts) >= LINE]
            assert found[name][run] == min(over, default=np.inf)


def test_the_guard_of_segments_finds_what_the_guard_of_all_traffic_cannot_see() -> None:
    """Whole runs through the judge; the committed figures are of a hundred."""
    rates = np.array([10.0] + [1.0] * (segments.GROUPS - 1))
    found = segments._judged(np.random.default_rng(3), rates)
    assert found[segments.OF_ALL] == np.inf
    assert 100 <= found[segments.OF_SEGMENTS] <= 600
    cells = {(each["case"], each["test"]): each for each in committed()["segments"]}
    for times, crossed, median in ((5, 0.95, 934), (10, 1.0, 242)):
        case = f"one of 20 segments fails {times} times as often"
        assert cells[case, f"{segments.OF_ALL}, as judged"]["crossed"] == 0.0
        judged = cells[case, f"{segments.OF_SEGMENTS}, as judged"]
        assert judged["crossed"] >= crossed
        # Restarts halve the stake, and a look is after 20 errors: later than specified, by less than a third.
        assert median - segments.ERRORS_A_LOOK <= judged["median"] <= 1.33 * median


def test_what_is_judged_are_the_errors_that_were_drawn() -> None:
    errors = np.array([[3, 0, 1], [7, 0, 0]])
    counts = segments.counts_of(errors)
    assert {value: found[:2] for value, found in counts.segments.items()} == {
        "country 0": (3, 7),
        "country 2": (1, 0),
    }
    assert (counts.canary.errors, counts.stable.errors) == (4, 7)
