"""A prompt that is longer than the context, and what a request says is to be done with it. Pure.

Not for: a text that outgrows the context while it is generated (steps shifts that).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llama_bind.engine.request import Request
from llama_bind.errors import ContextOverflowError, InputError

__all__ = ["fitted", "truncated_middle"]


def fitted(request: Request, limit: int) -> Request:
    """The request with a prompt that leaves room for an answer, where its `overflow` asks for that: what every engine
    does first.

    "truncate" leaves room for `max_tokens`, up to half of the context (a quarter when they are unlimited); "shift"
    makes room while it generates and only cuts what does not fit at all. Others are left as they are.

    Raises:
        InputError: an empty prompt.
        ContextOverflowError: the prompt is longer than `limit` and "error" is asked for.
    """
    n = len(request.prompt)
    if n == 0:
        raise InputError("the prompt has no tokens; give at least one", param="prompt")
    if n > limit and request.overflow == "error":
        raise ContextOverflowError(n, limit)
    if request.overflow == "truncate":
        room = limit // 4 if request.max_tokens is None else min(request.max_tokens, limit // 2)
    elif request.overflow == "shift":
        room = limit // 2 if n > limit else 0
    else:
        return request
    if n <= limit - room:
        return request
    return dataclasses.replace(request, prompt=truncated_middle(request.prompt, limit - room, request.n_keep))


def truncated_middle(prompt: Sequence[int], length: int, n_keep: int) -> Sequence[int]:
    """The first `n_keep` tokens (at least one, at most half of `length`) and as many of the last as fit."""
    keep = min(max(n_keep, 1), max(length // 2, 1))
    return [*prompt[:keep], *prompt[len(prompt) - (length - keep) :]]
