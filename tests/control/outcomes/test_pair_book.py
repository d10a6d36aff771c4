"""Pairs and labels in a real database: in any order, again, after losses; bounded; scored once."""

import asyncio
from collections import Counter
from itertools import count

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.outcomes import told_pairs
from control.outcomes.desk import InForce
from control.outcomes.intake import KEPT_SECONDS
from control.outcomes.pairs import PRUNE_SECONDS, PairBook
from control.outcomes.told_pairs import Share
from control.store.outcomes import Row
from control.store.store import State, Store
from harness.search import examples
from router.mirror.label_pairs import LabelPair, id_of
from router.rollout.parser import parse_one
from router.wire.pairs_report import PairsReport

DOCUMENT = """
stable: digits/1
canary: {model: digits/2, weight: 0, mirror: 100}
outcomes:
  truth: {output: label, within: 7d}
  score: {output: score, within: 1h, range: [0, 10]}
guards:
  accuracy: {outcome: truth, margin: 1%}
  closeness: {outcome: score, margin: 1%}
"""
ROLLOUT = parse_one("digits", DOCUMENT, "test")
WEEK = 7 * 86_400.0


class Place:
    """A store, and a control's book over it, that can be started anew."""

    def __init__(self, url):
        self.store = Store(url)
        self.rollouts = {"digits": ROLLOUT}
        self.now = 1000.0
        self.leads = True
        self.judged_from = 1
        self.start()

    def start(self, **bounds):
        self.book = PairBook(
            self.store.pairs,
            lambda: {model: InForce(each, self.judged_from, 2) for model, each in self.rollouts.items()},
            lambda target: ("zero", "one", "two") if target == "digits/1" else (),
            lambda: self.leads,
            lambda: self.now,
            **bounds,
        )

    def turn(self):
        asyncio.run(self.book.take_turn())

    def tell_pairs(self, *pairs, seen=0, left_out=()):
        report = PairsReport(
            model="digits", target="digits/2", seen=seen, left_out=dict(left_out), kept=tuple(pairs)
        )
        self.book.hear("n1/sandbox", report)

    def tell(self, number, label, *, name="truth", at=None, arm=0, stage=1):
        text = orjson.dumps(label).decode()
        at = self.now if at is None else at
        row = Row(
            id_of(receipt(number).encode()),
            name,
            "digits",
            stage,
            arm,
            True,
            at,
            0,
            0.0,
            text,
            at,
            at,
            at + 2 * WEEK,
        )
        return self.store.outcomes.take([row])

    @property
    def view(self):
        return self.book.view(self.found)

    @property
    def found(self):
        return InForce(self.rollouts["digits"], self.judged_from, 2)

    @property
    def accuracy(self):
        """Gained, same and lost."""
        found = self.view["guards"][0]
        return found["gained"], found["same"], found["lost"]


def receipt(number):
    return f"{number:072d}"


def pair(number, reference, candidate, output="label", stage=1):
    id_ = id_of(receipt(number).encode()).hex()
    return LabelPair(id_, output, stage, "digits/1", reference, candidate, 1000.0)


@pytest.fixture
def place(tmp_path):
    opened = Place(f"sqlite:///{tmp_path}/state.db")
    yield opened
    opened.store.close()


def test_a_label_may_come_before_its_pair_or_after_it(place):
    place.tell(1, 1.0)
    place.turn()
    assert place.view["guards"][0]["unscored"] == {"no pair": 1}
    place.tell_pairs(pair(1, 1, 2), pair(2, 1, 2))
    place.turn()
    assert (place.accuracy, place.view["guards"][0]["unscored"]) == ((0, 0, 1), {})
    place.tell(2, 2.0)
    place.turn()
    assert place.accuracy == (1, 0, 1)
    found, _ = place.book.outcomes(place.found)["accuracy"]
    assert (found.labels.gained, found.labels.lost, found.waiting) == (1, 1, 0)


def test_labels_of_stages_and_outputs_are_apart(place):
    place.tell_pairs(pair(1, 1, 2), pair(1, 4.0, 6.0, "score"), pair(2, 1, 2, stage=2))
    for number in (1, 2):
        place.tell(number, 1.0, stage=number)
    place.tell(1, 4.0, name="score")
    place.turn()
    found = place.book.outcomes(place.found)
    assert [stage.labels.lost for stage in found["accuracy"]] == [1, 1]
    loss = found["closeness"][0].bets
    assert (loss.events, loss.total) == (1, pytest.approx(-0.2 + 0.01))


