"""Examples of comparisons as a sandbox sends them: part of its reports."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from router.mirror.examples import MAX_REQUEST_VALUES, MAX_VALUES, Example
from router.mirror.sampler import WAITING

MAX_OUTPUTS = 10_000

Value = bool | int | float | str
Values = Annotated[list[Value], Field(max_length=MAX_VALUES)]


class _Reported(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class InputReport(_Reported):
    """One input of a request that was kept."""

    name: str
    shape: list[int] = Field(max_length=64)
    datatype: str
    data: list[Value] = Field(max_length=MAX_REQUEST_VALUES)
    parameters: dict[str, bool | int] = Field(default_factory=dict)


class RequestReport(_Reported):
    """A request that was kept."""

    inputs: list[InputReport] = Field(max_length=1000)


class ExampleReport(_Reported):
    """One `router.mirror.examples.Example`; its `kind` may be one that only a newer version knows."""

    id: str = Field(max_length=400)
    at: float = Field(ge=0, lt=2**40)
    model: str
    stage: int = Field(ge=0, le=2**53)
    target: str
    output: str
    kind: str = Field(max_length=100)
    distance: float = Field(ge=0)
    datatype: str
    shape: list[int] = Field(max_length=64)
    reference: Values
    candidate_datatype: str
    candidate_shape: list[int] = Field(max_length=64)
    candidate: Values
    cut: bool
    redacted: bool
    request: RequestReport | None
    receipt: str = Field("", max_length=100)

    def example(self) -> Example:
        """As the value."""
        fields = self.model_dump(exclude_unset=True)
        for name in ("shape", "reference", "candidate_shape", "candidate"):
            fields[name] = tuple(fields[name])
        return Example(**fields)


def _example(value: Any) -> Example:
    return value if isinstance(value, Example) else ExampleReport.model_validate(value).example()


Sent = Annotated[Example, PlainValidator(_example, json_schema_input_type=ExampleReport)]


class ExamplesReport(_Reported):
    """What one sandbox has taken since its last report that was answered."""

    model: str = Field(max_length=200)
    seen: int = Field(ge=0, le=2**53, description="Comparisons looked at since the process started")
    outputs: dict[str, Annotated[int, Field(ge=0, le=2**53)]] = Field(
        default_factory=dict, max_length=MAX_OUTPUTS, description="The same by output"
    )
    kept: tuple[Sent, ...] = Field(max_length=WAITING)
