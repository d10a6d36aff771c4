"""The table of faults names tests that there are."""

import re

from harness.fault_table import ROWS
from harness.system import ROOT


def test_every_row_names_tests_that_exist():
    assert len(ROWS) == 42
    for row in ROWS:
        assert row.tests, row.fault
        for test in row.tests:
            file, _, name = test.partition(": ")
            if name:
                text = (ROOT / "tests" / file).read_text()
                assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), test
            else:
                verb = test.removeprefix("make ")
                assert f"\n{verb}:" in (ROOT / "Makefile").read_text(), test
