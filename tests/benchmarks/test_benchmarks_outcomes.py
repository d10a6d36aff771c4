"""The simulations of outcomes: how cells are made, and that the page is what the figures say."""

import json
import sys

import numpy as np
import pytest

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # benchmarks is no installed package

from benchmarks.outcomes import labels, report
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
