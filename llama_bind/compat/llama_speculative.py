"""Who guesses next tokens: llama-cpp-python's base class, and its prompt lookup over this library's.

Not for: smaller models that guess (``draft_model="small.gguf"`` of `Llama`).
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind.engine.speculative import PromptLookup

__all__ = ["LlamaDraftModel", "LlamaPromptLookupDecoding"]


class LlamaDraftModel(abc.ABC):
    """Base of what can be given as ``draft_model``; any function of the ids can be as well."""

    @abc.abstractmethod
    def __call__(self, input_ids: npt.NDArray[np.intc], /, **kwargs: Any) -> npt.NDArray[np.intc]:
        """The tokens that may follow, best guess; empty for none."""


class LlamaPromptLookupDecoding(PromptLookup, LlamaDraftModel):
    """Guesses that a run of tokens seen before goes on as it did then, the last time it was seen.

    Args:
        max_ngram_size: Longest run of last tokens that is searched for; shorter ones are tried after it.
        num_pred_tokens: Most tokens guessed at once.
    """

    def __init__(self, max_ngram_size: int = 2, num_pred_tokens: int = 10) -> None:
        super().__init__(max_ngram_size, num_pred_tokens, 1)

    @staticmethod
    def find_candidate_pred_tokens(
        input_ids: npt.NDArray[np.intc], max_ngram_size: int, num_pred_tokens: int
    ) -> npt.NDArray[np.intc]:
        """What followed the latest earlier place where the last tokens stood."""
        return PromptLookup(max_ngram_size, num_pred_tokens, 1)(np.asarray(input_ids, np.int32))
