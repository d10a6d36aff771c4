"""A choice entered into the text of a `config.yaml`, whose comments stay. Pure."""

from collections.abc import Collection
from io import StringIO

from orjson import dumps
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from serving.models.files.config import CPU, parse_config
from understudy.tuning.trials import Choice

WIDTH = 110
_PLAIN = ("threads", "optimization", "execution")


def entered(text: str, choice: Choice, comment: str = "", file: str = "config.yaml") -> str:
    """The document with these settings.

    Args:
        text: what is there; may be empty.
        choice: what is set; what it leaves as it is stays.
        comment: put above what is set, a line or several.
        file: the name that errors show.

    Raises:
        DocumentError: what is there, or would be, cannot be read.
    """
    if text.strip():
        parse_config(text.encode(), file, _providers)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10 * WIDTH  # lines stay as they are
    document = yaml.load(text) if text.strip() else None
    if document is None:
        document = CommentedMap()
    if choice.batching is not None:
        document.setdefault("batching", CommentedMap())["max"] = choice.batching
    for key in _PLAIN:
        if (value := getattr(choice, key)) is not None:
            document[key] = value
    first = next((key for key in ("batching", *_PLAIN) if getattr(choice, key) is not None), None)
    if comment and first is not None:
        document.yaml_set_comment_before_after_key(first, before=comment)
    written = StringIO()
    yaml.dump(document, written)
    parse_config(written.getvalue().encode(), file, _providers)
    return written.getvalue()


def unversioned(text: str) -> str:
    """The document without what it says of other versions; comments are lost."""
    document = YAML(typ="safe").load(text) or {}
    kept = {key: value for key, value in document.items() if key not in {"versions", "sha256"}}
    return dumps(kept).decode() if kept else ""  # JSON is YAML


def _providers() -> Collection[str]:
    """Those of this machine; what a document names is not ours to change."""
    from serving.models.ort import onnxruntime

    found: Collection[str] = onnxruntime.get_available_providers() or (CPU,)
    return found
