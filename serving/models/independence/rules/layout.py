"""Operators that give the same elements another shape, or read and build shapes. Pure."""

from typing import cast

from serving.models.independence.dims import ONE, ROWS, Dim, broadcast, product
from serving.models.independence.operator import MATH, Operator, Rules, positive_axis, register
from serving.models.independence.rules.contraction import numbers
from serving.models.independence.rules.elementwise import counting
from serving.models.independence.values import (
    MOST_ELEMENTS,
    Element,
    Shape,
    Spoils,
    Value,
    integers,
    scalar,
    vector,
)

RULES: Rules = {}


def shape_of(op: Operator) -> Value:
    """Shape."""
    value = op.value(0)
    if value.shape is None:
        return Value((op.fresh(),))
    rank = len(value.shape)
    start, end = int(op.attribute("start", 0)), int(op.attribute("end", rank))
    return vector(value.shape[slice(start, end)])


def size(op: Operator) -> Value:
    """Size."""
    value = op.value(0)
    return scalar(None if value.shape is None else product(value.shape))


def wanted(op: Operator, place: int, what: str = "shape") -> list[Element]:
    """The lengths that an input of this kind gives; they must be as many in every run."""
    value = op.value(place)
    if value.axis is not None:
        raise Spoils(f"takes its {what} from the rows")
    if value.elements is not None:
        return list(value.elements)
    if value.shape is None or len(value.shape) != 1 or not value.shape[0].known:
        raise Spoils(f"takes a {what} of which nothing is known before it runs")
    return [None] * value.shape[0].factor


def reshape(op: Operator) -> Value:
    """Reshape: the axes before that of the rows stay together, and so do those from it on."""
    value = op.value(0)
    if value.counts:
        target = integers(op.value(1))
        assert value.shape is not None
        if target is not None and len(target) <= 1:
            return Value(tuple(product(value.shape) for _ in target), elements=value.elements)
        raise counting()
    keeps_zeros = bool(op.attribute("allowzero", 0))
    lengths: list[Element] = (
        [Dim(length) for length in op.attribute("shape", [])] if op.opset < 5 else wanted(op, 1)
    )
    if value.axis is None:
        if any(isinstance(length, Dim) and length.counts_rows for length in lengths):
            raise counting()
        shape = tuple(op.fresh() if length is None else length for length in map(_length, lengths))
        return Value(shape, elements=value.elements if all(dim.known for dim in shape) else None)
    return reshaped(op, lengths, keeps_zeros=keeps_zeros)


def _length(length: Element) -> Dim | None:
    """One that stands for itself: neither 0 nor -1 nor what may be."""
    return length if isinstance(length, Dim) and length.positive else None


def reshaped(op: Operator, lengths: list[Element], *, keeps_zeros: bool = False) -> Value:
    """The first input, which has rows, in another shape; 0 and -1 as Reshape has them."""
    shape, axis = op.rows()
    new: list[Dim] = []
    guessed = None
    for place, length in enumerate(lengths):
        here = shape[place] if place < len(shape) else None
        if length == Dim(-1):
            guessed = place
            new.append(ONE)
        elif length == here or _stands(length, keeps_zeros=keeps_zeros):
            assert isinstance(length, Dim)
            new.append(length)
        elif length == Dim(0) and here is not None:
            new.append(here)
        elif place == axis and not keeps_zeros:  # it may be 0, and so stand for the rows
            raise Spoils("gives the axis of the rows a length that is not known before it runs")
        else:  # it may be 0 or -1, both of which are uniform then
            if not isinstance(length, Dim) or length.counts_rows:
                raise Spoils("takes a shape of which too little is known before it runs")
            new.append(op.fresh())
    if guessed is not None:
        new[guessed] = _guessed(op, shape, new)
    return regrouped(shape, axis, tuple(new))


def _stands(length: Element, *, keeps_zeros: bool) -> bool:
    """Whether it is surely the length of the new axis itself."""
    return isinstance(length, Dim) and (length.positive or (keeps_zeros and length == Dim(0)))


def _guessed(op: Operator, shape: Shape, new: list[Dim]) -> Dim:
    total, others = product(shape), product(new)
    exact = total.over(others)
    if exact is not None:
        return exact
    if not others.counts_rows:
        raise Spoils("may not keep whole rows together: the lengths of its shape do not surely divide a row")
    return op.fresh()


