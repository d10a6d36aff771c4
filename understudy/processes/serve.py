"""`understudy serve`: the inference server alone."""

from typing import Any

from serving.host.entry import served
from serving.settings import ServingSettings
from understudy.options import command
from understudy.processes import app, port_in_words, settings_of


@command(app, ServingSettings)
def serve(options: dict[str, Any]) -> None:
    """The inference server alone (Open Inference Protocol v2)."""
    settings = settings_of(ServingSettings, options)
    with port_in_words(f"port {settings.port}"):
        served("serving.__main__").main(settings)
