"""One answer of the log in words, and as JSON. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from router.mirror.examples import json_values
from serving.wire.tensors import Array, datatype_of
from understudy.records.rows import Found, Recorded

Values = Mapping[str, Any]


def sentence(values: Values) -> str:
    """Who answered, how that came, when, and with what."""
    who = f"the {values['role']} {values['target']} ({_chosen(values)})"
    when = _time(values["request_time"])
    took = f"in {values['duration_us'] / 1000:.3g} ms"
    if values["status_code"] < 400:
        return f"answered by {who} at {when} {took}"
    why = f": {values['error']}" if values["error"] else ""
    return f"asked of {who} at {when}, and ended with status {values['status_code']} {took}{why}"


def _chosen(values: Values) -> str:
    """Why it was this role."""
    drawn, role = values["drawn"], values["role"]
    if drawn == role:
        return "drawn"
    if drawn is not None:
        return f"for the {drawn}, which was drawn and failed"
    return "named by the client" if values["forced"] else "no canary was there to be drawn"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")


def verdict(comparison: Values) -> str:
    """What a comparison with another answer found."""
    if comparison["agreed"] is None:
        return f"{comparison['target']} gave no answer to compare"
    found = [
        f"{each['output']} ({each['kind']}{_distance(each['distance'])})"
        for each in comparison["differences"] or ()
    ]
    word = "agrees" if comparison["agreed"] else "differs"
    return f"{comparison['target']} {word}" + (f": {', '.join(found)}" if found else "")


def _distance(distance: float | None) -> str:
    """None of an output that is redacted."""
    return "" if distance is None else f", distance {distance:.4g}"


def as_json(found: Found) -> dict[str, Any]:
    """All that the log has of an answer; NaN and infinities are text."""
    answer = found.answer
    return {
        "sentence": sentence(answer.values),
        **_row(answer),
        "comparisons": [{"sentence": verdict(each.values), **_row(each)} for each in found.comparisons],
    }


def _row(row: Recorded) -> dict[str, Any]:
    return {
        "model": row.file.model,
        "file": row.file.name,
        "record": {name: value for name, value in row.values.items() if name != "input_raw"},
        "inputs": _tensors(row.inputs),
        "outputs": _tensors(row.outputs),
    }


def _tensors(tensors: Mapping[str, Array]) -> dict[str, Any]:
    return {
        name: {"datatype": datatype_of(array), "shape": list(array.shape), "data": list(json_values(array))}
        for name, array in tensors.items()
    }
