import pytest

from router.targets.targets import _as_error


@pytest.mark.parametrize("status", [400, 404, 408, 413, 422, 429])
def test_a_clients_fault_is_told_as_the_target_told_it(status):
    error = _as_error("m/1", status, b'{"error": "no such input"}')
    assert (error.status, str(error)) == (status, "no such input")


@pytest.mark.parametrize(
    ("status", "told"),
    [(403, 400), (405, 400), (499, 400), (500, 502), (302, 502), (501, 502), (503, 503), (504, 504)],
)
def test_any_other_is_told_as_what_it_means_to_the_client(status, told):
    assert _as_error("m/1", status, b"").status == told
