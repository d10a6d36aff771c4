"""Operators that sum products: of matrices, of windows, over letters, over the steps of a sequence. Pure."""

from serving.models.independence.dims import ONE, Dim, broadcast
from serving.models.independence.operator import MATH, MICROSOFT, Operator, Rules, is_one_element, register
from serving.models.independence.rules.elementwise import broadcast_rows, one_element
from serving.models.independence.values import Shape, Spoils, Value, integers

RULES: Rules = {}


def multiplied(a: Value, b: Value) -> Value:
    """The matrix product as numpy.matmul has it."""
    if a.shape is None or b.shape is None:
        if a.uniform and b.uniform:
            return Value()
        raise Spoils("takes a tensor of unknown rank")
    if a.counts or b.counts:
        raise Spoils("calculates with the number of rows")
    if not a.shape or not b.shape:
        raise Spoils("takes a scalar")
    flat_a, flat_b = len(a.shape) == 1, len(b.shape) == 1
    left = Value((ONE, *a.shape), None if a.axis is None else a.axis + 1) if flat_a else a
    right = Value((*b.shape, ONE), b.axis) if flat_b else b
    assert left.shape is not None
    assert right.shape is not None
    if left.axis == len(left.shape) - 1 or right.axis == len(right.shape) - 2:
        raise Spoils("sums over the rows")
    over_rows = left.axis == len(left.shape) - 2, right.axis == len(right.shape) - 1
    if any(over_rows) and left.axis is not None and right.axis is not None:
        raise Spoils("sets rows against other rows")
    # The axes before the last two are broadcast, those two are as if the other had 1 there.
    front_a = Value((*left.shape[:-1], ONE), left.axis)
    front_b = Value((*right.shape[:-2], ONE, right.shape[-1]), right.axis)
    joined = broadcast_rows([front_a, front_b])
    assert joined.shape is not None
    shape, axis = joined.shape, joined.axis
    if flat_a:
        shape, axis = _without(shape, axis, len(shape) - 2)
    if flat_b:
        shape, axis = _without(shape, axis, len(shape) - 1)
    return Value(shape, axis)


def _without(shape: Shape, axis: int | None, place: int) -> tuple[Shape, int | None]:
    if axis == place:
        raise Spoils("sums over the rows")
    return shape[:place] + shape[place + 1 :], axis - 1 if axis is not None and axis > place else axis


def matmul(op: Operator) -> Value:
    """MatMul."""
    return multiplied(op.value(0), op.value(1))


def _swapped(value: Value) -> Value:
    if value.shape is None or len(value.shape) < 2:
        raise Spoils("transposes a tensor of unknown rank")
    rank = len(value.shape)
    axis = value.axis
    if axis is not None and axis >= rank - 2:
        axis = 2 * rank - 3 - axis
    return Value((*value.shape[:-2], value.shape[-1], value.shape[-2]), axis)


def gemm(op: Operator) -> Value:
    """Gemm."""
    a, b, c = op.value(0), op.value(1), op.optional(2)
    product = multiplied(
        _swapped(a) if op.attribute("transA", 0) else a, _swapped(b) if op.attribute("transB", 0) else b
    )
    if c is None:
        return product
    if c.counts:
        raise Spoils("calculates with the number of rows")
    return broadcast_rows([product, c])


def fused_matmul(op: Operator) -> Value:
    """com.microsoft FusedMatMul."""
    if op.attribute("transBatchA", 0) or op.attribute("transBatchB", 0):
        raise Spoils("transposes the batch")
    a, b = op.value(0), op.value(1)
    return multiplied(
        _swapped(a) if op.attribute("transA", 0) else a, _swapped(b) if op.attribute("transB", 0) else b
    )


def matmul_integer(op: Operator) -> Value:
    """MatMulInteger: a, b, zero point of a, zero point of b."""
    one_element(op, (2,), "zero point")
    zero = op.uniform(3, "zero point")
    if op.value(1).axis is not None and zero is not None and not is_one_element(zero):
        raise Spoils("has a zero point for each row")
    return multiplied(op.value(0), op.value(1))


def qlinear_matmul(op: Operator) -> Value:
    """QLinearMatMul: a and its scale and zero point, b and its own, those of the result."""
    one_element(op, (1, 2, 6, 7))
    for place in (4, 5):
        scale = op.uniform(place, "scale")
        if op.value(3).axis is not None and scale is not None and not is_one_element(scale):
            raise Spoils("has a scale for each row")
    return multiplied(op.value(0), op.value(3))


def matmul_bits(op: Operator) -> Value:
    """com.microsoft MatMulNBits: rows times a quantized constant of N columns."""
    shape, axis = op.rows()
    for place in range(1, len(op.inputs)):
        op.uniform(place, "weights")
    if axis == len(shape) - 1:
        raise Spoils("sums over the rows")
    return Value((*shape[:-1], Dim(int(op.attribute("N")))), axis)


# ------------------------------------------------------------------ windows


def _first_axis(op: Operator, place: int = 0) -> Shape:
    shape, axis = op.rows(place)
    if axis != 0:
        raise Spoils("takes another axis than that of the rows for the batch")
    return shape


