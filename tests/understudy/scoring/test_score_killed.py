"""Jobs that were killed, and went on: their output is that of one that nobody killed."""

import pyarrow.parquet as pq
import pytest

from harness.killed_scoring import kill_while_scoring
from harness.score_files import bad_of, digits, rows_of, write
from understudy.scoring.parts import said_of


def parts_of(folder):
    """The rows of each part, and what it says of itself."""
    numbers = range(len([*folder.glob("part-*")]))
    return [
        (pq.read_table(folder / f"part-{number:05}.parquet"), said_of(folder, number)) for number in numbers
    ]


@pytest.mark.parametrize(
    ("kind", "canary", "times"),
    [
        (".parquet", "digits/3", 6),
        pytest.param(".csv", "", 60, marks=pytest.mark.slow),
        pytest.param(".parquet", "digits/3", 60, marks=pytest.mark.slow),
        pytest.param(".jsonl", "digits/3", 60, marks=pytest.mark.slow),
    ],
)
def test_a_job_that_was_killed_at_any_step_has_the_same_rows(tmp_path, kind, canary, times):
    size = max(125 * times, 1000)
    columns = digits(size)
    if not canary:
        columns["pixels"][700] = ["x", *columns["pixels"][700][1:]]
    source = write(tmp_path / f"in{kind}", columns, 100)
    folders = tmp_path / "out", tmp_path / "straight"
    killed, told, straight = kill_while_scoring(source, *folders, canary, times)
    rows, bad, before, code = told
    assert killed > times / 2
    assert (rows + bad, bad, code) == (size, not canary, 3 if canary else 0)
    assert before > 0
    assert straight == [rows, bad, 0, code]
    for part, other in zip(*map(parts_of, folders), strict=True):
        assert part == other
    assert bad_of(tmp_path / "out") == bad_of(tmp_path / "straight")
    assert not [*(tmp_path / "out").rglob(".*.new")]
    first = 1 + (kind == ".csv")
    numbers = sorted(row["row"] for row in [*rows_of(tmp_path / "out"), *bad_of(tmp_path / "out")])
    assert numbers == list(range(first, first + size))
