"""One answer of the prediction log, for people at a terminal."""

from collections.abc import Mapping

import typer

from router.mirror.examples import json_values
from serving.wire.tensors import Array, datatype_of
from understudy.output import table
from understudy.records.rows import Found, Recorded
from understudy.records.telling import sentence, verdict

_SHOWN_VALUES = 32
_FACTS = (
    ("receipt", "receipt"),
    ("request_id", "x-request-id"),
    ("client_request_id", "id of the request"),
    ("digest", "SHA-256 of the model"),
    ("stage", "stage"),
    ("revision", "revision"),
    ("propensity", "probability of the draw"),
    ("sticky_key_hash", "hash of the sticky key"),
    ("sampling_fraction", "share that is recorded"),
    ("logging_error", "not recorded"),
)
"""Columns that are shown where they are known, and what they are called."""


def show_answer(found: Found) -> None:
    """Print all that the log has of an answer."""
    answer = found.answer
    typer.echo(f"{answer.file.model}: {sentence(answer.values)}")
    for name, words in _FACTS:
        if (value := answer.values[name]) is not None:
            typer.echo(f"  {words}: {value:g}" if isinstance(value, float) else f"  {words}: {value}")
    typer.echo(f"  file: {answer.file.name}")
    _tensors(answer)
    for each in found.comparisons:
        typer.echo(f"mirrored: {verdict(each.values)}")
        _side("would have answered", each.outputs)


def _tensors(answer: Recorded) -> None:
    if answer.values["input_raw"] is not None:
        typer.echo(f"input: {len(answer.values['input_raw'])} bytes without a head")
    _side("input", answer.inputs)
    _side("output", answer.outputs)


def _side(title: str, tensors: Mapping[str, Array]) -> None:
    rows = [
        [name, datatype_of(array), f"{list(array.shape)}", _values(array)] for name, array in tensors.items()
    ]
    if rows:
        table("", [title, "datatype", "shape", "values"], rows)


def _values(array: Array) -> str:
    shown = (
        f"{value:.6g}" if isinstance(value, float) else str(value)
        for value in json_values(array, _SHOWN_VALUES)
    )
    return ", ".join(shown) + (f", ... ({array.size})" if array.size > _SHOWN_VALUES else "")
