"""Outcomes in PostgreSQL: the same tests on another database."""

import pytest
from test_outcome_store import (  # noqa: F401  (the same tests, on another database)
    store,
    test_a_control_that_does_not_lead_takes_nothing,
    test_a_deleted_name_goes_on_with_its_stages,
    test_a_stage_is_written_with_the_change_that_begins_it,
    test_a_stale_change_begins_no_stage,
    test_an_outcome_is_taken_once,
    test_the_earliest_counts_in_whatever_order_and_batches_they_come,
)

from harness.postgres import require_postgres

require_postgres()


@pytest.fixture
def url(server) -> str:
    return server.new_database()
