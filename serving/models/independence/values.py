"""What is known of a tensor in the joined run and in the runs that it replaces. Pure.

There are four kinds:

- uniform (`axis` None): the same in all of those runs;
- rows (`axis` k): along axis k its length is the number of rows times a uniform length m, and the i-th block
  of m depends on nothing but the i-th row of the inputs and what is uniform;
- counting (`axis` None, an element contains the number of rows): whole numbers such as a shape, each known;
- `Spoilt`: it may depend on other rows in some other way, with the operator that is to blame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.models.independence.dims import Dim

MOST_ELEMENTS = 256
"""Contents are followed of tensors no larger than this: shapes, axes, pads, scales."""

Element = Dim | float | None
"""A whole number or truth value (0 or 1), a fraction, or something uniform that is not known."""

Shape = tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that is not spoilt.

    Attributes:
        shape: None where the rank is not known, which is never so of rows.
        axis: of the rows; None where there are none.
        elements: in row-major order, of small tensors only; None where they are not followed.
    """

    shape: Shape | None = None
    axis: int | None = None
    elements: tuple[Element, ...] | None = None

    @property
    def counts(self) -> bool:
        """Whether it contains the number of rows."""
        return self.elements is not None and any(
            isinstance(element, Dim) and element.counts_rows for element in self.elements
        )

    @property
    def uniform(self) -> bool:
        """Whether it is the same in every run."""
        return self.axis is None and not self.counts

    @property
    def rank(self) -> int | None:
        """None if unknown."""
        return None if self.shape is None else len(self.shape)


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A tensor whose rows may influence each other.

    Attributes:
        reason: the operator and what it does, in words.
    """

    reason: str


State = Value | Spoilt

UNIFORM = Value()


class Spoils(Exception):
    """An operator whose rows cannot be told apart from here on; its words follow the operator's name."""


def integers(value: Value | None) -> list[int] | None:
    """The whole numbers in a tensor if all are known."""
    if value is None or value.elements is None:
        return None
    numbers = [element.factor for element in value.elements if isinstance(element, Dim) and element.known]
    return numbers if len(numbers) == len(value.elements) else None


def scalar(element: Element) -> Value:
    """A tensor of rank 0."""
    return Value((), elements=(element,))


def vector(elements: Sequence[Element]) -> Value:
    """A tensor of rank 1."""
    return Value((Dim(len(elements)),), elements=tuple(elements))


def constant(array: np.ndarray[Any, Any]) -> Value:
    """A tensor whose content is in the graph."""
    shape = tuple(Dim(length) for length in array.shape)
    if array.size > MOST_ELEMENTS or array.dtype.kind not in "biuf":
        return Value(shape)
    kind = float if array.dtype.kind == "f" else int
    return Value(
        shape, elements=tuple(Dim(kind(x)) if kind is int else float(x) for x in array.ravel().tolist())
    )
