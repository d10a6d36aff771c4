"""A name that became the key of a kind of guard was free before: stored documents are read as they were."""

import pytest

from router.rollout.guards.promql import PromQLGuard
from router.rollout.parser import of_our_own, parse_one
from serving.document import DocumentError


@pytest.mark.parametrize("name", ["speed", "drift"])
def test_a_stored_guard_with_a_name_that_is_a_kind_by_now_is_read_and_a_new_one_refused(name):
    [guard] = of_our_own("m", {"stable": "m/1", "guards": {name: {"promql": "up", "min": 1}}}, "f").guards
    assert isinstance(guard, PromQLGuard)
    assert guard.name == name
    with pytest.raises(DocumentError, match="unknown key"):
        parse_one("m", f"{{stable: m/1, guards: {{{name}: {{promql: up, min: 1}}}}}}", "f")
