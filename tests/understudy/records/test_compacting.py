"""Small files become one: each row counts once, wherever the process is killed."""

import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.record_files import HOUR, footer, write, write_rows
from harness.system import ROOT
from router.record.account import Account
from router.record.accounts import Accounts
from router.record.files.footers import footer_of
from router.record.files.rows import Row
from serving.errors import Conflict, InvalidInput
from understudy.records.checking import balances
from understudy.records.compacting import SETTLED, compact, merged
from understudy.records.place import Folder, Wanted, open_place
from understudy.records.present import present

NOW = HOUR + timedelta(days=1)
STEPS = 5
"""Of one compaction of three files: before and after the new one, after each that goes."""


def row(receipt, **tensors):
    values = {"kind": "request", "receipt": receipt, "request_time": HOUR}
    return Row("digits", "local.worker-0.1", HOUR, values, tensors, 100)


def three(root):
    """Files of one hour, one of them of a version with other outputs."""
    pixels = np.arange(4, dtype=np.float32).reshape(1, 4)
    first = {"local.worker-0.1": Account(requests=5, sampled_out=1, written=2, full=1)}
    later = {"local.worker-0.1": Account(requests=9, sampled_out=2, written=5, full=2)}
    label = np.array([3])
    rows = [row(f"a{n}", input_pixels=pixels + n, output_label=label) for n in range(2)]
    write_rows(root, "a", rows, first)
    write_rows(root, "b", [row("b0", input_pixels=pixels, output_scores=pixels * 0.5)], first)
    write_rows(root, "c", [row("c0", output_label=label), row("c1", output_label=label)], later)


def receipts(place):
    """Every row that counts."""
    found = Counter()
    for file in present(place):
        with place.open(file) as source:
            found.update(pq.read_table(source, columns=["receipt"]).column(0).to_pylist())
    return found


def balance(place, folder):
    """What `records check` finds of these files, without a node's own accounts."""
    return [(each.rows, each.account, each.difference) for each in balances(place, Accounts(folder / "none"))]


ALL = Counter(["a0", "a1", "b0", "c0", "c1"])


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    return open_place(str(tmp_path) if request.param == "folder" else f"file://{tmp_path}")


def test_files_of_a_closed_hour_become_one_with_all_rows_and_accounts(place, tmp_path):
    three(tmp_path)
    before = balance(place, tmp_path)
    [done] = compact(place, Wanted(), NOW)
    assert balance(place, tmp_path) == before
    assert (done.partition, done.files, done.rows) == ("model=digits/date=2026-10-05/hour=13", 3, 5)
    [file] = place.files()
    assert receipts(place) == ALL
    with place.open(file) as source:
        found = footer_of(source)
    assert found.rows == {"local.worker-0.1": 5}
    assert found.accounts == {"local.worker-0.1": Account(requests=9, sampled_out=2, written=5, full=2)}
    assert found.replaces == ("a.parquet", "b.parquet", "c.parquet")
    assert list(compact(place, Wanted(), NOW)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model=digits"]


def test_rows_and_types_stay_as_they_are(place, tmp_path):
    three(tmp_path)
    before = {
        row["receipt"]: row for path in tmp_path.rglob("*.parquet") for row in pq.read_table(path).to_pylist()
    }
    list(compact(place, Wanted(), NOW))
    [path] = tmp_path.rglob("*.parquet")
    table = pq.read_table(path)
    assert table.schema.field("input_pixels").metadata[b"oip_datatype"] == b"FP32"
    for found in table.to_pylist():
        known = before[found["receipt"]]
        assert found == {name: known.get(name) for name in found}


def test_what_comes_later_is_merged_with_what_was(place, tmp_path):
    three(tmp_path)
    list(compact(place, Wanted(), NOW))
    write_rows(tmp_path, "d", [row("d0")])
    [done] = compact(place, Wanted(), NOW)
    assert (done.files, done.rows) == (2, 6)
    assert receipts(place) == ALL + Counter(["d0"])


def test_open_hours_and_columns_that_differ_in_type_are_left(place, tmp_path):
    three(tmp_path)
    assert list(compact(place, Wanted(), HOUR + timedelta(hours=1) + SETTLED - timedelta(seconds=1))) == []
    write_rows(tmp_path, "d", [row("d0", output_label=np.array(["three"], object))])
    [done] = compact(place, Wanted(), NOW)
    assert (done.files, len(place.files())) == (3, 2)


def test_a_stranger_among_the_files_is_named_and_nothing_is_changed(place, tmp_path):
    three(tmp_path)
    path = write(tmp_path, "d", {"receipt": ["d0"]})
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(InvalidInput, match=r"hour=13/d\.parquet: no log writer of this release wrote it"):
        list(compact(place, Wanted(), NOW))
    assert len(place.files()) == 4


def test_two_at_once_are_refused(tmp_path):
    three(tmp_path)
    with Folder(tmp_path).held(), pytest.raises(Conflict, match="another compaction"):
        list(compact(Folder(tmp_path), Wanted(), NOW))


def test_killed_at_any_step_each_row_counts_once_and_the_next_one_ends_it(tmp_path):
    for step in range(1, STEPS + 1):
        three(tmp_path / str(step))
    command = [sys.executable, "-m", "harness.dying_place", str(tmp_path), str(STEPS)]
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    ended = subprocess.run(command, env=paths, timeout=240, check=True, capture_output=True, text=True)
    assert ended.stdout.split() == [str(int(signal.SIGKILL))] * STEPS
    for step in range(1, STEPS + 1):
        place = Folder(tmp_path / str(step))
        assert receipts(place) == ALL, step
        assert [found[0] for found in balance(place, tmp_path)] == [sum(ALL.values())], step
        list(compact(place, Wanted(), NOW))
        assert receipts(place) == ALL, step
        assert len(place.files()) == 1, step
        assert not (place.root / ".compacting").exists()


counts = st.integers(0, 1000)
accounts = st.lists(
    st.builds(Account, requests=counts, sampled_out=counts, written=counts, full=counts),
    min_size=1,
    max_size=5,
)


@given(accounts, st.lists(st.integers(1, 50), min_size=5, max_size=5))
def test_merged_accounts_are_the_last_ones_whatever_the_order(steps, rows):
    total, grown = Account(), []
    for step in steps:
        total = total + step
        grown.append(total)
    footers = [footer("m", {"i": count}, {"i": each}) for each, count in zip(grown, rows, strict=False)]
    together = merged(footers[::-1], ["a"])
    assert together.accounts == {"i": total}
    assert together.rows == {"i": sum(rows[: len(footers)])}
    twice = merged([merged(footers[:2], ["x"]), *footers[2:]], ["a"])
    assert twice.replaces == ("a", "x"), "what the first one stood for, the second one does"
    assert replace(twice, replaces=("a",)) == merged(footers, ["a"])
