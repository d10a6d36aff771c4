"""A node keeps the keys for receipts, for itself alone, and signs without control after a start."""

import asyncio
import stat

import pytest

from router.counting.receipt import SECRET_BYTES, ReceiptKey, Receipts
from router.receipt_keys import KeptKeys
from router.wire.receipt_keys import KeyRow, ring_id

OLD = ReceiptKey(7, b"s" * SECRET_BYTES, 1000.0)
NEW = ReceiptKey(3, b"t" * SECRET_BYTES, 2000.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "receipt-keys.json"


def take(path, *keys):
    receipts = Receipts("n", 0)
    kept = KeptKeys(path, receipts)
    asyncio.run(kept.take([KeyRow.of(key) for key in keys]))
    return kept, receipts


def test_without_keys_nothing_is_signed(path):
    receipts = Receipts("n", 0)
    kept = KeptKeys(path, receipts)
    assert (kept.keys, kept.ring, receipts.key) == ({}, "", None)


def test_the_newest_signs_and_all_are_kept_for_the_next_start(path):
    kept, receipts = take(path, OLD, NEW)
    assert receipts.key == NEW
    assert kept.keys == {7: OLD, 3: NEW}
    after = Receipts("n", 0)
    again = KeptKeys(path, after)
    assert (again.keys, again.ring, after.key) == (kept.keys, ring_id([NEW, OLD]), NEW)


def test_what_control_says_replaces_what_was_there(path):
    take(path, OLD)
    kept, receipts = take(path, NEW)
    assert (kept.keys, receipts.key) == ({3: NEW}, NEW)
    assert KeptKeys(path, Receipts("n", 0)).keys == {3: NEW}


def test_the_file_is_of_this_user_alone_whatever_was_there(path):
    path.write_text("[]")
    path.chmod(0o644)
    take(path, OLD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}", b'[{"id": 1}]', b'[{"id": 0, "secret": "", "made": 1}]']
)
def test_a_file_that_cannot_be_read_is_none(path, content):
    path.write_bytes(content)
    assert KeptKeys(path, Receipts("n", 0)).keys == {}


def test_a_folder_that_cannot_be_written_keeps_no_receipt_away(tmp_path):
    _, receipts = take(tmp_path / "gone" / "keys.json", OLD)
    assert receipts.key == OLD
