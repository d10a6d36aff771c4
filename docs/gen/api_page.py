"""The API reference: the OpenAPI documents of both doors, for people."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import control.api.app
import serving.http.app
from control.plane import Plane
from control.settings import ControlSettings
from docs.gen.markdown import code, page, table
from docs.gen.wire import WIRE
from router.outcomes.endpoint import add_outcomes
from serving.predict import add_predict
from serving.service import InferenceServer
from serving.settings import ServingSettings
from serving.telemetry.cells import Metrics
from serving.wire.handler import Single
from serving.wire.message import Call

Schema = Mapping[str, Any]
_METHODS = ("get", "put", "post", "delete")


def admin_document() -> dict[str, Any]:
    """OpenAPI of the admin door, from the application itself."""
    with tempfile.TemporaryDirectory() as folder:
        plane = Plane(ControlSettings(state_dir=Path(folder), models=Path(folder)))
        document = control.api.app.create_app(plane).openapi()
        asyncio.run(plane.stop())
        plane._metrics.close()  # noqa: SLF001  (which `stop` leaves to the end of the process)
    return document


def public_document() -> dict[str, Any]:
    """OpenAPI of the public door, from the application itself."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ServingSettings(state_dir=Path(folder), models=Path(folder))
        metrics = Metrics(Path(folder) / "metrics", "docs")
        service = InferenceServer(settings, metrics, Path(folder) / "metrics")
        app = serving.http.app.create_app(service)
        add_predict(app, service)
        add_outcomes(app, service, Single(_nobody))
        document = app.openapi()
        metrics.close()
    return document


def _nobody(_: Call) -> NoReturn:
    """Who takes outcomes where only the description is wanted."""
    raise NotImplementedError


def operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Method, path and description of every operation."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def kind(schema: Schema) -> str:
    """The type of a schema in words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(kind(each) for each in schema[key])
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    match schema.get("type"):
        case "array":
            return f"list of {kind(schema.get('items', {}))}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"mapping to {kind(schema['additionalProperties'])}"
        case None:
            return "any"
        case other:
            return str(other)


def _operation(method: str, path: str, about: Schema) -> str:
    parts = [f"### {method} {path}", about.get("summary", "")]
    if parameters := about.get("parameters"):
        rows = [
            (
                code(each["name"]),
                each["in"] + (", required" if each.get("required") else ""),
                kind(each["schema"]),
                _value(each["schema"].get("default")),
                each.get("description", ""),
            )
            for each in parameters
        ]
        parts.append(table(["parameter", "in", "type", "default", "meaning"], rows))
    if body := about.get("requestBody"):
        found = [f"{code(media)}: {kind(content['schema'])}" for media, content in body["content"].items()]
        parts.append("Body: " + "; ".join(found))
    for status, answer in sorted(about["responses"].items()):
        if status < "400":
            parts.append(f"Answer: {status} {_bodies(answer)}".rstrip())
    errors = [
        f"{status} {answer['description'].lower()}"
        for status, answer in sorted(about["responses"].items())
        if status >= "400"
    ]
    if errors:
        parts.append("Errors: " + ", ".join(errors))
    return "\n\n".join(part.strip("\n") for part in parts)


def _bodies(answer: Schema) -> str:
    return " or ".join(
        code(media) if kind(content.get("schema", {})) in {"any", "string"} else kind(content["schema"])
        for media, content in answer.get("content", {}).items()
    )


def _value(default: Any) -> str:
    return (
        ""
        if default in (None, "")
        else code(str(default).lower() if isinstance(default, bool) else str(default))
    )


def _schema(name: str, schema: Schema) -> str:
    required = schema.get("required", [])
    rows = [
        (code(field), kind(about), "" if field in required else "optional", about.get("description", ""))
        for field, about in schema.get("properties", {}).items()
    ]
    fields = table(["field", "type", "", "meaning"], rows) if rows else ""
    return "\n\n".join([f"### {name}", schema.get("description", ""), fields])


def _sections(document: Schema) -> tuple[str, ...]:
    schemas = document.get("components", {}).get("schemas", {})
    return (
        "## Operations",
        *(_operation(*found) for found in operations(document)),
        *(["## Schemas"] if schemas else []),
        *(_schema(name, schemas[name]) for name in sorted(schemas)),
    )


def render_admin() -> str:
    """The page of the admin door."""
    lead = """
The admin door is `127.0.0.1:9000` unless told otherwise; it serves this as OpenAPI at `/openapi.json`, and as
a page at `/docs`, which needs nothing from elsewhere. With `UNDERSTUDY_TOKEN` set, and always off loopback, a request
needs `Authorization: Bearer TOKEN`; the viewer's token may only read. A change takes `If-Match` with the revision that it is based on, and is refused with 412 when that is stale.
"""
    errors = """
## Errors

Problem details (RFC 9457), `application/problem+json`: `title`, `status`, `detail`, and `file`, `line` and `column`
where a document is at fault.
"""
    return page(
        "Admin API", "the OpenAPI document of the admin door", lead, errors, *_sections(admin_document())
    )


def render_public() -> str:
    """The page of the public door."""
    lead = """
The public door is port 8000: the Open Inference Protocol v2 over HTTP, with the extensions for binary tensors,
statistics, model configuration and the repository. It serves this as OpenAPI at `/openapi.json`. Any client of the
protocol works unmodified. The answer to an inference request carries `x-understudy-target`, the model that gave it;
a request may carry `x-understudy-target: canary`, `stable` or `name/version` to choose (a candidate only where
`--canary-naming` lets it, else 403; of several candidates none is the canary, and each has its `name/version`), and is then
left out of the evidence. `POST /v1/outcomes` is no part of the
protocol; `understudy up` and `understudy node` have it, `understudy serve` has not: [outcomes](../outcomes.md).
Clients of KServe's V1 ask `POST /v1/models/{model}:predict`, [row by row](../migration/kserve.md#clients-of-v1).
"""
    return page(
        "Inference API", "the OpenAPI document of the public door", lead, WIRE, *_sections(public_document())
    )