def regrouped(shape: Shape, axis: int, new: Shape) -> Value:
    """The same elements in another shape of as many, if a new axis begins where that of the rows does."""
    holders = [place for place, length in enumerate(new) if length.counts_rows]
    if len(holders) != 1:
        raise Spoils("does not keep the rows on an axis of their own")
    [holder] = holders
    if new[holder].symbols.count(ROWS) != 1 or product(new[:holder]) != product(shape[:axis]):
        raise Spoils("may not keep whole rows together")
    return Value(new, holder)


def flatten(op: Operator) -> Value:
    """Flatten."""
    value = op.value(0)
    if value.axis is None:
        if value.counts:
            raise counting()
        if value.shape is None:
            return Value((op.fresh(), op.fresh()))
    shape = op.shape(0)
    at = int(op.attribute("axis", 1))
    at = at + len(shape) if at < 0 else at
    new = product(shape[:at]), product(shape[at:])
    return Value(new) if value.axis is None else regrouped(shape, value.axis, new)


def transpose(op: Operator) -> Value:
    """Transpose."""
    value = op.value(0)
    if value.counts:
        if value.rank == 1:
            return value
        raise counting()
    if value.shape is None:
        return Value()
    order = list(op.attribute("perm", range(len(value.shape) - 1, -1, -1)))
    shape = tuple(value.shape[place] for place in order)
    return Value(shape, None if value.axis is None else order.index(value.axis))


def _axes(op: Operator, since: int) -> list[int] | None:
    """Of an attribute before this opset and an input from it on; None where none are given."""
    if op.opset < since:
        axes = op.attribute("axes")
        return None if axes is None else list(axes)
    return None if op.optional(1) is None else numbers(op.value(1), "axes")


def squeeze(op: Operator) -> Value:
    """Squeeze."""
    value, axes = op.value(0), _axes(op, 13)
    if value.shape is None:
        return Value()
    rank = len(value.shape)
    if axes is None:
        if value.axis is not None:
            raise Spoils("removes the axis of the rows when there is one row")
        if not all(dim.known for dim in value.shape):
            return Value(elements=value.elements) if not value.counts else _raise_counting()
        gone = {place for place, dim in enumerate(value.shape) if dim == ONE}
    else:
        gone = {positive_axis(axis, rank) for axis in axes}
    if value.axis in gone:
        raise Spoils("removes the axis of the rows")
    shape = tuple(dim for place, dim in enumerate(value.shape) if place not in gone)
    axis = None if value.axis is None else value.axis - sum(place < value.axis for place in gone)
    return Value(shape, axis, value.elements)


def _raise_counting() -> Value:
    raise counting()


def unsqueeze(op: Operator) -> Value:
    """Unsqueeze."""
    value, axes = op.value(0), _axes(op, 13)
    if value.shape is None:
        return Value()
    rank = len(value.shape) + len(axes or [])
    new = {positive_axis(axis, rank) for axis in axes or []}
    old = iter(enumerate(value.shape))
    shape, axis = [], None
    for place in range(rank):
        if place in new:
            shape.append(ONE)
            continue
        before, dim = next(old)
        shape.append(dim)
        if before == value.axis:
            axis = place
    return Value(tuple(shape), axis, value.elements)


def filled(lengths: list[Element], op: Operator) -> Value:
    """A tensor of one value, of this shape."""
    shape = tuple(length if isinstance(length, Dim) else op.fresh() for length in lengths)
    holders = [place for place, length in enumerate(shape) if length.counts_rows]
    if len(holders) > 1 or any(shape[place].symbols.count(ROWS) > 1 for place in holders):
        raise Spoils("does not keep the rows on an axis of their own")
    return Value(shape, holders[0] if holders else None)


def constant_of_shape(op: Operator) -> Value:
    """ConstantOfShape."""
    given = op.value(0)
    if given.axis is None and given.elements is None and (given.shape is None or not given.shape[0].known):
        return Value()
    result = filled(wanted(op, 0), op)
    assert result.shape is not None
    total = product(result.shape)
    value = op.attribute("value")
    if value is None or not total.known or not 0 <= total.factor <= MOST_ELEMENTS:
        return result
    import onnx.numpy_helper  # noqa: PLC0415  (the name `onnx` is another module's here)

    element = onnx.numpy_helper.to_array(value).ravel()[0]
    if element.dtype.kind not in "biu":
        return result
    return Value(result.shape, result.axis, (Dim(int(element)),) * total.factor)


