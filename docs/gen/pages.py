"""The generated pages, each made from what it describes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from docs.gen import (
    api_page,
    chart_page,
    commands_page,
    metrics_page,
    model_config_page,
    rollout_page,
    settings_page,
)

DOCS = Path(__file__).parents[1]

PAGES: Mapping[str, Callable[[], str]] = MappingProxyType(
    {
        "reference/rollout-file.md": rollout_page.render,
        "reference/rollout.schema.json": rollout_page.render_schema,
        "../router/rollout.schema.json": rollout_page.render_schema,
        "reference/model-config.md": model_config_page.render,
        "reference/settings.md": settings_page.render,
        "reference/helm-values.md": chart_page.render,
        "reference/commands.md": commands_page.render,
        "reference/metrics.md": metrics_page.render,
        "reference/admin-api.md": api_page.render_admin,
        "reference/inference-api.md": api_page.render_public,
    }
)
"""Name below docs/ -> what gives its text; the same text whenever the code is the same. The schema is package data too."""
