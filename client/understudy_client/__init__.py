"""Python client of Understudy: numpy and pandas in, numpy out, and what became of the answers told."""

from understudy_client.aio import AsyncClient
from understudy_client.answer import Answer, AsyncAnswer
from understudy_client.client import Client
from understudy_client.errors import (
    BadGateway,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    Forbidden,
    InvalidAnswer,
    InvalidData,
    InvalidRequest,
    ModelFailed,
    NoReceipt,
    NotFound,
    NotOffered,
    OutcomeLeftOut,
    StatusError,
    TimedOut,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UnderstudyError,
)
from understudy_client.outcomes import Outcome
from understudy_client.taken import LeftOut, OutcomesTaken
from understudy_client.wire.metadata import ModelMetadata, TensorSpec

__all__ = [
    "Answer",
    "AsyncAnswer",
    "AsyncClient",
    "BadGateway",
    "Client",
    "ConnectionFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "Forbidden",
    "InvalidAnswer",
    "InvalidData",
    "InvalidRequest",
    "LeftOut",
    "ModelFailed",
    "ModelMetadata",
    "NoReceipt",
    "NotFound",
    "NotOffered",
    "Outcome",
    "OutcomeLeftOut",
    "OutcomesTaken",
    "StatusError",
    "TensorSpec",
    "TimedOut",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
    "UnderstudyError",
]
