"""Labels of an A/B/n test: each is held against the pair of every candidate once, whenever that comes."""

import asyncio
from collections import Counter
from itertools import combinations, count

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.outcomes.desk import InForce
from control.outcomes.pairs import PairBook
from control.store.outcomes import Row
from control.store.store import Change, Store
from harness.search import examples
from router.mirror.label_pairs import LabelPair, id_of
from router.rollout.parser import parse_one
from router.wire.pairs_report import PairsReport

DOCUMENT = """
stable: digits/1
candidates:
  - {model: digits/2, weight: 20, mirror: 100}
  - {model: digits/3, weight: 30, mirror: 100}
  - {model: digits/4, weight: 10, mirror: 100}
outcomes:
  truth: {output: label, within: 7d}
guards:
  accuracy: {outcome: truth, margin: 1%}
best: {outcome: truth}
"""
ROLLOUT = parse_one("digits", DOCUMENT, "test")
SIDES = tuple(combinations(range(4), 2))


class Place:
    """A store, and a control's book over it, that can be started anew."""

    def __init__(self, url):
        self.store = Store(url)
        self.rollout = ROLLOUT
        arms = [{"target": each.target.key} for each in ROLLOUT.candidates]
        progress = {"stage": 1, "phase": "comparing", "candidate": None, "arms": arms}
        document = {"candidates": [{"weight": each.weight} for each in ROLLOUT.candidates]}
        self.store.change(Change("digits", 0, document, progress, "anna", "api", "because"))
        self.start()

    @property
    def found(self):
        return InForce(self.rollout, 1, 1)

    def start(self):
        in_force = lambda: {"digits": self.found}  # noqa: E731
        self.book = PairBook(self.store.pairs, in_force, lambda _: (), lambda: True, lambda: 1000.0)

    def turn(self):
        asyncio.run(self.book.take_turn())

    def tell_pair(self, number, candidate, reference, answer):
        id_ = id_of(receipt(number)).hex()
        pair = LabelPair(id_, "label", 1, "digits/1", reference, answer, 1000.0)
        report = PairsReport(
            model="digits", target=f"digits/{candidate + 1}", seen=1, left_out={}, kept=(pair,)
        )
        self.book.hear(f"n1/sandbox-{candidate}", report)

    def tell(self, number, label, arm=0):
        text, at = orjson.dumps(label).decode(), 1000.0
        row = Row(id_of(receipt(number)), "truth", "digits", 1, arm, True, at, 0, 0.0, text, at, at, 1e9)
        return self.store.outcomes.take([row])

    def accuracy(self, candidate) -> tuple[int, int, int]:
        """Gained, same and lost."""
        [found] = self.book.outcomes(self.found._replace(candidate=candidate))["accuracy"]
        labels = found.labels
        return int(labels.gained), int(labels.same), int(labels.lost)

    def unscored(self, candidate) -> dict[str, int]:
        return self.book.view(self.found)["guards"][candidate - 1]["unscored"]

    def two(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Of each two sides: gained by the second, same, and lost."""
        [stage] = [self.book._sides("digits", each, "truth") for each in self.store.outcomes.stages("digits")]
        return {both: tuple(map(int, labels.to_json())) for both, labels in stage.labels.items()}


def receipt(number) -> bytes:
    return f"{number:072d}".encode()


@pytest.fixture
def place(url):
    opened = Place(url)
    yield opened
    opened.store.close()


def test_a_label_meets_the_pair_of_each_candidate_when_both_are_there(place):
    place.tell_pair(1, 1, 7, 7)
    place.tell(1, 7.0)
    place.turn()
    assert (place.accuracy(1), place.accuracy(2), place.unscored(2)) == ((0, 1, 0), (0, 0, 0), {"no pair": 1})
    place.tell_pair(1, 3, 7, 9)
    place.turn()
    assert (place.accuracy(3), place.unscored(3), place.unscored(2)) == ((0, 0, 1), {}, {"no pair": 1})
    assert place.two() == {(0, 1): (0, 1, 0), (0, 3): (0, 0, 1), (1, 3): (0, 0, 1)}
    place.start()
    place.tell_pair(1, 2, 7, 9)
    place.tell_pair(1, 1, 7, 7)
    place.turn()
    assert place.two() == {
        (0, 1): (0, 1, 0),
        (0, 2): (0, 0, 1),
        (0, 3): (0, 0, 1),
        (1, 2): (0, 0, 1),
        (1, 3): (0, 0, 1),
        (2, 3): (0, 1, 0),
    }
    assert [place.unscored(each) for each in (1, 2, 3)] == [{}, {}, {}]


def test_a_label_of_a_request_that_a_candidate_was_to_answer_is_held_against_nothing(place):
    place.tell(1, 7.0, arm=2)
    place.turn()
    assert [place.unscored(each) for each in (1, 2, 3)] == [{"drawn to a candidate": 1}] * 3
    assert place.two() == {}


def test_a_pair_of_somebody_who_took_no_part_is_not_taken_for_that_of_another(place):
    place.tell_pair(1, 8, 7, 9)
    place.tell(1, 7.0)
    place.turn()
    assert place.two() == {}
    assert place.store.pairs.known()[0] == Counter()


def test_the_best_by_a_label_is_found_and_known_to_the_control_that_takes_over(place):
    for number in range(60):
        for candidate in (1, 2, 3):
            place.tell_pair(number, candidate, 1, 7 if candidate == 2 else 1)
        place.tell(number, 7.0 if number < 40 else 1.0)
    place.turn()
    assert place.book.best(place.found).found is None
    for number in range(60, 120):
        for candidate in (1, 2, 3):
            place.tell_pair(number, candidate, 1, 7 if candidate == 2 else 1)
        place.tell(number, 7.0)
    place.turn()
    best = place.book.best(place.found)
    assert (best.best, best.sides[2].units, best.sides[2].to_stable) == (
        "digits/3",
        120,
        pytest.approx(80 / 120),
    )
    place.start()
    asyncio.run(place.book.take_up())
    place.turn()
    assert place.book.best(place.found).as_json() == best.as_json()


def test_names_of_the_view_say_whose_guard_it_is(place):
    place.turn()
    assert [each["guard"] for each in place.book.view(place.found)["guards"]] == [
        "digits/2: accuracy",
        "digits/3: accuracy",
        "digits/4: accuracy",
    ]


numbers = count()
answers = st.integers(0, 2)


@settings(max_examples=examples(25), suppress_health_check=list(HealthCheck))
@given(
    requests=st.lists(
        st.tuples(answers, st.lists(st.none() | answers, min_size=3, max_size=3), answers, st.booleans()),
        max_size=8,
    ),
    repeats=st.lists(st.integers(0, 100), max_size=10),
    chance=st.randoms(use_true_random=False),
)
def test_all_sides_are_compared_alike_in_whatever_order_things_come_and_however_often(
    place, requests, repeats, chance
):
    """A request has the pairs of some candidates, has a label or none; all are told at least once."""
    base = next(numbers) * 1000
    place.turn()
    before = place.two()
    events, expected = [], {both: Counter() for both in SIDES}
    for number, (reference, candidates, truth, has_label) in enumerate(requests, base):
        for candidate, answer in enumerate(candidates, 1):
            if answer is not None:
                events.append(("pair", number, candidate, reference, answer))
        if has_label:
            events.append(("label", number, float(truth)))
            right = {0: reference == truth}
            right |= {
                each: answer == truth for each, answer in enumerate(candidates, 1) if answer is not None
            }
            for first, second in combinations(right, 2):
                expected[first, second][right[second] - right[first]] += 1
    events += [events[index % len(events)] for index in repeats if events]
    chance.shuffle(events)
    for kind, *what in events:
        (place.tell_pair if kind == "pair" else place.tell)(*what)
        match chance.randrange(4):
            case 0:
                place.turn()
            case 1:
                place.turn()
                place.start()  # control is started anew
    place.turn()
    after = place.two()
    for both, kinds in expected.items():
        gains = tuple(
            now - then
            for now, then in zip(after.get(both, (0,) * 3), before.get(both, (0,) * 3), strict=True)
        )
        assert gains == (kinds[1], kinds[0], kinds[-1])
    for candidate in (1, 2, 3):
        assert place.accuracy(candidate) == after.get((0, candidate), (0, 0, 0))
