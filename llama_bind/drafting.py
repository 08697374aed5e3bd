"""From the options `draft_model` and `n_draft` to who guesses for a request, and how much.

Not for: guessing (``engine``), or what the options are (``params``).
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from llama_bind.engine.speculative import PromptLookup, Proposer
from llama_bind.errors import InputError, UnsupportedError
from llama_bind.params import LlamaParams, ModelParams

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.engine.draft import DraftModel
    from llama_bind.engine.mtp import MtpDrafter
    from llama_bind.engine.runner import Runner

__all__ = ["PROMPT_LOOKUP", "Drafting"]

PROMPT_LOOKUP = "prompt-lookup"
"""The name of `PromptLookup` where options are text."""
MTP = "mtp"
"""The model's own multi-token-prediction layers."""
_MOST = 64  # of a lookup that the options made: `n_draft` says how many are taken


class Drafting:
    """Who guesses, for one `Llama`.

    Args:
        params: Its options.

    Attributes:
        can_draft: Whether wrong guesses can be taken out of the memory of its context; known when that is made.
        by_mtp: Whether the model's own multi-token-prediction layers guess.
    """

    def __init__(self, params: LlamaParams) -> None:
        self._params = params
        self.can_draft = True
        given = params.draft_model
        self._lookup = PromptLookup(num_pred_tokens=_MOST)
        self._proposer: Proposer | None = None
        self._path: str | None = None
        self.by_mtp = given == MTP
        if given == PROMPT_LOOKUP:
            self._proposer = self._lookup
        elif self.by_mtp:
            pass
        elif isinstance(given, (str, os.PathLike)):
            self._path = os.fspath(given)
        else:
            self._proposer = given

    @property
    def by_default(self) -> bool:
        """Whether tokens are guessed for requests that do not say."""
        return self.can_draft and self._params.draft_model is not None

    def allow(self, can_draft: bool) -> None:
        """Say whether wrong guesses can be taken out of the memory, where `load` was called in another process."""
        self.can_draft = can_draft

    def loading(self, params: ModelParams) -> ModelParams:
        """What the model is to be loaded with.

        Raises:
            InputError: without the layers that are to guess.
        """
        if not self.by_mtp:
            return params
        if params.load_mtp is False:
            raise InputError("draft_model='mtp' needs load_mtp; leave it unset or set it to True", param="load_mtp")
        return dataclasses.replace(params, load_mtp=True)

    def prepare(self, context: Context) -> None:
        """Let a main context give what the guesses need; for every context that is made."""
        if self.by_mtp:
            from llama_bind.core.nextn import send_states

            send_states(context, masked=False)

    def load(self, runner: Runner) -> DraftModel | MtpDrafter | None:
        """Who guesses for all requests of a runner, where that was asked for.

        Raises:
            UnsupportedError: wrong guesses cannot be taken out of its memory, or the model has no layers that guess.
            ModelError, ContextError, InputError: see `DraftModel.load`.
        """
        target = runner.context
        self.can_draft = runner.can_draft
        if not self.can_draft and self._params.draft_model is not None:
            raise UnsupportedError("draft_model needs a memory that can be cut back; this model's cannot")
        layers, min_p = self._params.draft_n_gpu_layers, self._params.draft_min_p
        if self.by_mtp:
            from llama_bind.engine.mtp import MtpDrafter

            drafter = MtpDrafter(target, min_p)
            runner.observer = drafter.observe
            return drafter
        if self._path is None:
            return None
        from llama_bind.engine.draft import DraftModel
        from llama_bind.hub import resolve_model

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