def expand(op: Operator) -> Value:
    """Expand: against a shape, as elementwise operators against a tensor of that shape."""
    value = op.value(0)
    if value.counts:
        raise counting()
    given = op.value(1)
    if value.uniform and given.uniform and (value.shape is None or given.elements is None):
        return Value()
    lengths = wanted(op, 1)
    old = op.shape(0)
    rank = max(len(old), len(lengths))
    lengths = [*(ONE,) * (rank - len(lengths)), *lengths]
    old = (ONE,) * (rank - len(old)) + old
    axis = None if value.axis is None else value.axis + rank - len(op.shape(0))
    new = []
    for place, (have, want) in enumerate(zip(old, lengths, strict=True)):
        if place == axis:
            if want not in {ONE, have}:
                raise Spoils("sets rows against a length of its own")
            new.append(have)
        elif isinstance(want, Dim) and want.counts_rows:
            if have != ONE or axis is not None:
                raise Spoils("sets rows against other rows")
            new.append(want)
        else:
            stands = isinstance(want, Dim) and not (want.known and want.factor < 1)
            new.append(broadcast(have, cast("Dim", want)) if stands else op.fresh())
    return filled(list(new), op)


def tile(op: Operator) -> Value:
    """Tile: never along the rows; what is uniform can be repeated for each."""
    value = op.value(0)
    if value.counts:
        raise counting()
    if op.value(1).uniform and (value.shape is None or (value.uniform and op.value(1).elements is None)):
        return Value(None if value.shape is None else op.fresh_like(value.shape))
    if op.opset < 6:
        raise Spoils("is of an operator version that is not followed")
    repeats, shape = wanted(op, 1, "repeats"), op.shape(0)
    if value.axis is not None and (len(repeats) != len(shape) or repeats[value.axis] != ONE):
        raise Spoils("repeats the rows")
    new: list[Element] = [
        dim * times if isinstance(times, Dim) else None for dim, times in zip(shape, repeats, strict=True)
    ]
    return filled(new, op)


def whole_range(op: Operator) -> Value:
    """Range."""
    values = [op.value(place) for place in range(3)]
    if not all(value.uniform for value in values):
        raise counting()
    found = [integers(value) for value in values]
    if all(found):
        start, limit, step = (number[0] for number in found if number)
        if step and len(range(start, limit, step)) <= MOST_ELEMENTS:
            return vector([Dim(number) for number in range(start, limit, step)])
    return Value((op.fresh(),))


def depth_space(op: Operator) -> Value:
    """DepthToSpace and SpaceToDepth."""
    shape, axis = op.rows()
    if axis != 0:
        raise Spoils("takes another axis than that of the rows for the batch")
    block = int(op.attribute("blocksize"))
    down = op.type == "SpaceToDepth"
    by = Dim(block), Dim(block)
    area = Dim(block * block)
    if down:
        sides = [side.over(length) or op.fresh() for side, length in zip(shape[2:], by, strict=True)]
        return Value((shape[0], shape[1] * area, *sides), 0)
    grown: list[Dim] = [side * length for side, length in zip(shape[2:], by, strict=True)]
    return Value((shape[0], shape[1].over(area) or op.fresh(), *grown), 0)


register(RULES, MATH, "Shape", shape_of)
register(RULES, MATH, "Size", size)
register(RULES, MATH, "Reshape", reshape)
register(RULES, MATH, "Flatten", flatten)
register(RULES, MATH, "Transpose", transpose)
register(RULES, MATH, "Squeeze", squeeze)
register(RULES, MATH, "Unsqueeze", unsqueeze)
register(RULES, MATH, "ConstantOfShape", constant_of_shape)
register(RULES, MATH, "Expand", expand)
register(RULES, MATH, "Tile", tile)
register(RULES, MATH, "Range", whole_range)
register(RULES, MATH, "DepthToSpace SpaceToDepth", depth_space)
