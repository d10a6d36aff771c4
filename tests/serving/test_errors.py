from typing import get_args

import pytest

from control.rollouts.progress import IllegalTransition
from control.rollouts.writer import Conflict as Edited
from control.store.store import Stale
from serving import errors
from serving.errors import HTTP_STATUS, Kind, ServingError
from serving.wire.handler import status_of


def test_every_kind_of_error_has_a_status_of_its_own():
    assert set(HTTP_STATUS) == set(get_args(Kind))
    assert len(set(HTTP_STATUS.values())) == len(HTTP_STATUS)
    assert all(400 <= status < 600 for status in HTTP_STATUS.values())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServingError, 500),
        (errors.InvalidInput, 400),
        (errors.InvalidModel, 400),
        (errors.Unauthenticated, 401),
        (errors.Forbidden, 403),
        (errors.NotFound, 404),
        (errors.ClientTooSlow, 408),
        (errors.Conflict, 409),
        (IllegalTransition, 409),
        (Edited, 409),
        (Stale, 412),
        (errors.TooLarge, 413),
        (errors.TooMany, 429),
        (errors.Unsupported, 501),
        (errors.BadGateway, 502),
        (errors.Unavailable, 503),
        (errors.DeadlineExceeded, 504),
    ],
)
def test_errors_are_counted_by_the_status_of_their_kind(error, status):
    assert HTTP_STATUS[error.kind] == status
    made = error.__new__(error)
    assert (made.status, status_of(made)) == (status, status)


def test_several_faults_are_one_error_that_says_all_of_them_and_one_is_itself():
    first, second, third = (errors.Faulty(word) for word in ("a: no", "b: no", "c: no"))
    assert first.faults == (first,)
    assert errors.as_one([first]) is first
    both = errors.as_one([first, second])
    whole = errors.as_one([both, third])
    assert whole.faults == (first, second, third)
    assert str(whole) == "a: no\nb: no\nc: no"
    assert str(first) == "a: no"
