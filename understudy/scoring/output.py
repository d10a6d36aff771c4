"""What the output has of each row, as one table of Arrow; its names are those of the prediction log.

Law: every part of an output has the same columns of the same types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from router.record.files.columns import DATATYPE, OUTPUT, SHAPE, arrow_values
from serving.errors import InvalidInput
from serving.wire.tensors import DATATYPES, Array, TensorSpec
from understudy.scoring.formats.block import Block, Layout, as_text
from understudy.scoring.running import Answers, has_rows

_NAME: Final = pa.dictionary(pa.int8(), pa.string())
_OF_A_ROW: Final = ("row", "model", "version", "digest")
_OF_A_CANARY: Final = ("role", "canary", "agreed")
ROLES: Final = ("stable", "canary")

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Model:
    """What a row says of the model that answered it.

    Args:
        key: `name/version`.
        digest: SHA-256 of its files.
    """

    key: str
    digest: str


@dataclass(frozen=True, slots=True)
class Scored:
    """The rows of a block that have an answer.

    Args:
        places: in the block, ascending.
        outputs: by column, in that order.
        by_canary: of each whether the answer is the canary's.
        drawn: of each whether the canary scored it.
        agreed: of each whether both agree; None where they were not compared.
    """

    places: Places
    outputs: Mapping[str, Any]
    by_canary: npt.NDArray[np.bool_]
    drawn: npt.NDArray[np.bool_]
    agreed: Sequence[bool | None]


@dataclass(frozen=True, slots=True)
class Output:
    """The columns of an output.

    Args:
        specs: the model's outputs.
        kept: columns of the input that it has, and their types.
        models: stable and, if there is one, the canary.
        joined: whether the rows of outputs are joined.
    """

    specs: Sequence[TensorSpec]
    kept: Mapping[str, Any]
    models: tuple[Model, ...]
    joined: bool

    @property
    def schema(self) -> Any:
        """Of the table."""
        fields = [pa.field("row", pa.int64()), *(pa.field(*each) for each in self.kept.items())]
        for spec in self.specs:
            fields += _fields(spec, joined=self.joined)
        if len(self.models) > 1:
            fields += [pa.field("role", _NAME), pa.field("canary", _NAME), pa.field("agreed", pa.bool_())]
        return pa.schema([*fields, *(pa.field(name, _NAME) for name in _OF_A_ROW[1:])])

    def outputs(self, answers: Answers) -> dict[str, Any]:
        """What a model answered, by column, a value for each row that it answered."""
        found: dict[str, Any] = {}
        joined = answers.joined([spec.name for spec in self.specs])
        pieces = answers.pieces if joined is None else [joined]
        for spec in self.specs:
            parts = [_arrays(spec, piece[spec.name], joined=self.joined) for piece in pieces]
            for at, field in enumerate(_fields(spec, joined=self.joined)):
                none = pa.array([], field.type)
                found[field.name] = pa.concat_arrays([none, *(part[at].cast(field.type) for part in parts)])
        return found

    def table(self, block: Block, scored: Scored) -> Any:
        """The rows of a block that have an answer."""
        columns = {"row": pa.array(block.rows[scored.places])}
        whole = len(scored.places) == len(block)
        for name, kind in self.kept.items():
            column = _typed(block.columns[name], kind)
            columns[name] = column if whole else column.take(pa.array(scored.places))
        columns |= scored.outputs
        if len(self.models) > 1:
            columns["role"] = _named(ROLES, scored.by_canary)
            columns["canary"] = _named(
                (self.models[1].key,), np.zeros(len(whole_rows := scored.drawn)), ~whole_rows
            )
            columns["agreed"] = pa.array(scored.agreed, pa.bool_())
        names, versions = zip(*(model.key.split("/") for model in self.models), strict=True)
        columns["model"] = _named(names, scored.by_canary)
        columns["version"] = _named(versions, scored.by_canary)
        columns["digest"] = _named([model.digest for model in self.models], scored.by_canary)
        return pa.table(columns, self.schema)


def kept_columns(layout: Layout, inputs: Sequence[str], keep: str, taken: Sequence[str]) -> dict[str, Any]:
    """The columns of the input that the output has, and their types.

    Args:
        layout: of the input.
        inputs: its columns that a model takes.
        keep: `others` than those, `all`, `none`, or names with commas between.
        taken: names that the output has anyway.

    Raises:
        InvalidInput: there is no such column, or it has a name that the output needs.
    """
    named = [name for name in keep.split(",") if name]
    others = [name for name in layout.columns if name not in inputs]
    chosen = {"others": others, "all": [*layout.columns], "none": []}.get(keep, named)
    for name in chosen:
        if name not in layout.columns:
            raise InvalidInput(
                f"--keep {name}: there is no such column; there are {', '.join(layout.columns)}"
            )
        if name in taken:
            raise InvalidInput(
                f"column {name!r} has a name that the output needs for itself; name the columns that it is to"
                " keep without this one, e.g. --keep id, or --keep none"
            )
    return {name: layout.columns[name] for name in chosen}


def names_taken(specs: Sequence[TensorSpec], *, joined: bool) -> list[str]:
    """The names of columns that are the output's own."""
    outputs = [field.name for spec in specs for field in _fields(spec, joined=joined)]
    return [*_OF_A_ROW, *_OF_A_CANARY, *outputs]


def _fields(spec: TensorSpec, *, joined: bool) -> list[Any]:
    """The columns of an output: a value, or a list of its values in row-major order, with its shape."""
    name, value = OUTPUT + spec.name, arrow_values(np.empty(0, DATATYPES[spec.datatype]), spec.datatype).type
    metadata = {DATATYPE: spec.datatype}
    rank = _rank(spec, joined=joined)
    if rank == 0:
        return [pa.field(name, value, metadata=metadata)]
    values = pa.field(name, pa.list_(value), metadata=metadata)
    return [values] if rank == 1 else [values, pa.field(name + SHAPE, pa.list_(pa.int64()))]


def _rank(spec: TensorSpec, *, joined: bool) -> int | None:
    """The dimensions of a row's answer; None where they are not known."""
    return None if spec.shape is None else len(spec.shape) - has_rows(spec, joined=joined)


def _arrays(spec: TensorSpec, array: Array, *, joined: bool) -> list[Any]:
    """The columns of an output as `_fields` says."""
    rows, shape = len(array), array.shape[1:]
    values = arrow_values(array.reshape(-1), spec.datatype)
    rank = _rank(spec, joined=joined)
    if rank == 0:
        return [values]
    lists = [_lists(values, rows, int(np.prod(shape)))]
    if rank != 1:
        shapes = pa.array(np.tile(np.array(shape, np.int64), rows), pa.int64())
        lists.append(_lists(shapes, rows, len(shape)))
    return lists


def _lists(values: Any, rows: int, length: int) -> Any:
    offsets = np.arange(rows + 1, dtype=np.int64) * length
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _named(
    names: Sequence[str], which: npt.NDArray[Any], missing: npt.NDArray[np.bool_] | None = None
) -> Any:
    indices = pa.array(which.astype(np.int8), mask=missing)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names))


def _typed(column: Any, kind: Any) -> Any:
    """A column that is kept; one that was read as an input of JSON lines is text again."""
    if not isinstance(column, list) and column.type == kind:
        return column
    cells = column if isinstance(column, list) else column.to_pylist()
    return pa.array([as_text(cell) for cell in cells], kind)