def window_lengths(op: Operator, lengths: Shape, kernel: "list[int] | None") -> Shape:
    """How often a window fits along each axis; fresh where it is not plain to see."""
    rank = len(lengths)
    strides = op.attribute("strides", [1] * rank)
    dilations = op.attribute("dilations", [1] * rank)
    pads = op.attribute("pads", [0] * 2 * rank)
    auto = op.attribute("auto_pad", "NOTSET")
    result = []
    for place, length in enumerate(lengths):
        if kernel is None or not length.known:
            result.append(op.fresh())
        elif auto in {"SAME_UPPER", "SAME_LOWER"}:
            result.append(Dim(-(-length.factor // strides[place])))
        else:
            padding = pads[place] + pads[place + rank] if auto == "NOTSET" else 0
            room = length.factor + padding - (kernel[place] - 1) * dilations[place] - 1
            uneven = room % strides[place] and op.attribute("ceil_mode", 0)
            result.append(op.fresh() if uneven or room < 0 else Dim(room // strides[place] + 1))
    return tuple(result)


def _kernel(op: Operator, weights: Value, rank: int) -> list[int] | None:
    given = op.attribute("kernel_shape")
    if given:
        return list(given)
    if weights.shape is None or len(weights.shape) != rank + 2:
        return None
    sides = weights.shape[2:]
    return [side.factor for side in sides] if all(side.known for side in sides) else None


def _convolved(op: Operator, x: int, w: int) -> Value:
    if all(value is None or value.uniform for value in op.inputs):
        return Value()
    shape = _first_axis(op, x)
    for place in range(len(op.inputs)):
        if place != x:
            op.uniform(place, "weights")
    weights = op.value(w)
    channels = weights.shape[0] if weights.shape else op.fresh()
    kernel = _kernel(op, weights, len(shape) - 2)
    return Value((shape[0], channels, *window_lengths(op, shape[2:], kernel)), 0)


def conv(op: Operator) -> Value:
    """Conv, ConvInteger."""
    if op.type == "ConvInteger":
        one_element(op, (2,), "zero point")
    return _convolved(op, 0, 1)


def fused_conv(op: Operator) -> Value:
    """com.microsoft FusedConv, which may add a tensor of the result's shape."""
    if op.optional(3) is not None:
        raise Spoils("adds another tensor")
    return _convolved(op, 0, 1)


def qlinear_conv(op: Operator) -> Value:
    """QLinearConv: x and its scale and zero point, w and its own, those of the result, bias."""
    if op.attribute("channels_last", 0):
        raise Spoils("has its channels last")
    one_element(op, (1, 2, 6, 7))
    return _convolved(op, 0, 3)


def conv_transpose(op: Operator) -> Value:
    """ConvTranspose."""
    if all(value is None or value.uniform for value in op.inputs):
        return Value()
    shape = _first_axis(op)
    op.uniform(1, "weights")
    op.uniform(2, "bias")
    weights = op.shape(1)
    rank = len(shape) - 2
    channels = weights[1] * Dim(int(op.attribute("group", 1)))
    kernel = _kernel(op, op.value(1), rank)
    plain = kernel is not None and op.attribute("auto_pad", "NOTSET") == "NOTSET"
    if not plain or op.attribute("output_shape"):
        return Value((shape[0], channels, *op.fresh_like(shape[2:])), 0)
    assert kernel is not None
    strides = op.attribute("strides", [1] * rank)
    dilations = op.attribute("dilations", [1] * rank)
    pads = op.attribute("pads", [0] * 2 * rank)
    more = op.attribute("output_padding", [0] * rank)
    sides = tuple(
        Dim(
            strides[i] * (length.factor - 1)
            + more[i]
            + (kernel[i] - 1) * dilations[i]
            + 1
            - pads[i]
            - pads[i + rank]
        )
        if length.known
        else op.fresh()
        for i, length in enumerate(shape[2:])
    )
    return Value((shape[0], channels, *sides), 0)


def pool(op: Operator) -> list[Value]:
    """AveragePool, LpPool, MaxPool; the second output of the last counts through the whole batch."""
    value = op.value(0)
    op.spoilt_outputs[1] = "counts places through the whole batch"
    if value.uniform:
        return [Value(), Value()]
    shape = _first_axis(op)
    if len(shape) < 3:
        raise Spoils("takes the rows for the axis of its windows")
    kernel = op.attribute("kernel_shape")
    result = Value((*shape[:2], *window_lengths(op, shape[2:], kernel)), 0)
    return [result, result]


def global_pool(op: Operator) -> Value:
    """GlobalAveragePool, GlobalLpPool, GlobalMaxPool."""
    if op.value(0).uniform:
        return Value()
    shape, axis = op.rows()
    if axis > 1:
        raise Spoils("pools over the rows")
    return Value((*shape[:2], *(ONE for _ in shape[2:])), axis)


def quantized_pool(op: Operator) -> Value:
    """com.microsoft QLinearAveragePool, QLinearGlobalAveragePool."""
    if op.attribute("channels_last", 0):
        raise Spoils("has its channels last")
    one_element(op, (1, 2, 3, 4))
    shape = _first_axis(op)
    if op.type == "QLinearGlobalAveragePool":
        return Value((*shape[:2], *(ONE for _ in shape[2:])), 0)
    return Value((*shape[:2], *window_lengths(op, shape[2:], op.attribute("kernel_shape"))), 0)


# ------------------------------------------------------------------ letters


def einsum(op: Operator) -> Value:
    """Einsum: the letter of the rows is in every operand that has rows, in no other, and in the result."""
    values = [op.value(place) for place in range(len(op.inputs))]
    if any(value.counts for value in values):
        raise Spoils("calculates with the number of rows")
    shapes = [op.shape(place) for place in range(len(op.inputs))]
    terms, right = _terms(op, shapes)
    letters = {term[value.axis] for value, term in zip(values, terms, strict=True) if value.axis is not None}
    if len(letters) > 1:
        raise Spoils("sets rows against other rows")
    letter = next(iter(letters), "")
    lengths: dict[str, Dim] = {}
    for value, shape, term in zip(values, shapes, terms, strict=True):
        holders = [place for place, other in enumerate(term) if other == letter]
        if holders != ([] if value.axis is None else [value.axis]):
            raise Spoils("sets rows against a tensor that has a length of its own there")
        for other, length in zip(term, shape, strict=True):
            lengths[other] = broadcast(lengths.get(other, ONE), length)
        if value.axis is not None and lengths[letter] != shape[value.axis]:
            raise Spoils("sets rows against rows of another number")
    shape = tuple(lengths[other] for other in right)
    if not letter:
        return Value(shape)
    if right.count(letter) != 1:
        raise Spoils("sums over the rows")
    return Value(shape, right.index(letter))


def _terms(op: Operator, shapes: list[Shape]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with letters of their own for what an ellipsis hides."""
    left, arrow, right = str(op.attribute("equation")).replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != len(shapes):
        raise Spoils("has an equation without a result")
    hidden = [len(s) - len(t) + 3 if "..." in t else 0 for s, t in zip(shapes, terms, strict=True)]
    spare = "".join(map(chr, range(0x391, 0x391 + max(hidden))))
    terms = [t.replace("...", spare[len(spare) - n :]) for t, n in zip(terms, hidden, strict=True)]
    if any(len(term) != len(shape) for term, shape in zip(terms, shapes, strict=True)):
        raise Spoils("has an equation that does not fit its operands")
    return terms, right.replace("...", spare)


# ------------------------------------------------------------------ sequences


def recurrent(op: Operator) -> list[Value]:
    """LSTM, GRU, RNN: rows are axis 1 of the sequence and of states, axis 0 of the lengths."""
    if all(value is None or value.uniform for value in op.inputs):
        return [Value()] * 3
    if op.attribute("layout", 0):
        raise Spoils("has its batch first, which is not followed")
    shape, axis = op.rows()
    if axis != 1 or len(shape) != 3:
        raise Spoils("takes another axis than that of the rows for the batch")
    for place in (1, 2, 3, 7):
        op.uniform(place, "weights")
    for place, at in ((4, 0), (5, 1), (6, 1)):
        value = op.optional(place)
        if value is None:
            continue
        other, its = op.rows(place)
        if its != at or other[its] != shape[1]:
            raise Spoils("has a state that does not belong to its rows")
    directions = Dim(2 if op.attribute("direction", "forward") == "bidirectional" else 1)
    hidden = Dim(int(op.attribute("hidden_size"))) if op.attribute("hidden_size") else op.fresh()
    state = Value((directions, shape[1], hidden), 1)
    return [Value((shape[0], directions, shape[1], hidden), 2), state, state]


def numbers(value: Value | None, what: str) -> list[int]:
    """The whole numbers of an input that must be known."""
    found = integers(value)
    if found is None:
        raise Spoils(f"has {what} that are not known before it runs")
    return found


register(RULES, MATH, "MatMul", matmul)
register(RULES, MATH, "Gemm", gemm)
register(RULES, MATH, "MatMulInteger", matmul_integer)
register(RULES, MATH, "QLinearMatMul", qlinear_matmul)
register(RULES, MICROSOFT, "FusedMatMul", fused_matmul)
register(RULES, MICROSOFT, "MatMulNBits", matmul_bits)
register(RULES, MATH, "Conv ConvInteger", conv)
register(RULES, MATH, "QLinearConv", qlinear_conv)
register(RULES, MICROSOFT, "FusedConv", fused_conv)
register(RULES, MICROSOFT, "QLinearConv", qlinear_conv)
register(RULES, MATH, "ConvTranspose", conv_transpose)
register(RULES, MATH, "AveragePool LpPool MaxPool", pool)
register(RULES, MATH, "GlobalAveragePool GlobalLpPool GlobalMaxPool", global_pool)
register(RULES, MICROSOFT, "QLinearAveragePool QLinearGlobalAveragePool", quantized_pool)
register(RULES, MATH, "Einsum", einsum)
register(RULES, MATH, "LSTM GRU RNN", recurrent)
