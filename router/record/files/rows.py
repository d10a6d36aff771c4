"""A frame as one row of the prediction log: what was said of it, and its tensors by name. Pure.

Law: every frame is a row. What of it cannot be read is left out, and `logging_error` says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import orjson

from router.mirror.frame import Frame
from serving.wire.codec import WIRES
from serving.wire.tensors import Array

Tensors = Mapping[str, Array]

_OVER: Final = ("role", "status_code", "duration_us", "error", "agreed", "differences")
"""What a comparison says of itself, where a frame can only say it of an answer."""

_BESIDE_BYTES: Final = 400
"""What a row takes beside its bodies, about."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        model: the public name.
        instance: the process that counted the answer.
        at: when the request arrived, UTC.
        values: by the names of `router.record.files.columns.FIXED`; what is missing is null.
        tensors: by column, `input_<name>` and `output_<name>`.
        bytes: what it takes in memory, about.
    """

    model: str
    instance: str
    at: datetime
    values: Mapping[str, Any]
    tensors: Tensors
    bytes: int


@lru_cache(256)
def said_of(frame_said: bytes) -> Mapping[str, Any]:
    """What a sink said of its frames; the same text comes with many."""
    found: dict[str, Any] = orjson.loads(frame_said)
    return found


def row_of(frame: Frame, wall: float) -> Row:
    """The row of an answer.

    Args:
        frame: from a `router.record.sink.RecordSink`.
        wall: seconds since 1970 at the zero of the clock of `Frame.arrived`.
    """
    said = said_of(frame.said)
    at = datetime.fromtimestamp(wall + frame.arrived, UTC)
    tensors, client_id, problems = _bodies(frame)
    values = {
        "kind": said.get("kind", "request"),
        "receipt": frame.receipt.decode("ascii", "replace") or None,
        "request_id": frame.id.decode("latin-1") or None,
        "client_request_id": client_id,
        "request_time": at,
        "role": frame.role,
        "drawn": frame.drawn,
        "drawn_target": said.get("drawn_target"),
        "forced": frame.forced,
        "refused": frame.refused,
        "target": frame.target,
        "version": frame.target.partition("@")[0].rpartition("/")[2],
        "digest": said.get("digest"),
        "revision": said.get("revision"),
        "stage": frame.stage,
        "status_code": frame.status,
        "error": frame.error or None,
        "duration_us": round(frame.seconds * 1e6),
        "shared_run": frame.shared,
        "sampling_fraction": said.get("sampling_fraction"),
        "propensity": said.get("propensity"),
        "sticky_key_hash": f"{frame.key:016x}" if frame.key else None,
        "input_raw": frame.request if frame.request_json == 0 and _may_be_read(frame) else None,
        "logging_error": "; ".join(problems) or None,
        "whole": bool(said.get("whole")) and _is_whole(frame, tensors) and not problems,
    }
    values |= {name: said[name] for name in _OVER if name in said}
    size = len(frame.request) + len(frame.reference) + _BESIDE_BYTES
    return Row(frame.model, str(said["instance"]), at, values, tensors, size)


def _is_whole(frame: Frame, tensors: Tensors) -> bool:
    """Whether a good answer and its request can be made again of the row; BYTES that are no text cannot."""
    texts = (array for array in tensors.values() if array.dtype.hasobject)
    kept = all(isinstance(value, str) for array in texts for value in array.ravel().tolist())
    return frame.status == 200 and bool(frame.request and frame.reference) and kept


def _may_be_read(frame: Frame) -> bool:
    """Whether its inputs are ones that the model has: what was refused may name anything."""
    return not frame.refused and (frame.status < 400 or frame.status >= 500)


def _bodies(frame: Frame) -> tuple[dict[str, Array], str | None, list[str]]:
    """The tensors of both bodies by column, the client's id, and what could not be read."""
    wire = WIRES[frame.wire]
    tensors: dict[str, Array] = {}
    client_id: str | None = None
    problems = []
    if frame.request and frame.request_json != 0 and wire.decode_request is not None:
        try:
            client_id, inputs = wire.decode_request(frame.request, frame.request_json)
            if _may_be_read(frame):
                tensors |= {f"input_{name}": array for name, array in inputs.items()}
        except Exception as error:  # noqa: BLE001  (a row is a row, whatever a client sent)
            if _may_be_read(frame):
                problems.append(f"inputs: {error}")
    if frame.reference:
        try:
            response = wire.decode_response(frame.reference, frame.reference_json)
            client_id = client_id or response.id
            tensors |= {f"output_{name}": array for name, array in response.outputs.items()}
        except Exception as error:  # noqa: BLE001  (or a server elsewhere answered)
            problems.append(f"outputs: {error}")
    return tensors, client_id, problems
