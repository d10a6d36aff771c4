"""Operators that look along axes: reductions, softmaxes, normalizations, sorting, sums, resizing. Pure."""

from serving.models.independence.dims import ONE, Dim, product
from serving.models.independence.operator import MATH, MICROSOFT, Operator, Rules, positive_axis, register
from serving.models.independence.rules.contraction import numbers
from serving.models.independence.rules.elementwise import broadcast_rows, counting
from serving.models.independence.rules.layout import wanted
from serving.models.independence.values import Spoils, Value, integers

RULES: Rules = {}


def _plain(op: Operator) -> Value | None:
    """What is to be given back if the first input has no rows."""
    value = op.value(0)
    if value.counts:
        raise counting()
    for place in range(1, len(op.inputs)):
        op.uniform(place, "settings")
    return Value() if value.axis is None else None


def reduce(op: Operator) -> Value:
    """Reduce...: over other axes than that of the rows."""
    value = op.value(0)
    for place in range(1, len(op.inputs)):
        op.uniform(place, "axes")
    if value.counts:
        return _counted_product(op, value)
    if value.shape is None:
        return Value()
    as_input = op.opset >= (13 if op.type == "ReduceSum" else 18)
    if as_input and op.optional(1) is not None:
        axes = integers(op.value(1))
        if axes is None and value.axis is None:
            return Value()
        axes = numbers(op.value(1), "axes")
    else:
        axes = list(op.attribute("axes", []))
    rank = len(value.shape)
    if not axes and as_input and op.attribute("noop_with_empty_axes", 0):
        return Value(value.shape, value.axis)
    gone = {positive_axis(number, rank) for number in axes} or set(range(rank))
    if value.axis in gone:
        raise Spoils("takes all rows together")
    if op.attribute("keepdims", 1):
        return Value(tuple(ONE if i in gone else dim for i, dim in enumerate(value.shape)), value.axis)
    shape = tuple(dim for i, dim in enumerate(value.shape) if i not in gone)
    return Value(shape, None if value.axis is None else value.axis - sum(i < value.axis for i in gone))


def _counted_product(op: Operator, value: Value) -> Value:
    """Of a shape that contains the number of rows only the product is known."""
    elements = value.elements or ()
    if op.type != "ReduceProd" or value.rank != 1 or not all(isinstance(e, Dim) for e in elements):
        raise counting()
    total = product(element for element in elements if isinstance(element, Dim))
    return Value((ONE,) if op.attribute("keepdims", 1) else (), elements=(total,))


def arg_reduce(op: Operator) -> Value:
    """ArgMax, ArgMin."""
    if _plain(op) is not None:
        return Value()
    shape, axis = op.rows()
    along = op.axis(len(shape), 0)
    if along == axis:
        raise Spoils("compares rows with each other")
    if op.attribute("keepdims", 1):
        return Value((*shape[:along], ONE, *shape[along + 1 :]), axis)
    return Value((*shape[:along], *shape[along + 1 :]), axis - (along < axis))


def softmax(op: Operator) -> Value:
    """Softmax, LogSoftmax, Hardmax; before opset 13 over all axes from the given one on."""
    if _plain(op) is not None:
        return Value(op.value(0).shape)
    shape, axis = op.rows()
    early = op.opset < 13
    along = op.axis(len(shape), 1 if early else -1)
    if axis == along or (early and axis > along):
        raise Spoils("takes all rows together")
    return Value(shape, axis)


def top_k(op: Operator) -> list[Value]:
    """TopK."""
    if _plain(op) is not None:
        return [Value(), Value()]
    shape, axis = op.rows()
    along = op.axis(len(shape), -1)
    if along == axis:
        raise Spoils("compares rows with each other")
    given = integers(op.optional(1)) if op.opset >= 10 else [int(op.attribute("k"))]
    length = Dim(given[0]) if given else op.fresh()
    result = Value((*shape[:along], length, *shape[along + 1 :]), axis)
    return [result, result]


def running(op: Operator) -> Value:
    """CumSum, CumProd."""
    if _plain(op) is not None:
        return Value(op.value(0).shape)
    shape, axis = op.rows()
    [along] = numbers(op.value(1), "axes")
    if positive_axis(along, len(shape)) == axis:
        raise Spoils("adds up the rows")
    return Value(shape, axis)


def batch_norm(op: Operator) -> list[Value]:
    """BatchNormalization, with the statistics that it was trained with."""
    if op.attribute("training_mode", 0) or (op.opset < 7 and not op.attribute("is_test", 0)):
        raise Spoils("takes its statistics over all rows: it is in training mode")
    if op.opset < 14 and any(op.asked[1:]):
        raise Spoils("takes its statistics over all rows: it is in training mode")
    return [_normalized(op, 0)] * max(op.outputs, 1)


def _normalized(op: Operator, most: int) -> Value:
    """The same shape, if the rows are no further back than this axis."""
    if _plain(op) is not None:
        return Value(op.value(0).shape)
    shape, axis = op.rows()
    if axis > most:
        raise Spoils("takes another axis than that of the rows for the batch")
    return Value(shape, axis)


def first_axis_norm(op: Operator) -> Value:
    """InstanceNormalization, GroupNormalization, LRN."""
    return _normalized(op, 0)


