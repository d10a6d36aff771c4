"""How telling outcomes is described, on the doors of workers and of control: one body, one answer."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

_OUTCOME: Final = {
    "type": "object",
    "required": ["name", "value"],
    "properties": {
        "receipt": {"type": "string", "description": "`x-understudy-receipt` of the answer"},
        "model": {"type": "string", "description": "Without a receipt: the public name"},
        "key": {"type": "string", "description": "Without a receipt: the user, as in the header of `sticky`"},
        "time": {"description": "Without a receipt: when they were answered; seconds since 1970 or ISO 8601"},
        "name": {"type": "string", "description": "Of the outcome, in the document"},
        "value": {"description": "The truth of a label; true or false; an amount"},
    },
}  # fmt: skip
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [_OUTCOME, {"type": "array", "items": _OUTCOME}]},
                "example": {"receipt": "...", "name": "conversion", "value": 1},
            },
            "application/x-ndjson": {
                "schema": {"type": "string", "description": "One outcome in each line, at most 10,000"}
            },
        },
    }
}
"""What an operation that takes outcomes adds to its description."""
DESCRIPTION: Final = (
    "One JSON object, an array of them, or one in each line; 10,000 at most, and the body may be compressed"
    " (`content-encoding: gzip`). A request that is not understood is refused whole; what is understood is"
    " taken or left out one by one, with the reason. Telling an outcome again does no harm."
)


class OutcomeExample(BaseModel):
    """One of the outcomes that were not taken."""

    model_config = ConfigDict(extra="forbid")

    line: int = Field(description="Which of the request, from 1")
    reason: str
    words: str | None = Field(None, description="The same for a person; only control says it")


class OutcomesTaken(BaseModel):
    """What became of the outcomes of a request."""

    model_config = ConfigDict(extra="forbid")

    accepted: int = Field(
        description="By control: new ones, which are kept now. By a node: those on its disk, from where they"
        " go to control"
    )
    left_out: dict[str, int] = Field(description="How many others, by reason")
    examples: list[OutcomeExample] = Field(description="The first of those: 20 of control's, 10 of a node's")
