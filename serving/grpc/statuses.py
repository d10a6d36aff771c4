"""What gRPC calls the failures that counts, logs and answers of targets say by HTTP's numbers."""

from http import HTTPStatus
from typing import Any

import grpc

from serving.wire.handler import CLIENT_LEFT

Code: Any = grpc.StatusCode

CODES: dict[int, Any] = {
    HTTPStatus.BAD_REQUEST: Code.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: Code.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Code.PERMISSION_DENIED,
    HTTPStatus.NOT_FOUND: Code.NOT_FOUND,
    HTTPStatus.REQUEST_TIMEOUT: Code.DEADLINE_EXCEEDED,
    HTTPStatus.CONFLICT: Code.ABORTED,
    HTTPStatus.PRECONDITION_FAILED: Code.FAILED_PRECONDITION,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Code.RESOURCE_EXHAUSTED,  # as gRPC itself says it of a message
    HTTPStatus.UNPROCESSABLE_ENTITY: Code.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: Code.RESOURCE_EXHAUSTED,
    CLIENT_LEFT: Code.CANCELLED,
    HTTPStatus.INTERNAL_SERVER_ERROR: Code.INTERNAL,
    HTTPStatus.NOT_IMPLEMENTED: Code.UNIMPLEMENTED,
    HTTPStatus.BAD_GATEWAY: Code.INTERNAL,  # not UNAVAILABLE, upon which clients send again: a model has run
    HTTPStatus.SERVICE_UNAVAILABLE: Code.UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: Code.DEADLINE_EXCEEDED,
}


def code_of(status: int) -> Any:
    """Of an answer's status; of one that no table has, what its class says."""
    known = CODES.get(status)
    if known is not None:
        return known
    return Code.INVALID_ARGUMENT if 400 <= status < 500 else Code.INTERNAL
