"""`understudy control`: the control plane alone."""

from typing import Any

from control.settings import ControlSettings
from understudy.options import command
from understudy.processes import app, port_in_words, settings_of


@command(app, ControlSettings)
def control(options: dict[str, Any]) -> None:
    """The control plane alone."""
    from control.__main__ import main as control_main

    settings = settings_of(ControlSettings, options)
    with port_in_words(f"admin port {settings.admin_port}"):
        control_main(settings)
