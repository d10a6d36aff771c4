"""Operators that work element by element, and those that quantize with given scales. Pure."""

import math
from collections.abc import Callable, Sequence

from serving.models.independence.dims import ONE, Dim, broadcast
from serving.models.independence.operator import (
    MATH,
    MICROSOFT,
    ML,
    Operator,
    Rules,
    is_one_element,
    positive_axis,
    register,
)
from serving.models.independence.values import MOST_ELEMENTS, Element, Shape, Spoils, Value

RULES: Rules = {}

_UNARY = """Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid
 HardSwish IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh
 Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu BitwiseNot RegexFullMatch"""
_BROADCAST = """Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Clip Div Equal Greater GreaterOrEqual Less
 LessOrEqual Max Mean Min Mod Mul Or PRelu Pow StringConcat Sub Sum Where Xor"""


def unary(op: Operator) -> Value:
    """Each element from the one in its place."""
    value = op.value(0)
    for place in range(1, len(op.inputs)):  # limits and the like
        op.uniform(place, "settings")
    if value.counts:
        raise counting()
    return Value(value.shape, value.axis)


def counting() -> Spoils:
    """What happens where the number of rows is calculated with."""
    return Spoils("calculates with the number of rows")


def elementwise(op: Operator) -> Value:
    """Each element from those in its place, after broadcasting."""
    values = [value for value in op.inputs if value is not None]
    elements = _folded(op, values)
    if any(value.counts for value in values):
        if elements is None:
            raise counting()
        return Value(_broadcast_all(values), elements=elements)
    return broadcast_rows(values, elements)


def broadcast_rows(values: Sequence[Value], elements: tuple[Element, ...] | None = None) -> Value:
    """What broadcasting several tensors gives, if their rows meet each other and nothing else."""
    if all(value.axis is None for value in values):
        return Value(_broadcast_all(values), elements=elements)
    shapes = [value.shape for value in values if value.shape is not None]
    if len(shapes) < len(values):
        raise Spoils("takes a tensor of unknown rank")
    rank = max(map(len, shapes))
    axes = {
        value.axis + rank - len(value.shape)
        for value in values
        if value.axis is not None and value.shape is not None
    }
    if len(axes) > 1:
        raise Spoils("sets rows against other rows")
    [axis] = axes
    shape = _broadcast_all(values)
    assert shape is not None
    rows = None
    for value in values:
        assert value.shape is not None
        place = axis - rank + len(value.shape)
        if place < 0 or (value.axis is None and value.shape[place] == ONE):
            continue
        if value.axis is None:
            raise Spoils("sets rows against a tensor that has a length of its own there")
        if rows not in {None, value.shape[place]}:
            raise Spoils("sets rows against rows of another number")
        rows = value.shape[place]
    assert rows is not None
    return Value((*shape[:axis], rows, *shape[axis + 1 :]), axis)


def _broadcast_all(values: Sequence[Value]) -> Shape | None:
    shape: Shape = ()
    for value in values:
        if value.shape is None:
            return None
        rank = max(len(shape), len(value.shape))
        one, other = ((ONE,) * (rank - len(part)) + part for part in (shape, value.shape))
        shape = tuple(broadcast(a, b) for a, b in zip(one, other, strict=True))
    return shape


# ------------------------------------------------------------------ contents of small tensors


def _folded(op: Operator, values: Sequence[Value]) -> tuple[Element, ...] | None:
    """The result's content where all contents are known and rank or size leave no doubt about places."""
    fold = _FOLDS.get(op.type)
    shape = _broadcast_all(values)
    if fold is None or shape is None or not all(dim.known for dim in shape):
        return None
    size = math.prod(dim.factor for dim in shape)
    columns = []
    for value in values:
        if value.elements is None or len(value.elements) not in {1, size}:
            return None
        columns.append(value.elements * (size if len(value.elements) == 1 else 1))
    if size > MOST_ELEMENTS:
        return None
    return tuple(_fold(fold, row) for row in zip(*columns, strict=True))


def _fold(fold: Callable[..., Element], row: Sequence[Element]) -> Element:
    result = fold(*row) if all(isinstance(element, Dim) for element in row) else None
    if result is None and any(isinstance(element, Dim) and element.counts_rows for element in row):
        raise counting()
    return result


def _add(a: Dim, b: Dim, sign: int = 1) -> Element:
    if not b.factor:
        return a
    if not a.factor:
        return Dim(sign * b.factor, b.symbols)
    if a.symbols != b.symbols:
        return None
    factor = a.factor + sign * b.factor
    return Dim(factor, a.symbols if factor else ())


