"""Answers with many numbers, as JSON: written by a reader's thread, row after row, so that streams go on meanwhile.

A million numbers as text take a tenth of a second at best, in which nothing else would be sent. Not for: other answers
(``replies``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from llama_bind.reading import beside

__all__ = ["rows_reply", "written"]


async def rows_reply(make: Callable[[], Any], numbers: int, headers: dict[str, str]) -> Response:
    """An answer that holds rows of numbers.

    Args:
        make: Makes the answer, of dicts and lists.
        numbers: About how many numbers are in it.
        headers: Further headers.
    """
    body = await beside(numbers, lambda: written(make()))
    return Response(body, media_type="application/json", headers=headers)


def written(value: Any) -> bytes:
    """Compact JSON, in pieces that each take little: no more than a list of numbers at once."""
    if isinstance(value, dict):
        return b"{" + b",".join(to_json(name) + b":" + written(item) for name, item in value.items()) + b"}"
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return b"[" + b",".join(map(written, value)) + b"]"
    return to_json(value)