def test_a_label_may_be_the_name_of_a_class_of_stable(place):
    place.tell_pairs(pair(1, 1, 2), pair(2, 1, 2))
    place.tell(1, "one")
    place.tell(2, "two")
    place.turn()
    assert place.accuracy == (1, 0, 1)


def test_labels_that_count_for_nothing_are_told_by_reason(place):
    place.tell_pairs(pair(1, 1.5, 2))
    place.tell(1, "text")
    place.tell(2, 1.0)
    place.tell(3, 1.0, arm=1)
    place.turn()
    unscored = {"drawn to the canary": 1, "no pair": 1, "not comparable": 1}
    assert place.view["guards"][0]["unscored"] == unscored
    assert place.view["guards"][0]["scored"] == 0


def test_what_was_counted_outlives_control_and_is_not_counted_again(place):
    place.tell_pairs(pair(1, 1, 2))
    place.tell(1, 1.0)
    place.turn()
    place.start()
    place.turn()
    assert place.accuracy == (0, 0, 1)
    place.tell_pairs(pair(1, 1, 2))
    assert place.tell(1, 1.0) == [False]
    place.turn()
    assert (place.accuracy, place.view["pairs"]["kept"]) == ((0, 0, 1), 1)


def test_labels_that_were_lost_with_the_database_are_told_of(place, tmp_path):
    lost = []
    place.tell_pairs(pair(1, 1, 2))
    place.tell(1, 1.0)
    place.turn()
    place.book.lost = lambda: lost.append(place.accuracy)
    (tmp_path / "state.db").unlink()
    place.store.restore(State(0, {}))
    place.turn()
    assert not lost
    place.tell_pairs(pair(2, 1, 2), pair(3, 1, 2))
    for number in (2, 3):
        place.tell(number, 2.0)
    place.turn()
    assert lost == [(2, 0, 0)]


def test_pairs_wait_while_the_store_cannot_be_written(place):
    other = Store(place.store._database._url.render_as_string())
    assert other.lead("other", 0.0, 3.0)
    assert not place.store.lead("this", 0.0, 3.0)
    place.tell_pairs(pair(1, 1, 2))
    place.turn()
    assert place.view["pairs"]["kept"] == 0
    other.resign()
    other.close()
    assert place.store.lead("this", 1.0, 3.0)
    place.turn()
    assert place.view["pairs"]["kept"] == 1


def test_pairs_go_when_no_label_can_come_any_more(place):
    place.tell_pairs(pair(1, 1, 2))
    place.turn()
    place.now += WEEK + KEPT_SECONDS - 1.0
    place.turn()
    assert place.view["pairs"]["kept"] == 1
    place.now += PRUNE_SECONDS
    place.turn()
    assert place.view["pairs"]["kept"] == 0


def test_sums_of_what_is_judged_no_more_go(place):
    place.tell_pairs(pair(1, 1, 2), pair(2, 1, 2, stage=2), pair(3, 1, 2))
    place.tell(1, 1.0)
    place.tell(2, 1.0, stage=2)
    place.turn()
    assert place.accuracy == (0, 0, 2)
    lost = []
    place.book.lost = lambda: lost.append(1)
    place.judged_from = 2
    place.now += PRUNE_SECONDS + 1.0
    place.turn()
    place.tell(3, 1.0)
    place.turn()
    assert (place.accuracy, lost) == ((0, 0, 1), [])
    place.start()
    place.turn()
    assert place.accuracy == (0, 0, 1)


def test_pairs_that_no_guard_needs_go_at_once(place):
    place.tell_pairs(pair(1, 1, 2), pair(1, 3.0, 4.0, "score"))
    place.turn()
    place.rollouts = {"digits": parse_one("digits", DOCUMENT.replace("  closeness", "  #"), "test")}
    place.tell_pairs(pair(2, 3.0, 4.0, "score"))
    place.turn()
    assert place.view["pairs"]["kept"] == 1
    place.rollouts = {}
    place.start()  # another control, which did not see the edit
    place.turn()
    assert place.store.pairs.known()[0] == Counter()


