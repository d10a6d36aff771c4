"""A receipt says what was signed or is refused, whatever is altered."""

import contextlib
import itertools
import random
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.counting.receipt import (
    KEY_IDS,
    LENGTH,
    MOST_CANDIDATES,
    SECRET_BYTES,
    Receipt,
    ReceiptKey,
    Receipts,
    name_id,
    newest,
    node_id,
    read,
    read_draw,
)
from router.rollout import kinds
from serving.errors import InvalidInput

BITS = LENGTH * 6
KEY = ReceiptKey(7, b"s" * SECRET_BYTES, 1000.0)
OTHER = ReceiptKey(8, b"t" * SECRET_BYTES, 2000.0)
KEYS = {key.id: key for key in (KEY, OTHER)}
NOW = 1_795_786_369.383980

roles = st.sampled_from(["stable", "canary"])
keys = st.builds(
    ReceiptKey,
    st.integers(KEY_IDS[0], KEY_IDS[-1]),
    st.binary(min_size=SECRET_BYTES, max_size=SECRET_BYTES),
    st.floats(0, 2e9),
)


def receipts(node="n1", worker=3, key=KEY):
    made = Receipts(node, worker)
    made.key = key
    return made


def one(**others) -> str:
    return receipts(**others).of("digits", 5).make("canary", "stable", 99, NOW).decode()


@st.composite
def said(draw):
    """A key, and what a receipt of it is to say."""
    key, drawn, role = draw(keys), draw(st.none() | roles), draw(roles)
    return key, draw(st.text(max_size=20)), draw(st.text(max_size=20)), Receipt(
        key_id=key.id,
        rollout=0,
        stage=draw(st.integers(0, 2**32 - 1)),
        drawn=drawn,
        role=role,
        arrived=draw(st.integers(0, 2**51)) / 1e6,
        node=0,
        worker=draw(st.integers(0, 255)),
        counter=draw(st.integers(0, 2**24 - 1)),
        key=draw(st.integers(0, 2**64 - 1)),
        anew=draw(st.booleans()),
        candidate=draw(st.integers(1, MOST_CANDIDATES)) if "canary" in (drawn, role) else 0,
    )  # fmt: skip


def written(key, model, node, receipt) -> str:
    maker = Receipts(node, receipt.worker, receipt.counter)
    maker.key = key
    stamp = maker.of(model, receipt.stage)
    side = receipt.drawn, receipt.role
    made = stamp.make(*side, receipt.key, receipt.arrived, receipt.anew, receipt.candidate or 1)
    return made.decode()


