"""Operators that pick, place, join and cut: Gather, Scatter, Slice, Concat, Pad and theirs. Pure."""

from serving.models.independence.dims import MOST_ROWS, ONE, Dim, N
from serving.models.independence.operator import MATH, Operator, Rules, positive_axis, register
from serving.models.independence.rules.contraction import numbers
from serving.models.independence.rules.elementwise import counting
from serving.models.independence.rules.layout import wanted
from serving.models.independence.values import Element, Spoils, Value, integers

RULES: Rules = {}

_FAR = (1 << 31) - 1  # where slices end that take all there is


def gather(op: Operator) -> Value:
    """Gather: rows of constants by the rows' own indices, or along another axis by uniform ones."""
    data, indices = op.value(0), op.value(1)
    if data.counts:
        return _picked(data, indices)
    if indices.counts:
        raise counting()
    if data.shape is None or indices.shape is None:
        if data.uniform and indices.uniform:
            return Value()
        raise Spoils("takes a tensor of unknown rank")
    along = op.axis(len(data.shape), 0)
    shape = data.shape[:along] + indices.shape + data.shape[along + 1 :]
    if data.axis is None:
        if data.elements is not None and integers(indices) is not None and len(data.shape) == 1:
            return _picked(data, indices)
        return Value(shape, None if indices.axis is None else along + indices.axis)
    if indices.axis is not None:
        raise Spoils("picks by the rows' indices from all rows")
    if data.axis == along:
        raise Spoils("picks single rows")
    return Value(shape, data.axis if data.axis < along else data.axis - 1 + len(indices.shape))


def _picked(data: Value, indices: Value) -> Value:
    chosen = integers(indices)
    assert data.elements is not None
    count = len(data.elements)
    if chosen is None or data.rank != 1 or not all(-count <= place < count for place in chosen):
        raise counting()
    return Value(indices.shape, elements=tuple(data.elements[place] for place in chosen))


def gather_elements(op: Operator) -> Value:
    """GatherElements: along another axis than that of the rows, or from a constant along theirs."""
    data, indices = op.value(0), op.value(1)
    if data.counts or indices.counts:
        raise counting()
    if data.uniform and indices.uniform:
        return Value(indices.shape)
    rank = len(op.shape(0))
    along = op.axis(rank, 0)
    shape, axis = op.rows(1)
    if data.axis is None:
        if along != axis:
            raise Spoils("takes from a tensor by the place of the row")
        return Value(shape, axis)
    if data.axis != axis or along == axis or op.shape(0)[axis] != shape[axis]:
        raise Spoils("picks from other rows")
    return Value(shape, axis)


def gather_nd(op: Operator) -> Value:
    """GatherND."""
    data, indices = op.value(0), op.value(1)
    if data.counts or indices.counts:
        raise counting()
    if data.uniform and indices.uniform:
        return Value()
    batch = int(op.attribute("batch_dims", 0))
    source, places = op.shape(0), op.shape(1)
    if not places[-1].known or indices.axis == len(places) - 1:
        raise Spoils("takes as indices what has no known number of them")
    depth = batch + places[-1].factor
    shape = places[:-1] + source[depth:]
    if data.axis is None:
        if batch:
            raise Spoils("takes from a tensor by the place of the row")
        return Value(shape, indices.axis)
    if indices.axis is None:
        if data.axis < depth:
            raise Spoils("picks single rows")
        return Value(shape, len(places) - 1 + data.axis - depth)
    if data.axis != indices.axis or data.axis >= batch or source[data.axis] != places[data.axis]:
        raise Spoils("picks by the rows' indices from all rows")
    return Value(shape, data.axis)


def scatter_elements(op: Operator) -> Value:
    """Scatter, ScatterElements: along another axis than that of the rows, which all three have."""
    if all(op.value(place).uniform for place in range(3)):
        return Value(op.value(0).shape)
    (shape, axis), one, two = op.rows(), op.rows(1), op.rows(2)
    along = op.axis(len(shape), 0)
    if along == axis or any(its != axis or other[its] != shape[axis] for other, its in (one, two)):
        raise Spoils("places values in other rows")
    return Value(shape, axis)


def scatter_nd(op: Operator) -> Value:
    """ScatterND: at uniform places that lie before the axis of the rows."""
    if all(op.value(place).uniform for place in range(3)):
        return Value(op.value(0).shape)
    op.uniform(1, "places")
    (shape, axis), (updates, its), places = op.rows(), op.rows(2), op.shape(1)
    if not places[-1].known or axis < places[-1].factor:
        raise Spoils("places values in single rows")
    if its != len(places) - 1 + axis - places[-1].factor or updates[its] != shape[axis]:
        raise Spoils("sets rows against other rows")
    return Value(shape, axis)


