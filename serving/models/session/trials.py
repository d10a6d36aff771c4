"""Input to try a model with where zeros, one long, do not run: other lengths, other values. Pure.

Many ordinary models need some length (a picture of at least 32 x 32, a window of 512 samples) or some value
(a size that is not 0), which nothing in an ONNX file says. Law: the first trial is the plain one, smaller
ones come before larger ones, and all trials are the same each time.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from serving.models.session.warmup import MAX_BYTES, Fill, Trial, needed, plain, trial_bytes
from serving.wire.tensors import Signature, TensorSpec

Dims = tuple[int | str | None, ...]
"""Lengths of the dimensions: known, named (equal where the name is), or neither."""

MAX_RANK = 4  # that is tried where any is taken

LENGTHS = (2, 8, 32, 64, 224, 256, 320, 640, 3, 4, 16, 80, 128, 512, 1024)
"""Tried for all variable dimensions alike, in this order: most common first among the small ones."""

MAX_TRIALS = 400
_RANDOM_TRIALS = 200
_CHANNELS = (3, 1)  # of pictures
_RANK_OF_PICTURES = 4


@dataclass(frozen=True, slots=True)
class Hints:
    """Constants of a graph, most telling first.

    Attributes:
        lengths: that a dimension could have.
        texts: that an input of BYTES could hold.
    """

    lengths: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()


def trials(signature: Signature, dims: Sequence[Dims | None], hints: Hints) -> Iterator[Trial]:
    """What to try, in order, each once; at most `MAX_TRIALS`.

    Args:
        signature: of the model.
        dims: of every input that is needed, in their order; None for one of any rank.
        hints: what its graph suggests.
    """
    seen: set[Trial] = set()
    ranks = range(MAX_RANK + 1) if None in dims else range(1)
    for rank in ranks:
        known = [(None,) * rank if shape is None else shape for shape in dims]
        share = MAX_TRIALS * (rank + 1) // len(ranks)
        for trial in islice(_all(signature, known, hints), 4 * MAX_TRIALS):
            if len(seen) == share:
                break
            if trial not in seen and trial_bytes(signature, trial) <= MAX_BYTES:
                seen.add(trial)
                yield trial


def _all(signature: Signature, dims: Sequence[Dims], hints: Hints) -> Iterator[Trial]:
    start = Trial(_with(dims, {}), plain(signature).fills)
    lengths = (*LENGTHS, *hints.lengths)
    shapes = list(dict.fromkeys((start.shapes, *_shapes(dims, lengths))))
    for shape in shapes:
        yield Trial(shape, start.fills)
    choices = [_fills(spec, hints) for spec in needed(signature)]
    for place in range(1, max(map(len, choices), default=1)):
        fills = tuple(fill[min(place, len(fill) - 1)] for fill in choices)
        for shape in shapes[:8]:
            yield Trial(shape, fills)
    yield from _random(dims, lengths, choices, start.shapes)


def _shapes(dims: Sequence[Dims], lengths: Sequence[int]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """One row, all else alike; then, where that is not it, each dimension by itself; then no rows at all."""
    free = _free(dims, rows=True)
    for length in lengths if free else ():
        yield _with(dims, {name: _picture(dims, name, length) for name in free})
    for length in lengths if len(free) > 1 else ():
        for name in free:
            yield _with(dims, {name: length})
    for length in lengths:
        yield _with(dims, dict.fromkeys(_free(dims, rows=False), length))


def _random(
    dims: Sequence[Dims],
    lengths: Sequence[int],
    choices: Sequence[Sequence[Fill]],
    first: tuple[tuple[int, ...], ...],
) -> Iterator[Trial]:
    chance = random.Random(0)  # noqa: S311  (the same each time)
    names = _free(dims, rows=False)
    for _ in range(_RANDOM_TRIALS):
        fills = tuple(chance.choice(fill) for fill in choices)
        yield Trial(_with(dims, {name: chance.choice((1, *lengths)) for name in names}) or first, fills)


def _fills(spec: TensorSpec, hints: Hints) -> tuple[Fill, ...]:
    """What could fill an input: that of the plain trial first."""
    if spec.datatype == "BYTES":
        return (("",), ("1",), *((text,) for text in hints.texts))
    if spec.datatype == "BOOL" or spec.datatype.startswith(("FP", "BF")):
        return ((0,), (1,))
    most = (1 << 8 * spec.dtype.itemsize - 1) - 1
    fills: list[Fill] = [(0,), (1,), tuple(range(8)), (2,)]
    if spec.datatype.startswith("INT"):
        fills.append((-1, 1))
    return (*fills, *((number,) for number in hints.lengths if number <= most))


def _free(dims: Sequence[Dims], *, rows: bool) -> list[str]:
    """Names of the dimensions that have no length; with `rows`, without those that come first."""
    names = dict.fromkeys(
        name
        for place, shape in enumerate(dims)
        for axis, name in enumerate(_names(place, shape))
        if name is not None and (axis or not rows)
    )
    first = {_names(place, shape)[0] for place, shape in enumerate(dims) if shape} if rows else set()
    return [name for name in names if name not in first]


def _names(place: int, shape: Dims) -> list[str | None]:
    """A name for every dimension that has no length."""
    return [
        None if isinstance(length, int) else f"{place}/{axis}" if not length else f"={length}"
        for axis, length in enumerate(shape)
    ]


def _with(dims: Sequence[Dims], lengths: dict[str, int]) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(
            length if isinstance(length, int) else lengths.get(str(name), 1)
            for length, name in zip(shape, _names(place, shape), strict=True)
        )
        for place, shape in enumerate(dims)
    )


def _picture(dims: Sequence[Dims], name: str, length: int) -> int:
    """A variable second dimension of four, before a height and a width, is colours: three, or one of two."""
    for place, shape in enumerate(dims):
        names = _names(place, shape)
        if len(shape) == _RANK_OF_PICTURES and names[1] == name and None not in names[2:]:
            return _CHANNELS[0] if length >= _CHANNELS[0] else _CHANNELS[1]
    return length
