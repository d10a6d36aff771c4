"""What is said of a variant, from what it came to."""

from control.judging.aa_report import share
from control.judging.verdicts import Judgement
from understudy.offline import outcome
from understudy.offline.figures import Accuracy, Speed
from understudy.variants.making import Made
from understudy.variants.telling import rows_of, words_of


def made(ratio, dependence="", failures=(), notes=()):
    """A variant that takes `ratio` of the time, within a tenth of it."""
    tested = outcome.Tested(
        "heldout.npz", 400, outcome.Side("digits/4", "a", 0, 1), outcome.Side("digits/5", "b", 0, 1),
        Judgement("undecided", "", ()), notes, (outcome.Output("label", share(3, 400), 1.0),), failures,
        Speed(1000, ratio, 0.9 * ratio, 1.1 * ratio, (100e-6, 150e-6), (ratio * 100e-6, ratio * 150e-6)),
        Accuracy("label", share(390, 400), share(388, 400), 0, 2, -0.005, -0.01, 0.01, 0.0, 0.0), (), (), 1.0,
    )  # fmt: skip
    return Made("digits/5", "digits/4", "int8", (677_000, 175_000), 0, tested, dependence)


def test_the_table_has_size_speed_agreement_and_who_is_right():
    rows = {row[0]: row[1:] for row in rows_of(made(0.5))}
    assert rows["size"] == ["677.0 kB", "175.0 kB", "0.26 times"]
    assert rows["a run, median"] == ["100 us", "50 us", "2.00 times as fast (1.82 to 2.22)"]
    assert rows["p99"][:2] == ["150 us", "75 us"]
    assert rows["label"][2] == "397 of 400 agree"
    assert rows["label: right"][:2] == ["97.5%", "97.0%"]


def test_what_pays_is_made_and_no_more_is_said():
    assert words_of(made(0.5)) == [
        "digits/5 made of digits/4 (int8), held against digits/4 on 400 rows of heldout.npz"
    ]


def test_what_may_cost_is_said():
    said = words_of(
        made(0.95, "its range is of the whole batch", ("row 3: it failed",), ("no answer to 2 rows",))
    )
    assert said[1:3] == ["no answer to 2 rows", "failed: row 3: it failed"]
    assert "are not run together: its range is of the whole batch. Where digits/4 gains by batches" in said[3]
    assert "it is not shown to be faster than digits/4 here" in said[4]