def flipped(text: str, bit: int) -> str:
    raw = bytearray(urlsafe_b64decode(text))
    raw[bit // 8] ^= 1 << bit % 8
    return urlsafe_b64encode(raw).decode()


@given(said())
def test_a_receipt_says_what_it_was_made_of(made):
    key, model, node, wanted = made
    text = written(*made)
    found = read(text, {key.id: key})
    assert len(text) == LENGTH
    assert found.arrived == pytest.approx(wanted.arrived, abs=2e-6)
    ids = {"rollout": name_id(model), "node": node_id(node)}
    assert read_draw(text, {key.id: key}) == (found.rollout, found.arrived, found.drawn)
    assert found._replace(arrived=0.0) == wanted._replace(arrived=0.0, **ids)


def test_receipts_tell_as_many_candidates_apart_as_a_document_may_have():
    assert kinds.CANDIDATES.most == MOST_CANDIDATES


@given(said(), st.integers(0, BITS - 1))
def test_no_receipt_with_an_altered_bit_is_taken(made, bit):
    ring = {id_: ReceiptKey(id_, made[0].secret, 0.0) for id_ in KEY_IDS}  # a key behind each id
    with pytest.raises(InvalidInput):
        read(flipped(written(*made), bit), ring)


def test_of_ten_thousand_that_were_altered_none_is_taken():
    chance, taken = random.Random(54), 0
    stamp = receipts().of("digits", 5)
    for _ in range(10_000):
        drawn, role = chance.choice([None, "stable", "canary"]), chance.choice(["stable", "canary"])
        text = stamp.make(drawn, role, chance.getrandbits(64), chance.uniform(0, 2e9)).decode()
        assert read(text, KEYS)
        with contextlib.suppress(InvalidInput):
            read(flipped(text, chance.randrange(BITS)), KEYS)
            taken += 1
    assert taken == 0


@pytest.mark.parametrize("drawn", [None, "stable", "canary"])
def test_each_of_the_bits_matters(drawn):
    text = receipts().of("digits", 5).make(drawn, "canary", 2**63, NOW).decode()
    assert read(text, KEYS)
    for bit in range(BITS):
        with pytest.raises(InvalidInput):
            read(flipped(text, bit), KEYS)


@given(st.integers(0, LENGTH - 1), st.characters())
def test_no_character_has_another_spelling(place, character):
    text = one()
    changed = text[:place] + character + text[place + 1 :]
    if changed != text:
        with pytest.raises(InvalidInput):
            read(changed, KEYS)


@given(st.text(max_size=100) | st.text("AZaz09-_=", min_size=LENGTH - 1, max_size=LENGTH + 1))
def test_what_is_no_receipt_is_refused_in_words(text):
    with pytest.raises(InvalidInput, match="receipt"):
        read(text, KEYS)


@pytest.mark.parametrize(
    "altered",
    [
        lambda text: text + "=",
        lambda text: text + "A",
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: "\n" + text[1:],
        lambda text: " " + text[1:],
        lambda text: text[:36] + " " + text[36:],
        lambda text: b64encode(urlsafe_b64decode(text)).decode(),
        lambda text: text.replace(text[5], "\N{FULLWIDTH LATIN SMALL LETTER A}", 1),
        lambda _: "",
    ],
)
def test_other_lengths_alphabets_and_blanks_are_refused(altered):
    texts = (receipts().of("digits", n).make("canary", "stable", n, NOW).decode() for n in itertools.count())
    text = next(text for text in texts if "-" in text and "_" in text)
    with pytest.raises(InvalidInput, match="not a receipt"):
        read(altered(text), KEYS)


def test_a_refusal_says_why():
    with pytest.raises(InvalidInput, match="key 7 is not known here"):
        read(one(), {8: OTHER})
    with pytest.raises(InvalidInput, match="altered"):
        read(one(), {7: ReceiptKey(7, OTHER.secret, 0.0)})
    with pytest.raises(InvalidInput, match="of version 0, where 1 is known"):
        read("A" * LENGTH, KEYS)


def test_no_two_receipts_of_a_fleet_are_equal():
    makers = [receipts(node, worker) for node in ("n1", "n2") for worker in (0, 1)]
    stamps = [maker.of("digits", 5) for maker in makers]
    texts = [stamp.make("stable", "stable", 0, NOW) for stamp in stamps for _ in range(500)]
    assert len(set(texts)) == 2000


def test_the_counter_goes_round():
    maker = receipts()
    maker.counter = itertools.count(2**24 - 1)
    stamp = maker.of("digits", 5)
    found = [read(stamp.make("stable", "stable", 0, NOW).decode(), KEYS) for _ in range(2)]
    assert [(receipt.counter, receipt.worker) for receipt in found] == [(2**24 - 1, 3), (0, 3)]


def test_a_stamp_follows_the_key_of_its_process():
    maker = receipts(key=None)
    stamp = maker.of("digits", 5)
    assert stamp.make("stable", "stable", 0, NOW) == b""
    for key in (KEY, OTHER):
        maker.key = key
        assert read(stamp.make("stable", "stable", 0, NOW).decode(), KEYS).key_id == key.id
    maker.key = None
    assert stamp.make("stable", "stable", 0, NOW) == b""


def test_the_newest_key_signs():
    assert newest([OTHER, KEY]) is OTHER
    assert newest([]) is None


def test_a_key_is_not_told_where_values_are_shown():
    assert "s" * 5 not in repr(KEY)
