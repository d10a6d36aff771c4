"""Paired accuracy on labels (`control.judging.outcomes.paired_labels`), looked at after every label."""

from collections.abc import Iterator

import numpy as np

from benchmarks.outcomes.cells import (
    LINE,
    QUESTIONS,
    Cell,
    Floats,
    by_chunks,
    cell,
    first_look,
    mean_over_bets,
)
from benchmarks.policies.boundaries import limit_boundaries
from control.judging.outcomes.paired_labels import PairedLabels, accuracy_bets, loss_bets

LABELS = 20_000
DISCORDANT = 0.06
UNSAID = 0.08  # where the specification has no discordance beside its figure
SELDOM = 0.1  # the chance of a label where both sides answered alike


def cells(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """All of them."""
    few = max(runs // 2, 1)
    yield from _edges(rng, runs)
    yield from _power(rng, few)
    yield from _chosen(rng, few)


def _edges(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    for margin, harm, proof in ((0.01, ".25 to .8%", ".1 to .3%"), (0.02, "", "")):
        found = by_chunks(runs, lambda size, m=margin: _margin(_gains(rng, size, -m), m))
        case = f"{100 * margin:g} points worse, margin {100 * margin:g} points"
        yield cell(found["harm"], case, "harm", "labels", null=True, specified=harm)
        yield cell(found["safe"], case, "no worse", "labels", null=True, specified=proof)
    found = by_chunks(runs, lambda size: _mcnemar(_gains(rng, size, 0.0)))
    yield cell(found["safe"], "equal", "superior", "labels", null=True, specified=".9%")
    yield cell(found["harm"], "equal", "inferior", "labels", null=True, specified="1.3 +- .4%")


def _power(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Of 100 labels, at how many just one side was right is in the words of each row."""
    for gain, discordant, margin, question, specified in (
        (0.0, DISCORDANT, 0.01, "safe", "7,154; 6,775"),
        (0.0, DISCORDANT, 0.02, "safe", "1,796; 1,791"),
        (0.01, UNSAID, 0.01, "safe", "2,126"),
        (-0.03, UNSAID, 0.01, "harm", "1,954"),
        (-0.10, 0.13, 0.01, "harm", "202"),
    ):
        found = by_chunks(
            runs, lambda size, g=gain, d=discordant, m=margin: _margin(_gains(rng, size, g, d), m)
        )
        words = f"{_words(gain, discordant)}, margin {100 * margin:g}"
        yield cell(found[question], words, QUESTIONS[question], "labels", specified=specified)
    for gain, discordant, specified in ((0.01, UNSAID, "9,527"), (0.02, UNSAID, "2,352")):
        found = by_chunks(runs, lambda size, g=gain, d=discordant: _mcnemar(_gains(rng, size, g, d)))
        yield cell(found["safe"], _words(gain, discordant), "superior", "labels", specified=specified)


def _chosen(rng: np.random.Generator, runs: int) -> Iterator[Cell]:
    """Where the sides answered alike a label is asked one time in ten, else always."""
    for gain, question, null in ((-0.01, "harm", True), (-0.01, "safe", True), (0.0, "safe", False)):
        for weighed in (True, False):
            found = by_chunks(runs, lambda size, g=gain, w=weighed: _asked(rng, size, g, weighed=w))
            test = QUESTIONS[question] + ("" if weighed else ", labels not weighed")
            case = f"{_words(gain, DISCORDANT)}, margin 1; a tenth of agreements labelled"
            yield cell(found[question], case, test, "labels", null=null, used=weighed)


def _words(gain: float, discordant: float) -> str:
    gained, lost = 50 * (discordant + gain), 50 * (discordant - gain)
    return f"of 100 only the candidate {gained:g}, only the reference {lost:g}"


def _gains(rng: np.random.Generator, runs: int, mean: float, discordant: float = DISCORDANT) -> Floats:
    drawn = rng.random((runs, LABELS), dtype=np.float32)
    gained = (discordant + mean) / 2.0
    found: Floats = np.where(drawn < gained, 1.0, np.where(drawn < discordant, -1.0, 0.0))
    return found


def _margin(gains: Floats, margin: float) -> dict[str, Floats]:
    kinds = [PairedLabels(1, 0, 0), PairedLabels(0, 1, 0), PairedLabels(0, 0, 1)]
    won = [accuracy_bets(kind, margin) for kind in kinds]
    index = 1 - gains.astype(np.int8)
    return {
        side: first_look(
            mean_over_bets(np.stack([getattr(each, side) for each in won], axis=1)[:, index]) >= LINE
        )
        for side in ("harm", "safe")
    }


def _mcnemar(gains: Floats) -> dict[str, Floats]:
    harmful, proven = limit_boundaries(0.5, LINE, LABELS)
    lost, discordant = (gains < 0).cumsum(axis=1), (gains != 0).cumsum(axis=1)
    at = np.maximum(discordant - 1, 0)
    some = discordant > 0
    return {
        "harm": first_look((lost >= harmful[at]) & some),
        "safe": first_look((lost <= proven[at]) & some),
    }


def _asked(rng: np.random.Generator, runs: int, gain: float, *, weighed: bool) -> dict[str, Floats]:
    """Of requests; those without a label leave everything as it is."""
    gains = _gains(rng, runs, gain)
    agree = gains == 0.0
    asked = ~agree | (rng.random(gains.shape, dtype=np.float32) < SELDOM)
    kinds = ((1.0, 1.0), (0.0, SELDOM), (-1.0, 1.0))
    won = [loss_bets([d], 0.01, q if weighed else 1.0, SELDOM if weighed else 1.0) for d, q in kinds]
    index = 1 - gains.astype(np.int8)
    labels = asked.cumsum(axis=1)
    return {
        side: first_look(
            mean_over_bets(np.stack([getattr(each, side) for each in won], axis=1)[:, index] * asked) >= LINE,
            labels,
        )
        for side in ("harm", "safe")
    }