def test_of_too_many_the_lower_half_of_the_hashes_stays(place, monkeypatch):
    monkeypatch.setattr("control.outcomes.pairs.A_DROP", 7)
    place.start(most_kept=100)
    pairs = [pair(number, 1, 2) for number in range(300)]
    for first in range(0, 300, 50):
        place.tell_pairs(*pairs[first : first + 50])
        place.turn()
    with place.store.pairs.turn() as turn:
        kept = {row.id.hex() for row in turn.pairs_of(pairs_as_ids(pairs))}
    assert 0 < len(kept) <= 100
    assert place.view["pairs"]["left_out"] == {"beyond what control keeps": 300 - len(kept)}
    assert kept == set(sorted(each.id for each in pairs)[: len(kept)])
    for number in range(0, 300, 10):
        place.tell(number, 1.0)
    place.turn()
    assert place.accuracy == (0, 0, sum(each.id in kept for each in pairs[::10]))


def pairs_as_ids(pairs):
    return [type("Id", (), {"id": bytes.fromhex(each.id)}) for each in pairs]


def test_a_share_is_of_the_lowest_ids():
    share = Share()
    assert (share.end, share.has(b"\xff" * 16)) == (None, True)
    share.halve()
    assert share.end == b"\x80" + bytes(15)
    share.halve()
    assert share.end == b"\x40" + bytes(15)
    assert (share.has(b"\x3f" * 16), share.has(b"\x40" + bytes(15))) == (True, False)


def test_what_waits_is_bounded_by_the_hash(place, monkeypatch):
    monkeypatch.setattr(told_pairs, "MOST_QUEUED", 10)
    pairs = [pair(number, 1, 2) for number in range(30)]
    place.tell_pairs(*pairs)
    place.turn()
    with place.store.pairs.turn() as turn:
        kept = sorted(row.id.hex() for row in turn.pairs_of(pairs_as_ids(pairs)))
    assert kept == sorted(each.id for each in pairs)[:10]
    assert place.view["pairs"]["left_out"] == {"beyond what control keeps": 20}


def test_sandboxes_say_what_they_saw(place):
    place.tell_pairs(seen=10, left_out={"recorded": 2})
    place.tell_pairs(seen=12, left_out={"recorded": 3})
    assert place.view["pairs"] == {"seen": 12, "kept": 0, "left_out": {"recorded": 3}}
    assert place.book.view(InForce(parse_one("digits", "stable: digits/1", "test"), 1, 1)) is None


numbers = count()


@settings(max_examples=examples(40), suppress_health_check=list(HealthCheck))
@given(
    requests=st.lists(
        st.tuples(
            st.integers(0, 2), st.none() | st.integers(0, 2), st.integers(0, 2), st.booleans(), st.booleans()
        ),
        max_size=12,
    ),
    repeats=st.lists(st.integers(0, 100), max_size=10),
    chance=st.randoms(use_true_random=False),
)
def test_counts_are_the_same_in_whatever_order_things_come_and_however_often(
    place, requests, repeats, chance
):
    """A request has a pair or lost it, has a label or none; all are told at least once, some again."""
    base = next(numbers) * 1000
    place.turn()
    before = place.accuracy
    events, expected = [], Counter()
    for number, (reference, candidate, truth, has_pair, has_label) in enumerate(requests, base):
        if has_pair:
            events.append(("pair", number, reference, candidate))
        if has_label:
            events.append(("label", number, truth, None))
        if has_pair and has_label:
            expected[(candidate == truth) - (reference == truth)] += 1
    events += [events[index % len(events)] for index in repeats if events]
    chance.shuffle(events)
    for event, number, one, other in events:
        if event == "pair":
            place.tell_pairs(pair(number, one, other))
        else:
            place.tell(number, float(one))
        match chance.randrange(4):
            case 0:
                place.turn()
            case 1:
                place.turn()
                place.start()  # control is started anew
    place.turn()
    after = place.accuracy
    gains = tuple(now - then for now, then in zip(after, before, strict=True))
    assert gains == (expected[1], expected[0], expected[-1])
