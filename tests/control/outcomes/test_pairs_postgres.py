"""Pairs and labels in PostgreSQL: the same tests on another database."""

import pytest
from test_pair_book import (  # noqa: F401  (the same tests, on another database)
    Place,
    test_a_label_may_come_before_its_pair_or_after_it,
    test_counts_are_the_same_in_whatever_order_things_come_and_however_often,
    test_labels_of_stages_and_outputs_are_apart,
    test_labels_that_count_for_nothing_are_told_by_reason,
    test_of_too_many_the_lower_half_of_the_hashes_stays,
    test_pairs_go_when_no_label_can_come_any_more,
    test_pairs_that_no_guard_needs_go_at_once,
    test_what_was_counted_outlives_control_and_is_not_counted_again,
)

from harness.postgres import require_postgres

require_postgres()


@pytest.fixture
def place(server):
    opened = Place(server.new_database())
    yield opened
    opened.store.close()
