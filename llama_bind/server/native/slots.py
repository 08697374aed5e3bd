"""Requests that run as llama-server's /slots has them (``server_slot::to_json``, tools/server/server-context.cpp).

Not for: asking the engine for them (``service``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llama_bind.engine.slots import SlotState
from llama_bind.server.native.options import sampling_settings

__all__ = ["slot_entries"]


def slot_entries(states: Iterable[SlotState], total: int, n_ctx: int, *, speculative: bool) -> list[dict[str, Any]]:
    """An entry for each slot, in order.

    Args:
        states: What runs.
        total: How many slots there are.
        n_ctx: Tokens that each holds.
        speculative: Whether tokens are guessed for requests that do not say.
    """
    running = {state.id: state for state in states}
    entries: list[dict[str, Any]] = []
    for number in range(total):
        state = running.get(number)
        guesses = speculative if state is None else state.drafts
        entry = {"id": number, "n_ctx": n_ctx, "speculative": guesses, "is_processing": state is not None}
        entries.append(entry if state is None else {**entry, **_busy(state)})
    return entries


def _busy(state: SlotState) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id_task": state.number,
        "request_id": state.request_id,
        "n_prompt_tokens": state.prompt_tokens,
        "n_prompt_tokens_processed": state.prompt_computed,
        "n_prompt_tokens_cache": state.cached_tokens,
    }
    if state.kind == "embed":
        return found
    limit = -1 if state.max_tokens is None else state.max_tokens
    left = -1 if state.max_tokens is None else max(state.max_tokens - state.generated_tokens, 0)
    found["params"] = {
        "seed": state.seed,
        **sampling_settings(state.sampling),
        "max_tokens": limit,
        "n_predict": limit,
        "n_keep": state.n_keep,
        "n_discard": 0,
        "stream": state.stream,
        "lora": [],
    }
    found["next_token"] = [{"has_next_token": True, "n_remain": left, "n_decoded": state.generated_tokens}]
    return found
