"""`python -m serving`: the inference server alone, as `understudy serve` runs it."""

from typing import Any

from fastapi import Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request

from serving.errors import ServingError
from serving.host.process import private_files, set_up_logs
from serving.host.sockets import listen
from serving.http.app import create_app
from serving.http.public_door import Doorkeeper
from serving.http.server import run_app
from serving.predict import add_predict
from serving.service import InferenceServer
from serving.settings import ServingSettings
from serving.telemetry import cells
from serving.telemetry.cells import FolderCollector, Metrics


def main(settings: ServingSettings | None = None) -> None:
    """Serve a repository until told to end.

    Raises:
        OSError: the port is taken.
    """
    settings = settings or ServingSettings()
    set_up_logs(settings.log_format, settings.log_level)
    private_files()
    folder = settings.state_dir / "metrics-serve"
    cells.clear(folder)
    series = Metrics(folder, "serve")
    try:
        keeper = Doorkeeper(settings, series)
        service = InferenceServer(settings, series, folder)
    except ServingError as error:
        raise SystemExit(f"error: {error}") from None
    app = create_app(service)
    add_predict(app, service)
    registry = CollectorRegistry()
    registry.register(FolderCollector(folder))

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Any:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=media_type)

    run_app(app, service, settings, [listen(settings.host, settings.port)], keeper)


if __name__ == "__main__":
    main()
