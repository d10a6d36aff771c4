"""Webhooks that others send to control: MLflow's, whose signature is their token."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from control.api.problems import problems
from control.api.requests import Control, Json
from control.follow.deliveries import PATH
from serving.errors import NotFound, ServingError

router = APIRouter()


class HookTaken(BaseModel):
    """What comes of a webhook."""

    asked: list[str] = Field(description="The rollouts whose alias is asked for now")


@router.post(
    PATH,
    summary="A webhook of MLflow: ask now where the followed aliases stand",
    description="MLflow signs it (`X-MLflow-Signature`) with the secret that `--mlflow-webhook-secret` names;"
    " the signature stands in place of the token, here and nowhere else. What it says is not believed: MLflow"
    " is asked. Signed more than five minutes ago, it is refused (401), and taken twice too (409).",
    response_model=HookTaken,
    responses=problems(400, 404, 409, 413, 503),
)
async def mlflow(plane: Control, request: Request) -> Any:
    if plane.deliveries is None:
        raise NotFound("no secret of webhooks is set: say --mlflow-webhook-secret")
    plane.require_lead()
    plane.door.require_open()
    headers = {name.lower(): value for name, value in request.headers.items()}
    body = await request.body()
    try:
        registered = plane.deliveries.take(headers, body)
    except ServingError as error:
        plane.refused_hook(str(error))
        raise
    return Json({"asked": plane.follower.hint(registered)})
