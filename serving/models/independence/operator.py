"""One operator of a graph as its rule sees it. Pure."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx

from serving.models.independence.dims import ONE, Dim
from serving.models.independence.values import Shape, Spoils, Value

MATH, ML, MICROSOFT = "", "ai.onnx.ml", "com.microsoft"


class Operator:
    """A node whose inputs are known.

    Args:
        node: as the graph has it.
        inputs: of each; None where it is left out.
        opset: of the node's domain.
        attributes: those of the node, with what a function was called with in place of references.
        symbols: numbers that were not used before.

    Attributes:
        spoilt_outputs: reasons for outputs that a rule cannot vouch for while it can for others.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        inputs: Sequence[Value | None],
        opset: int,
        attributes: Mapping[str, onnx.AttributeProto],
        symbols: Iterator[int],
    ) -> None:
        self.type = node.op_type
        self.inputs = inputs
        self.outputs = len(node.output)
        self.asked = [bool(name) for name in node.output]
        self.opset = opset
        self.spoilt_outputs: dict[int, str] = {}
        self._attributes = attributes
        self._symbols = symbols

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute; text as `str`."""
        attribute = self._attributes.get(name)
        if attribute is None:
            return default
        value = onnx.helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value

    def optional(self, place: int) -> Value | None:
        """An input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def value(self, place: int) -> Value:
        """An input that may not."""
        value = self.optional(place)
        if value is None:
            raise Spoils("lacks an input")
        return value

    def uniform(self, place: int, what: str) -> Value | None:
        """An input that is left out or uniform, else this spoils."""
        value = self.optional(place)
        if value is not None and not value.uniform:
            raise Spoils(f"takes its {what} from the rows")
        return value

    def rows(self, place: int = 0) -> tuple[Shape, int]:
        """Shape and axis of an input that has rows, else this spoils."""
        value = self.value(place)
        if value.axis is None or value.shape is None:
            raise Spoils("takes as rows what has none")
        return value.shape, value.axis

    def shape(self, place: int) -> Shape:
        """Of an input whose rank must be known."""
        shape = self.value(place).shape
        if shape is None:
            raise Spoils("takes a tensor of unknown rank")
        return shape

    def fresh(self) -> Dim:
        """A uniform length of which nothing is known."""
        return Dim(1, (f"?{next(self._symbols)}",))

    def fresh_like(self, shape: Shape) -> Shape:
        """As many of them."""
        return tuple(self.fresh() for _ in shape)

    def axis(self, rank: int, default: int, name: str = "axis") -> int:
        """An attribute that names an axis, counted from the front."""
        return positive_axis(int(self.attribute(name, default)), rank)


Rule = Callable[[Operator], "Value | list[Value]"]
Rules = dict[tuple[str, str], Rule]


def positive_axis(axis: int, rank: int) -> int:
    """Counted from the front.

    Raises:
        Spoils: there is no such axis.
    """
    if not -rank <= axis < max(rank, 1):
        raise Spoils(f"has an axis {axis} that does not exist")
    return axis + rank if axis < 0 else axis


def register(rules: Rules, domain: str, names: str, rule: Rule) -> None:
    """Have a rule apply to several operators; names are parted by blanks."""
    rules.update(dict.fromkeys(itertools.product([domain], names.split()), rule))


def is_one_element(value: Value) -> bool:
    """Whether it surely has a single element."""
    return value.shape is not None and all(dim == ONE for dim in value.shape)
