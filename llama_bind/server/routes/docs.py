"""GET /openapi.json and /docs: what the server understands, as data and as a page that needs nothing from elsewhere.

Not for: guides (the package's documents are).
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from llama_bind.server.replies import Reply

__all__ = ["routes"]

STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{font-size:.9em}summary{cursor:pointer;padding:.3rem 0}table{border-collapse:collapse;font-size:.9rem}"
    "td{border-top:1px solid #8884;padding:.2rem .6rem;vertical-align:top}.m{display:inline-block;min-width:4rem}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def routes() -> APIRouter:
    """The router."""
    router = APIRouter()
    router.add_api_route("/openapi.json", openapi, methods=["GET"], include_in_schema=False)
    router.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
    return router


async def openapi(request: Request) -> Response:
    """The OpenAPI description."""
    return Reply(request.app.openapi())


async def docs(request: Request) -> Response:
    """The same for reading."""
    description = request.app.openapi()
    title = html.escape(f"{description['info']['title']} {description['info']['version']}")
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        "<p>OpenAI-compatible: point a client's base URL at <code>/v1</code> of this address. "
        "<a href=openapi.json>openapi.json</a></p>"
    ]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts += _operation(method.upper(), path, operation)
    return HTMLResponse("".join(parts), headers={"content-security-policy": POLICY})


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    text = html.escape
    yield f"<details><summary><b class=m>{method}</b> <code>{text(path)}</code> {text(operation['summary'])}</summary>"
    yield f"<p>{text(operation.get('description', ''))}</p>"
    body = operation.get("requestBody")
    if body is not None:
        schema = body["content"]["application/json"]["schema"]
        needed = schema.get("required", ())
        yield "<table>"
        for name, field in schema["properties"].items():
            kind = ("" if name in needed else "optional, ") + _kind(field)
            words = text(field.get("description", ""))
            yield f"<tr><td><code>{text(name)}</code><td>{text(kind)}<td>{words}"
        yield "</table>"
    yield "</details>"


def _kind(field: dict[str, Any]) -> str:
    """A field's type in words."""
    if "anyOf" in field:
        return " or ".join(_kind(part) for part in field["anyOf"] if part.get("type") != "null")
    if "enum" in field:
        return " | ".join(str(value) for value in field["enum"])
    kind = str(field.get("const", field.get("type", "anything")))
    return f"list of {_kind(field['items'])}" if kind == "array" and field.get("items") else kind