def concat(op: Operator) -> Value:
    """Concat: along another axis than that of the rows, which all must have."""
    values = [op.value(place) for place in range(len(op.inputs))]
    if all(value.axis is None for value in values):
        return _concat_uniform(op, values)
    shapes = [op.rows(place) for place in range(len(values))]
    first, axis = shapes[0]
    along = op.axis(len(first), 1 if op.opset < 4 else 0)
    if along == axis:
        raise Spoils("joins along the axis of the rows")
    if any(its != axis or shape[its] != first[axis] or len(shape) != len(first) for shape, its in shapes):
        raise Spoils("sets rows against other rows")
    lengths = [shape[along] for shape, _ in shapes]
    together = Dim(sum(length.factor for length in lengths)) if all(d.known for d in lengths) else op.fresh()
    if len(lengths) == 1:
        together = lengths[0]
    others = (next((s[i] for s, _ in shapes if s[i].known), first[i]) for i in range(len(first)))
    return Value(tuple(together if i == along else dim for i, dim in enumerate(others)), axis)


def _concat_uniform(op: Operator, values: list[Value]) -> Value:
    ranks = {value.rank for value in values}
    elements: list[Element] | None = []
    for value in values:
        if value.rank != 1:
            elements = None
            break
        assert value.shape is not None
        if value.elements is None and not (value.shape[0].known and value.shape[0].factor <= 64):
            elements = None
            break
        elements += value.elements or (None,) * value.shape[0].factor  # type: ignore[operator]
    if elements is not None:
        return Value((Dim(len(elements)),), elements=tuple(elements))
    if any(value.counts for value in values):
        raise counting()
    [rank] = ranks if len(ranks) == 1 else [None]
    if rank is None:
        return Value()
    along = op.axis(rank, 1 if op.opset < 4 else 0)
    shapes = [value.shape or () for value in values]
    shape = [next((s[i] for s in shapes if s[i].known), shapes[0][i]) for i in range(rank)]
    lengths = [s[along] for s in shapes]
    shape[along] = Dim(sum(d.factor for d in lengths)) if all(d.known for d in lengths) else op.fresh()
    return Value(tuple(shape))


