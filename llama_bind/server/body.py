"""A request's body: read within its limit, parsed, checked against a wire schema. Unknown fields pass, slips are told.

Not for: what the fields mean (routes), or their schemas (``schemas``).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from llama_bind.errors import CancelledError
from llama_bind.options import nearest
from llama_bind.reading import in_reader
from llama_bind.server.errors import INVALID, UNAVAILABLE, ApiError
from llama_bind.server.gate import BODY_BYTES, Traffic, too_large
from llama_bind.server.json_body import LARGE, MOST_VALUES, parsed
from llama_bind.server.schemas.base import FOREIGN, fields_of, renamed
from llama_bind.server.settings import Settings

__all__ = ["Body", "read_body"]

MOST_WARNINGS = 5
MOST_LOOKED_AT = 50
"""Unknown names that are compared with those that are known."""
MOST_ERRORS = 1000
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclasses.dataclass(frozen=True)
class Body:
    """A request's fields by our names.

    Attributes:
        value: The fields.
        headers: What the answer says about fields that were not understood.
        size: Bytes that were read; None where it was made from another body.
    """

    value: dict[str, Any]
    headers: dict[str, str]
    size: int | None = None

    def of(self, names: frozenset[str]) -> dict[str, Any]:
        """The given fields among `names`; null is not given."""
        return {k: v for k, v in self.value.items() if k in names and v is not None}


async def read_body(request: Request, schema: type[BaseModel], limit: int) -> Body:
    """Read a JSON object whatever the content type says.

    Raises:
        ApiError: 413 for too many bytes, 400 for what is no JSON object or does not fit the schema, 503 where the
            bodies of all requests together are too much.
        CancelledError: The client left before all was there.
    """
    raw = bytearray()
    try:
        async for part in request.stream():
            raw += part
            if len(raw) > limit:
                raise too_large(limit)
            _count(request, len(part))
    except ClientDisconnect as error:
        raise CancelledError("the client closed the connection") from error
    settings: Settings = request.app.state.settings
    most = settings.server.max_body_values
    if len(raw) > LARGE:
        return await in_reader(len(raw), _read, bytes(raw), schema, most)
    return _read(bytes(raw), schema, most)


def _count(request: Request, size: int) -> None:
    """Count bytes of bodies until the request has its answer: the gate takes them off again."""
    traffic: Traffic = request.app.state.traffic
    request.scope[BODY_BYTES] = request.scope.get(BODY_BYTES, 0) + size
    traffic.body_bytes += size
    settings: Settings = request.app.state.settings
    if traffic.body_bytes > settings.server.max_open_body_bytes:
        said = "The requests that are being answered hold as much as the server takes; try again later."
        raise ApiError(503, UNAVAILABLE, "busy", said, headers={"Connection": "close"}, retry=True)


def _read(raw: bytes, schema: type[BaseModel], most_values: int = MOST_VALUES) -> Body:
    value = renamed(parsed(raw, most_values))
    try:
        schema.model_validate(value)
    except ValidationError as error:
        raise _invalid(error) from None
    return Body(value, _warnings(value, fields_of(schema)), len(raw))


def _invalid(error: ValidationError) -> ApiError:
    """The first thing that is wrong, without what was given: it may be long, or secret."""
    if error.error_count() > MOST_ERRORS:  # each that is told takes microseconds, and all are told or none
        said = f"{error.error_count()} values of the body are of a wrong kind."
        return ApiError(400, INVALID, "invalid_type", said)
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = [str(part) for part in first["loc"] if isinstance(part, int) or _PLAIN.fullmatch(str(part))]
    param = place[0] if place else None
    if first["type"] == "missing":
        return ApiError(400, INVALID, "missing_required_parameter", f"{param} is missing.", param=param)
    where = ".".join(place)
    return ApiError(400, INVALID, "invalid_type", f"{where}: {first['msg']}.", param=param)


def _warnings(value: dict[str, Any], known: frozenset[str]) -> dict[str, str]:
    """Only names that are plain words: what goes into a header must not be a client's free text."""
    found = []
    unknown = (name for name in value if name not in known and name not in FOREIGN)
    for name in itertools.islice(unknown, MOST_LOOKED_AT):
        if len(name) > 2 and _PLAIN.fullmatch(name):
            close = nearest(name, known)
            if close is not None:
                found.append(f"unknown field {name}, did you mean {close}?")
    return {"X-Llama-Bind-Warning": "; ".join(found[:MOST_WARNINGS])} if found else {}
