"""The list of models in Anthropic's shape, out of OpenAI's. Not for: which models there are (``routes.models``)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.server.anthropic.checks import refused

__all__ = ["model_info", "model_page"]

MOST = 1000
"""Models on one page."""


def model_info(card: Mapping[str, Any]) -> dict[str, Any]:
    """One model, from its entry in OpenAI's list."""
    created = datetime.datetime.fromtimestamp(card["created"], datetime.timezone.utc)
    n_ctx = (card.get("meta") or {}).get("n_ctx")  # of a model that is loaded
    return {
        "type": "model",
        "id": card["id"],
        "display_name": card["id"],
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": n_ctx,
        "max_tokens": n_ctx,
    }


def model_page(cards: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """A page of models.

    Args:
        cards: All of them.
        query: limit (default 20), after_id, before_id.

    Raises:
        ApiError: 400, a limit or a cursor that is none.
    """
    given = query.get("limit", "20")
    if not (given.isascii() and given.isdigit() and len(given) < 5 and 1 <= int(given) <= MOST):
        raise refused("limit", f"must be a whole number from 1 to {MOST}")
    limit, names = int(given), [card["id"] for card in cards]
    first, last = 0, len(cards)
    if "after_id" in query:
        first = _place(names, query["after_id"], "after_id") + 1
    if "before_id" in query:
        last = _place(names, query["before_id"], "before_id")
        first = max(first, last - limit)
    shown = [model_info(card) for card in cards[first:last][:limit]]
    more = first > 0 if "before_id" in query else first + len(shown) < last
    ids = [card["id"] for card in shown] or [None]
    return {"data": shown, "has_more": more, "first_id": ids[0], "last_id": ids[-1]}


def _place(names: list[str], given: str, param: str) -> int:
    if given not in names:
        raise refused(param, "names no model of this server")
    return names.index(given)