def split(op: Operator) -> list[Value]:
    """Split."""
    value = op.value(0)
    if value.shape is None:
        return [Value()] * op.outputs
    along = op.axis(len(value.shape), 0)
    if along == value.axis:
        raise Spoils("cuts between rows")
    given = op.attribute("split") if op.opset < 13 else None
    if op.opset >= 13 and op.optional(1) is not None:
        given = integers(op.uniform(1, "lengths"))
        sizes = [Dim(length) for length in given] if given else None
    elif given:
        sizes = [Dim(length) for length in given]
    else:
        length = value.shape[along]
        whole = length.known and not length.factor % op.outputs
        sizes = [Dim(length.factor // op.outputs)] * op.outputs if whole else None
    if value.counts:
        if sizes is None or value.rank != 1:
            raise counting()
        return _split_elements(value, sizes)
    return [
        Value(
            (*value.shape[:along], sizes[i] if sizes else op.fresh(), *value.shape[along + 1 :]), value.axis
        )
        for i in range(op.outputs)
    ]


def _split_elements(value: Value, sizes: list[Dim]) -> list[Value]:
    parts, start = [], 0
    assert value.elements is not None
    for size in sizes:
        parts.append(Value((size,), elements=value.elements[start : start + size.factor]))
        start += size.factor
    return parts


def cut(op: Operator) -> Value:
    """Slice: along other axes, or all of the rows."""
    value = op.value(0)
    early = op.opset < 10
    if early:
        starts: list[Element] = [Dim(n) for n in op.attribute("starts")]
        ends: list[Element] = [Dim(n) for n in op.attribute("ends")]
        axes = list(op.attribute("axes", range(len(starts))))
        steps: list[Element] = [ONE] * len(starts)
    else:
        for place in range(1, len(op.inputs)):
            other = op.optional(place)
            if other is not None and other.axis is not None:
                raise Spoils("takes its bounds from the rows")
        if value.shape is None and all(v is None or v.uniform for v in op.inputs):
            return Value()
        starts, ends = wanted(op, 1, "start"), wanted(op, 2, "end")
        axes = list(range(len(starts))) if op.optional(3) is None else numbers(op.value(3), "axes")
        steps = [ONE] * len(starts) if op.optional(4) is None else wanted(op, 4, "step")
    if value.shape is None:
        return Value()
    shape = list(value.shape)
    if value.elements is not None and len(shape) == 1 and len(axes) == 1:
        bounds = [integers(Value((), elements=(bound[0],))) for bound in (starts, ends, steps)]
        if all(bounds):
            start, end, step = (bound[0] for bound in bounds if bound)
            if step:
                picked = _python_slice(value.elements, start, end, step)
                return Value((Dim(len(picked)),), elements=picked)
    if value.counts:
        raise counting()
    for axis, start_, end_, step_ in zip(axes, starts, ends, steps, strict=True):
        place = positive_axis(axis, len(shape))
        if start_ == Dim(0) and step_ == ONE and _takes_all(end_, shape[place]):
            continue
        if place == value.axis:
            raise Spoils("cuts between rows")
        if any(isinstance(b, Dim) and b.counts_rows for b in (start_, end_, step_)):
            raise counting()
        shape[place] = _length(op, shape[place], start_, end_, step_)
    return Value(tuple(shape), value.axis)


def _python_slice(elements: tuple[Element, ...], start: int, end: int, step: int) -> tuple[Element, ...]:
    length = len(elements)
    if step < 0 and end < -length:
        return elements[start if start >= -length else 0 :: step] if start >= -length else ()
    return elements[start:end:step]


def _takes_all(end: Element, length: Dim) -> bool:
    if end == length:
        return True
    if not isinstance(end, Dim) or not end.known:
        return False
    most = length.factor * (MOST_ROWS if length.symbols == N.symbols else 1)
    return end.factor >= (most if length.known or length.symbols == N.symbols else _FAR)


def _length(op: Operator, length: Dim, start: Element, end: Element, step: Element) -> Dim:
    bounds = [b.factor for b in (start, end, step) if isinstance(b, Dim) and b.known]
    if not length.known or len(bounds) < 3 or bounds[2] <= 0:
        return op.fresh()
    return Dim(len(range(length.factor)[bounds[0] : bounds[1] : bounds[2]]))


def pad(op: Operator) -> Value:
    """Pad: along other axes than that of the rows."""
    value = op.value(0)
    for place in range(1, len(op.inputs)):
        op.uniform(place, "padding")
    if value.counts:
        raise counting()
    if value.axis is None:
        return Value(None if value.shape is None else op.fresh_like(value.shape))
    shape, axis = op.rows()
    rank = len(shape)
    names = "paddings" if op.opset < 2 else "pads"
    pads: list[Element] = [Dim(n) for n in op.attribute(names)] if op.opset < 11 else wanted(op, 1, "padding")
    chosen = range(rank)
    if op.optional(3) is not None:
        chosen = [positive_axis(n, rank) for n in numbers(op.value(3), "axes")]  # type: ignore[assignment]
    new = list(shape)
    for i, place in enumerate(chosen):
        both = pads[i], pads[i + len(chosen)]
        if both == (Dim(0), Dim(0)):
            continue
        if place == axis:
            raise Spoils("pads along the axis of the rows")
        sizes = [p.factor for p in both if isinstance(p, Dim) and p.known]
        known = len(sizes) == 2 and new[place].known
        new[place] = Dim(new[place].factor + sum(sizes)) if known else op.fresh()
    return Value(tuple(new), axis)


def one_hot(op: Operator) -> Value:
    """OneHot: an axis of its own for the classes."""
    indices = op.value(0)
    if indices.counts:
        raise counting()
    depth = op.uniform(1, "number of classes")
    op.uniform(2, "values")
    if indices.shape is None:
        return Value()
    rank = len(indices.shape)
    at = int(op.attribute("axis", -1))
    at = at + rank + 1 if at < 0 else at
    known = integers(depth)
    length = Dim(known[0]) if known else op.fresh()
    axis = None if indices.axis is None else indices.axis + (indices.axis >= at)
    return Value((*indices.shape[:at], length, *indices.shape[at:]), axis)


def trilu(op: Operator) -> Value:
    """Trilu, Det: of matrices that lie behind the axis of the rows."""
    value = op.value(0)
    op.uniform(1, "diagonal")
    if value.counts:
        raise counting()
    if value.axis is None:
        return Value(value.shape if op.type == "Trilu" else None)
    shape, axis = op.rows()
    if axis >= len(shape) - 2:
        raise Spoils("takes the rows for a side of its matrices")
    return Value(shape if op.type == "Trilu" else shape[:-2], axis)


def reverse_sequence(op: Operator) -> Value:
    """ReverseSequence."""
    shape, axis = op.rows()
    lengths, its = op.rows(1)
    if int(op.attribute("batch_axis", 1)) != axis or its != 0 or lengths[0] != shape[axis]:
        raise Spoils("reverses along the axis of the rows")
    return Value(shape, axis)


register(RULES, MATH, "Gather", gather)
register(RULES, MATH, "GatherElements", gather_elements)
register(RULES, MATH, "GatherND", gather_nd)
register(RULES, MATH, "Scatter ScatterElements", scatter_elements)
register(RULES, MATH, "ScatterND", scatter_nd)
register(RULES, MATH, "Concat", concat)
register(RULES, MATH, "Split", split)
register(RULES, MATH, "Slice", cut)
register(RULES, MATH, "Pad", pad)
register(RULES, MATH, "OneHot", one_hot)
register(RULES, MATH, "Trilu Det", trilu)
register(RULES, MATH, "ReverseSequence", reverse_sequence)