def layer_norm(op: Operator) -> list[Value]:
    """LayerNormalization, RMSNormalization: over the axes from the given one on."""
    value = op.value(0)
    if value.counts:
        raise counting()
    if value.axis is None and _plain(op) is not None:
        return [Value(value.shape)] * 3
    shape, axis = op.rows()
    along = op.axis(len(shape), -1)
    if axis >= along:
        raise Spoils("takes all rows together")
    scaled = broadcast_rows([value, *(v for v in op.inputs[1:] if v is not None)])
    if scaled.shape is None or len(scaled.shape) != len(shape):
        raise Spoils("has a scale of more axes than its input")
    moments = Value(tuple(ONE if i >= along else dim for i, dim in enumerate(shape)), axis)
    return [Value(shape, axis), moments, moments]


def skip_layer_norm(op: Operator) -> list[Value]:
    """com.microsoft SkipLayerNormalization: of a sum, over the last axis."""
    total = broadcast_rows([v for v in op.inputs[:2] if v is not None])
    for place in range(2, len(op.inputs)):
        op.uniform(place, "scale")
    if total.counts or total.shape is None or total.axis is None or total.axis == len(total.shape) - 1:
        raise Spoils("takes all rows together")
    moments = Value((*total.shape[:-1], ONE), total.axis)
    return [total, moments, moments, total]


def lp_norm(op: Operator) -> Value:
    """LpNormalization."""
    if _plain(op) is not None:
        return Value(op.value(0).shape)
    shape, axis = op.rows()
    if op.axis(len(shape), -1) == axis:
        raise Spoils("takes all rows together")
    return Value(shape, axis)


def mean_variance(op: Operator) -> Value:
    """MeanVarianceNormalization."""
    if _plain(op) is not None:
        return Value(op.value(0).shape)
    shape, axis = op.rows()
    axes = op.attribute("axes", [0, 2, 3])
    if axis in {positive_axis(number, len(shape)) for number in axes}:
        raise Spoils("takes all rows together")
    return Value(shape, axis)


def _check_modes(op: Operator, axis: int, rank: int) -> None:
    if op.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise Spoils("crops by regions that are not followed")
    # Interpolating by a weight of 0 is not nothing: 0 times infinity is not a number.
    if op.attribute("mode", "nearest") != "nearest" and (axis or rank < 4):
        raise Spoils("may interpolate between rows")


def resize(op: Operator) -> Value:
    """Resize, Upsample: by 1 along the rows."""
    if all(value is None or value.uniform for value in op.inputs):
        return Value()
    shape, axis = op.rows()
    rank = len(shape)
    _check_modes(op, axis, rank)
    axes = [positive_axis(n, rank) for n in op.attribute("axes", range(rank))]
    if axis not in axes:
        return Value(tuple(op.fresh() if i in axes else d for i, d in enumerate(shape)), axis)
    at = axes.index(axis)
    scales_at, sizes_at = (1, 9) if op.opset < 11 or op.type == "Upsample" else (2, 3)
    if op.type == "Upsample" and op.opset < 9:
        scales: list[object] | None = list(op.attribute("scales"))
    else:
        given = op.optional(scales_at)
        absent = given is None or given.shape == (Dim(0),)
        scales = None if absent else list(wanted(op, scales_at, "scale"))
    new = list(shape)
    if scales is not None:
        if len(scales) != len(axes) or scales[at] != 1.0:
            raise Spoils("resizes along the axis of the rows")
        for place, scale in zip(axes, scales, strict=True):
            if scale != 1.0:
                new[place] = op.fresh()
        return Value(tuple(new), axis)
    if op.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Spoils("resizes by a policy that is not followed")
    sizes = wanted(op, sizes_at, "size")
    if len(sizes) != len(axes) or sizes[at] != shape[axis]:
        raise Spoils("resizes along the axis of the rows")
    for place, size in zip(axes, sizes, strict=True):
        if place != axis:
            if isinstance(size, Dim) and size.counts_rows:
                raise counting()
            new[place] = size if isinstance(size, Dim) and size.positive else op.fresh()
    return Value(tuple(new), axis)


def grid_sample(op: Operator) -> Value:
    """GridSample: every image by a grid of its own."""
    (shape, axis), (grid, its) = op.rows(), op.rows(1)
    if axis or its or shape[0] != grid[0]:
        raise Spoils("takes another axis than that of the rows for the batch")
    return Value((shape[0], shape[1], *grid[1:-1]), 0)


_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

register(RULES, MATH, " ".join(f"Reduce{name}" for name in _REDUCTIONS.split()), reduce)
register(RULES, MATH, "ArgMax ArgMin", arg_reduce)
register(RULES, MATH, "Softmax LogSoftmax Hardmax", softmax)
register(RULES, MATH, "TopK", top_k)
register(RULES, MATH, "CumSum CumProd", running)
register(RULES, MATH, "BatchNormalization", batch_norm)
register(RULES, MATH, "InstanceNormalization GroupNormalization LRN", first_axis_norm)
register(RULES, MATH, "LayerNormalization RMSNormalization SimplifiedLayerNormalization", layer_norm)
register(RULES, MICROSOFT, "SkipLayerNormalization", skip_layer_norm)
register(RULES, MATH, "LpNormalization", lp_norm)
register(RULES, MATH, "MeanVarianceNormalization", mean_variance)
register(RULES, MATH, "Resize Upsample", resize)
register(RULES, MATH, "GridSample", grid_sample)
