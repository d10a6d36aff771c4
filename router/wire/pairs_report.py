"""Pairs for labels as a sandbox sends them: part of its reports."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter

from router.mirror.label_pairs import ID_BYTES, MAX_TEXT, MOST_GIVEN, LabelPair

_COUNT = Annotated[int, Field(ge=0, le=2**53)]
_VALUE = bool | int | float | Annotated[str, Field(max_length=MAX_TEXT)] | None


class _Reported(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class PairReport(_Reported):
    """One `router.mirror.label_pairs.LabelPair`."""

    id: str = Field(pattern=rf"^[0-9a-f]{{{2 * ID_BYTES}}}$")
    output: str = Field(max_length=1000)
    stage: _COUNT
    by: str = Field(max_length=2500)
    reference: _VALUE
    candidate: _VALUE
    at: float = Field(ge=0, lt=2**40)


_ROWS = TypeAdapter(Annotated[tuple[PairReport, ...], Field(max_length=MOST_GIVEN)])


def _pairs(value: Any) -> tuple[LabelPair, ...]:
    """All of them at once: one by one they would keep control's event loop for long."""
    if isinstance(value, tuple):  # from this process
        return value
    return tuple(
        LabelPair(row.id, row.output, row.stage, row.by, row.reference, row.candidate, row.at)
        for row in _ROWS.validate_python(value)
    )


Sent = Annotated[tuple[LabelPair, ...], PlainValidator(_pairs, json_schema_input_type=tuple[PairReport, ...])]


class PairsReport(_Reported):
    """What one sandbox has kept since its last report that was answered."""

    model: str = Field(max_length=200)
    target: str = Field(max_length=2500, description="Key of the candidate")
    seen: _COUNT = Field(description="Mirrored requests looked at since the process started, by output")
    left_out: dict[str, _COUNT] = Field(
        default_factory=dict, max_length=100, description="Those without a pair, by reason"
    )
    kept: Sent
