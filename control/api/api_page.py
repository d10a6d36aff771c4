"""`/docs`: the admin door's OpenAPI document as a page of plain HTML, made once.

Nothing of it comes from elsewhere and no script is needed, so the policy of the page holds for it too.
"""

from html import escape
from typing import Any

from fastapi import FastAPI, Response

from control.dashboard.door import HEADERS

_ORDER = ("get", "put", "post", "patch", "delete")


def add_api_page(app: FastAPI) -> None:
    """Add the page; after everything that it describes."""
    made: list[str] = []

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        if not made:
            made.append(render(app.openapi()))
        return Response(made[0], media_type="text/html; charset=utf-8", headers=HEADERS)


def render(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    operations = [
        (path, method, item[method])
        for path, item in document["paths"].items()
        for method in _ORDER
        if method in item
    ]
    schemas = document.get("components", {}).get("schemas", {})
    title = f"{document['info']['title']} {document['info']['version']}"
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}: API</title>",
            '<link rel="icon" href="/page/icon.svg" type="image/svg+xml">',
            '<link rel="stylesheet" href="/page/base.css"><link rel="stylesheet" href="/page/api.css">',
            '<script src="/page/theme.js"></script></head>',
            f'<body><main class="api"><h1>{escape(title)}</h1>',
            '<p>For programs: <a href="/openapi.json">openapi.json</a>. <a href="/">The page</a></p>',
            '<nav aria-label="Endpoints"><ul>',
            *(_link(path, method, operation) for path, method, operation in operations),
            "</ul></nav>",
            *(_operation(path, method, operation) for path, method, operation in operations),
            '<h2 id="schemas">Schemas</h2>',
            *(_schema(name, schema) for name, schema in sorted(schemas.items())),
            "</main></body></html>",
        )
    )


def _anchor(path: str, method: str) -> str:
    return escape(f"{method}-{path.strip('/').replace('/', '-').replace('{', '').replace('}', '')}")


def _link(path: str, method: str, operation: dict[str, Any]) -> str:
    name = f"{method.upper()} {path}"
    summary = escape(operation.get("summary", ""))
    return f'<li><a href="#{_anchor(path, method)}"><code>{escape(name)}</code></a> {summary}</li>'


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<section aria-labelledby="{_anchor(path, method)}">',
        f'<h2 id="{_anchor(path, method)}"><code>{method.upper()} {escape(path)}</code></h2>',
        f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>",
    ]
    if parameters := operation.get("parameters"):
        rows = (
            (one["name"], one["in"], _type(one["schema"]), one.get("description", "")) for one in parameters
        )
        parts.append(_table(("Parameter", "In", "Type", "Meaning"), rows))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body: <code>{escape(media)}</code> {_type(content.get('schema', {}))}</p>")
    answers = (
        (status, _answer(answer), "", answer.get("description", ""))
        for status, answer in sorted(operation["responses"].items())
    )
    parts.append(_table(("Status", "Body", "", "Meaning"), answers))
    return "".join((*parts, "</section>"))


def _answer(answer: dict[str, Any]) -> str:
    contents = answer.get("content", {})
    return ", ".join(
        f"<code>{escape(media)}</code> {_type(content.get('schema', {}))}"
        for media, content in contents.items()
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = (
        (field, "yes" if field in needed else "", _type(one), one.get("description", ""))
        for field, one in schema.get("properties", {}).items()
    )
    head = f'<h3 id="schema-{escape(name)}"><code>{escape(name)}</code></h3>'
    text = f"<p>{escape(schema.get('description', ''))}</p>"
    return head + text + _table(("Field", "Required", "Type", "Meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    """What a value is, in one line of HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "const" in schema:
        return f"<code>{escape(repr(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(one) for one in schema[several])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("title" if "properties" in schema else "type", "any value")))


def _table(head: tuple[str, ...], rows: Any) -> str:
    """A table whose first column is code, second and third are HTML or words, and last is text."""
    shown = [index for index, name in enumerate(head) if name]
    body = [
        "<tr>" + "".join(_cell(row[index], index, len(head)) for index in shown) + "</tr>" for row in rows
    ]
    if not body:
        return ""
    names = "".join(f'<th scope="col">{head[index]}</th>' for index in shown)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cell(value: str, index: int, columns: int) -> str:
    if index == 0:
        return f'<th scope="row"><code>{escape(value)}</code></th>'
    return f"<td>{escape(value) if index == columns - 1 else value}</td>"
