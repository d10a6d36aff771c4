"""What mkdocs does while it builds: pages that come and go are put into the navigation by themselves."""

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add every page of figures and every decision record to the last section, by name."""
    docs = Path(config["docs_dir"])
    inside = config["nav"][-1]["Inside"]
    inside.append({"Benchmarks": _pages(docs, "benchmarks")})
    inside.append({"Decisions": _pages(docs, "decisions")})
    return config


def _pages(docs: Path, folder: str) -> list[str]:
    return sorted(str(path.relative_to(docs)) for path in (docs / folder).glob("*.md"))
