"""The figures are made by the evidence that decides, and show what the page says of it."""

import sys

import numpy as np

from harness.system import ROOT

sys.path.insert(0, str(ROOT))  # docs is no installed package

from docs.gen.plots import ALPHA, STABLE_FAILS, agreement_paths, crossing, error_paths, quantile

PAGE = ROOT / "docs" / "how-decisions-are-made.md"


def test_proof_without_a_difference_takes_what_the_table_says():
    taken = crossing(agreement_paths(1.0, 1, 200).safe)
    [row] = [line for line in PAGE.read_text().splitlines() if line.startswith("| 5% |")]
    assert int(row.split("|")[3]) == quantile(taken, 0.5) == 109


def test_a_canary_as_good_as_stable_hardly_ever_reaches_the_line_and_a_bad_one_does():
    good = crossing(error_paths(STABLE_FAILS, 100, 5000).harm)
    bad = crossing(error_paths(20 * STABLE_FAILS, 100, 5000).harm)
    assert np.isfinite(good).mean() <= 3 * ALPHA
    assert np.isfinite(bad).all()
    assert quantile(bad, 0.5) < 1000


def test_the_page_shows_both_figures():
    for name in ("evidence-paths", "evidence-delay"):
        assert f"images/{name}.svg" in PAGE.read_text()
        assert (ROOT / f"docs/images/{name}.svg").read_text().rstrip().endswith("</svg>")
