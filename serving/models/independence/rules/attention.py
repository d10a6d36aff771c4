"""Attention and what belongs to it; signals. Pure."""

from serving.models.independence.dims import ONE, Dim
from serving.models.independence.operator import MATH, Operator, Rules, positive_axis, register
from serving.models.independence.rules.contraction import numbers
from serving.models.independence.rules.elementwise import counting
from serving.models.independence.values import Shape, Spoils, Value, integers

RULES: Rules = {}


def _batch(op: Operator, places: tuple[int, ...]) -> Dim:
    """The number of rows of inputs that all have them first."""
    found = {shape[0] for place in places for shape, axis in [op.rows(place)] if axis == 0}
    if len(found) != 1 or any(op.rows(place)[1] for place in places):
        raise Spoils("takes another axis than that of the rows for the batch")
    return found.pop()


def attention(op: Operator) -> list[Value]:
    """Attention of queries, keys and values [rows, ...], each row by itself."""
    if all(value is None or value.uniform for value in op.inputs):
        return [Value()] * 4
    given = [place for place in (4, 5, 6) if op.optional(place) is not None]
    rows = _batch(op, (0, 1, 2, *given))
    mask = op.optional(3)
    if mask is not None:
        _check_mask(op, mask, rows)
    shape = op.shape(0)
    heads: Shape = (*shape[:-1], op.fresh())
    kept = Value((rows, *(op.fresh() for _ in range(3))), 0)
    return [Value(heads, 0), kept, kept, kept]


def _check_mask(op: Operator, mask: Value, rows: Dim) -> None:
    """It is broadcast against [rows, heads, queries, keys]."""
    shape = op.shape(3)
    if mask.counts:
        raise counting()
    if mask.axis is None:
        if len(shape) == 4 and shape[0] != ONE:
            raise Spoils("sets rows against a tensor that has a length of its own there")
    elif mask.axis != 0 or len(shape) != 4 or shape[0] != rows:
        raise Spoils("sets rows against other rows")


def rotary(op: Operator) -> Value:
    """RotaryEmbedding: by places of the row's own in uniform tables, or by tables of the row's own."""
    if all(value is None or value.uniform for value in op.inputs):
        return Value(op.value(0).shape)
    places = (0, 3) if op.optional(3) is not None else (0, 1, 2)
    _batch(op, places)
    for place in {1, 2} - set(places):
        op.uniform(place, "table")
    return op.value(0)


def fourier(op: Operator) -> Value:
    """DFT: along another axis than that of the rows."""
    for place in range(1, len(op.inputs)):
        op.uniform(place, "settings")
    value = op.value(0)
    if value.counts:
        raise counting()
    if value.axis is None:
        return Value()
    shape, axis = op.rows()
    if op.opset < 20:
        along = int(op.attribute("axis", 1))
    else:
        along = -2 if op.optional(2) is None else numbers(op.value(2), "axes")[0]
    if positive_axis(along, len(shape)) == axis or axis == len(shape) - 1:
        raise Spoils("takes all rows together")
    place = positive_axis(along, len(shape))
    sides = [op.fresh() if i in {place, len(shape) - 1} else dim for i, dim in enumerate(shape)]
    return Value(tuple(sides), axis)


def col2im(op: Operator) -> Value:
    """Col2Im: images from columns [rows, ...]."""
    shape, axis = op.rows()
    if axis != 0:
        raise Spoils("takes another axis than that of the rows for the batch")
    for place in (1, 2):
        op.uniform(place, "shape")
    sides = integers(op.optional(1))
    if sides is None:
        raise Spoils("takes a shape of which too little is known before it runs")
    return Value((shape[0], op.fresh(), *map(Dim, sides)), 0)


register(RULES, MATH, "Attention", attention)
register(RULES, MATH, "RotaryEmbedding", rotary)
register(RULES, MATH, "DFT", fourier)
register(RULES, MATH, "Col2Im", col2im)
