"""Every case of HTTP/1.1, at both doors: the answer is right, and the page says it as it is."""

import pytest
from cases import CASES
from probe import DOORS, PAGE, ask, row, wrong


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_door_does_as_http_has_it(case, up):
    ports = {"public": up.port, "admin": int(up.admin_url.rpartition(":")[2])}
    found = {door: ask(ports[door], case, door) for door in DOORS}
    assert not {door: statuses for door, statuses in found.items() if wrong(case, statuses)}, case.right
    assert row(case, found) in PAGE.read_text().splitlines(), "docs/http.md is not what the doors do"


def test_each_case_has_an_id_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES)