def _divide(a: Dim, b: Dim) -> Element:
    exact = a.over(b)
    if exact is not None or not (a.known and b.known and a.factor >= 0 and b.factor > 0):
        return exact
    return Dim(a.factor // b.factor)


def _compare(a: Dim, b: Dim) -> int | None:
    """The sign of a - b."""
    if a == b:
        return 0
    if a.known and b.known:
        return 1 if a.factor > b.factor else -1
    if a.positive and b.known and b.factor <= 0:
        return 1
    return -1 if b.positive and a.known and a.factor <= 0 else None


def _test(holds: Callable[[int], bool]) -> Callable[[Dim, Dim], Element]:
    def fold(a: Dim, b: Dim) -> Element:
        sign = _compare(a, b)
        return None if sign is None else Dim(int(holds(sign)))

    return fold


def _choose(condition: Dim, a: Dim, b: Dim) -> Element:
    if not condition.known:
        return None
    return a if condition.factor else b


def _larger(a: Dim, b: Dim) -> Element:
    sign = _compare(a, b)
    return None if sign is None else (a if sign >= 0 else b)


def _smaller(a: Dim, b: Dim) -> Element:
    sign = _compare(a, b)
    return None if sign is None else (a if sign <= 0 else b)


_FOLDS: dict[str, Callable[..., Element]] = {
    "Add": _add,
    "Sub": lambda a, b: _add(a, b, -1),
    "Mul": lambda a, b: a * b,
    "Div": _divide,
    "Equal": _test(lambda sign: sign == 0),
    "Greater": _test(lambda sign: sign > 0),
    "GreaterOrEqual": _test(lambda sign: sign >= 0),
    "Less": _test(lambda sign: sign < 0),
    "LessOrEqual": _test(lambda sign: sign <= 0),
    "Where": _choose,
    "Max": lambda *all_: _larger(*all_) if len(all_) == 2 else None,
    "Min": lambda *all_: _smaller(*all_) if len(all_) == 2 else None,
}


def identity(op: Operator) -> Value:
    """The same."""
    return op.value(0)


def cast(op: Operator) -> Value:
    """Whole numbers stay what they are in types that hold them."""
    value = op.value(0)
    whole = int(op.attribute("to", 0)) in {6, 7, 12, 13}  # of 32 bits and more
    if value.elements is None:
        return Value(value.shape, value.axis)
    if value.counts and not whole:
        raise counting()
    if not whole:
        return Value(value.shape, value.axis)
    kept = tuple(element if isinstance(element, Dim) else None for element in value.elements)
    return Value(value.shape, value.axis, kept)


def like(op: Operator) -> Value:
    """Of the second input only the type counts."""
    if op.value(0).counts:
        raise counting()
    return Value(op.value(0).shape, op.value(0).axis)


def dropout(op: Operator) -> list[Value]:
    """Nothing, unless it trains."""
    training = op.optional(2)
    if training is not None and training.elements != (Dim(0),):
        raise Spoils("may run in training mode, at random")
    if op.opset < 7 and not op.attribute("is_test", 0):
        raise Spoils("runs in training mode, at random")
    value = op.value(0)
    return [value, Value(value.shape, value.axis)]


# ------------------------------------------------------------------ quantization


def quantize(op: Operator) -> Value:
    """QuantizeLinear, DequantizeLinear: scales of one number, or along another axis than that of the rows."""
    value = op.value(0)
    if value.axis is None:
        if all(other is None or other.uniform for other in op.inputs):
            return Value(value.shape)
        raise Spoils("has a scale for each row")
    shape, axis = op.rows()
    for place in range(1, len(op.inputs)):
        scale = op.uniform(place, "scale")
        if scale is None or is_one_element(scale):
            continue
        along = positive_axis(int(op.attribute("axis", 1)), len(shape))
        if scale.shape is None or along == axis or len(scale.shape) != 1:
            raise Spoils("has a scale for each row")
    return Value(shape, axis)


def quantized_elementwise(op: Operator) -> Value:
    """com.microsoft QLinearAdd, QLinearMul: a, scale, zero point, b, scale, zero point, scale, zero point."""
    one_element(op, (1, 2, 4, 5, 6, 7))
    return broadcast_rows([op.value(0), op.value(3)])


def quantized_unary(op: Operator) -> Value:
    """com.microsoft QLinearSigmoid, QLinearLeakyRelu: x, scale, zero point, scale, zero point."""
    one_element(op, (1, 2, 3, 4))
    if op.value(0).counts:
        raise counting()
    return Value(op.value(0).shape, op.value(0).axis)


def one_element(op: Operator, places: Sequence[int], what: str = "scale") -> None:
    """See to it that these inputs are single uniform numbers or left out."""
    for place in places:
        value = op.uniform(place, what)
        if value is not None and not is_one_element(value):
            raise Spoils(f"has a {what} of several numbers")


register(RULES, MATH, _UNARY, unary)
register(RULES, MATH, _BROADCAST, elementwise)
register(RULES, MATH, "Identity", identity)
register(RULES, MATH, "Cast", cast)
register(RULES, MATH, "CastLike", like)
register(RULES, MATH, "Dropout", dropout)
register(RULES, MATH, "QuantizeLinear DequantizeLinear", quantize)
register(RULES, MICROSOFT, "QuantizeLinear DequantizeLinear", quantize)
register(RULES, MICROSOFT, "Gelu QuickGelu", unary)
register(RULES, MICROSOFT, "BiasGelu FastGelu", elementwise)
register(RULES, MICROSOFT, "QLinearAdd QLinearMul", quantized_elementwise)
register(RULES, MICROSOFT, "QLinearSigmoid QLinearLeakyRelu", quantized_unary)
register(RULES, ML, "Binarizer LabelEncoder CategoryMapper", unary)
