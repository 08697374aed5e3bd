"""From the options `draft_model` and `n_draft` to who guesses for a request, and how much.

Not for: guessing (``engine``), or what the options are (``params``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llama_bind.engine.speculative import PromptLookup, Proposer
from llama_bind.errors import UnsupportedError
from llama_bind.params import LlamaParams

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.engine.draft import DraftModel

__all__ = ["PROMPT_LOOKUP", "Drafting"]

PROMPT_LOOKUP = "prompt-lookup"
"""The name of `PromptLookup` where options are text."""
_MOST = 64  # of a lookup that the options made: `n_draft` says how many are taken


class Drafting:
    """Who guesses, for one `Llama`.

    Args:
        params: Its options.

    Attributes:
        can_draft: Whether wrong guesses can be taken out of the memory of its context; known when that is made.
    """

    def __init__(self, params: LlamaParams) -> None:
        self._params = params
        self.can_draft = True
        given = params.draft_model
        self._lookup = PromptLookup(num_pred_tokens=_MOST)
        self._proposer: Proposer | None = None
        self._path: str | None = None
        if given == PROMPT_LOOKUP:
            self._proposer = self._lookup
        elif isinstance(given, (str, os.PathLike)):
            self._path = os.fspath(given)
        else:
            self._proposer = given

    def allow(self, can_draft: bool) -> None:
        """Say whether wrong guesses can be taken out of the memory, where `load` was called in another process."""
        self.can_draft = can_draft

    def load(self, target: Context, *, can_draft: bool) -> DraftModel | None:
        """The draft model for a context, where one was asked for.

        Args:
            target: The main model's context.
            can_draft: Whether wrong guesses can be taken out of its memory.

        Raises:
            UnsupportedError: they cannot, and guesses were asked for.
            ModelError, ContextError, InputError: see `DraftModel.load`.
        """
        self.can_draft = can_draft
        if not can_draft and self._params.draft_model is not None:
            raise UnsupportedError("draft_model needs a memory that can be cut back; this model's cannot")
        if self._path is None:
            return None
        from llama_bind.engine.draft import DraftModel
        from llama_bind.hub import resolve_model

        layers, min_p = self._params.draft_n_gpu_layers, self._params.draft_min_p
        return DraftModel.load(resolve_model(self._path), target, n_gpu_layers=layers, min_p=min_p)

    def of(self, n_draft: int | None) -> tuple[Proposer | None, int]:
        """Who guesses for a request, None for the engine's draft model (if any), and how many tokens at once.

        Args:
            n_draft: The request's own option.

        Raises:
            UnsupportedError: guesses for a model whose memory cannot be cut back.
        """
        if n_draft is None:
            return self._proposer, self._params.draft_max
        if n_draft and not self.can_draft:
            raise UnsupportedError("n_draft needs a memory that can be cut back; this model's cannot")
        by_lookup = n_draft > 0 and self._params.draft_model is None
        return self._lookup if by_lookup else self._proposer, n_draft
