"""`understudy control`: the control plane alone."""

from typing import Any

from control.settings import ControlSettings
from serving.host.entry import served
from understudy.options import command
from understudy.processes import app, port_in_words, settings_of


@command(app, ControlSettings)
def control(options: dict[str, Any]) -> None:
    """The control plane alone."""
    settings = settings_of(ControlSettings, options)
    with port_in_words(f"admin port {settings.admin_port}"):
        served("control.__main__").main(settings)
