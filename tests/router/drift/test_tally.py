"""What travels of a histogram: nothing is lost, and it adds as the histogram does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drift.histograms import of_categories, of_numbers
from router.drift.tally import Tally, over_bins_of, tally_of
from router.wire.drift_report import TallyReport
from router.wire.drift_telling import _tally, heard
from serving.errors import InvalidInput

numbers = st.lists(st.floats(-1e100, 1e100) | st.just(np.nan), min_size=1, max_size=30)
words = st.lists(st.none() | st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=30)


@given(numbers, numbers, words, words)
def test_it_comes_back_over_the_same_bins_and_adds(ref, values, known, texts):
    references = [of_categories(known)]
    if np.isfinite(ref).any():
        references.append(of_numbers(np.array(ref)))
    for reference, now in zip(references, (texts, np.array(values)), strict=False):
        counted = reference.empty.counted(now)
        tally = tally_of(counted)
        assert over_bins_of(reference, tally) == counted
        assert over_bins_of(reference, tally_of(reference) + tally) == reference + counted
        told = TallyReport.model_validate_json(_tally(tally).model_dump_json())
        assert heard(told) == tally


def test_what_is_over_other_bins_is_refused():
    reference = of_numbers(np.arange(20.0))
    with pytest.raises(InvalidInput, match="2 counts, and the profile has 12 bins"):
        over_bins_of(reference, Tally((1, 2)))
    with pytest.raises(InvalidInput, match="different bins"):
        Tally((1,)) + Tally((1, 2))


def test_numbers_that_are_too_great_for_moments_still_travel():
    reference = of_numbers(np.array([1.0, 2.0]))
    great = reference.empty.counted(np.array([1.7e308])) + reference.empty.counted(np.array([-1.7e308]))
    assert heard(_tally(tally_of(great))).counts == great.counts
