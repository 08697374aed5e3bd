"""Lists of functions that look at or change logits: what llama-cpp-python calls `LogitsProcessorList` and its kin.

Not for: running them while a text is generated; the engine takes the functions one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "as_functions",
]

LogitsProcessor = Callable[[npt.NDArray[np.intc], npt.NDArray[np.single]], npt.NDArray[np.single]]
"""(input_ids, scores) -> scores; it may change the scores that it is given and return them."""
StoppingCriteria = Callable[[npt.NDArray[np.intc], npt.NDArray[np.single]], bool]
"""(input_ids, scores) -> whether the text ends here."""


class LogitsProcessorList(list[LogitsProcessor]):
    """Processors, called one after the other."""

    def __call__(self, input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        """The scores after all of them."""
        for processor in self:
            scores = processor(input_ids, scores)
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Criteria of which one is enough."""

    def __call__(self, input_ids: npt.NDArray[np.intc], logits: npt.NDArray[np.single]) -> bool:
        """Whether any of them is met."""
        return any(bool(criterion(input_ids, logits)) for criterion in self)


_PLAIN = (list, tuple, LogitsProcessorList, StoppingCriteriaList)


def as_functions(given: Any) -> Sequence[Any] | None:
    """What a caller gives as a list of functions, for the engine; a list of another class with its own call is one."""
    if given is None:
        return None
    if type(given) in _PLAIN or not callable(given):
        return list(given)
    return [given]


class MinTokensLogitsProcessor:
    """Keeps `token_eos` from being chosen before `min_tokens` tokens; the option `min_tokens` keeps every end away.

    For one text: the first call says where its prompt ends.
    """

    def __init__(self, min_tokens: int, token_eos: int) -> None:
        self.min_tokens, self.token_eos = min_tokens, token_eos
        self.prompt_tokens: int | None = None

    def __call__(self, input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        """The scores, without `token_eos` where it would come too early."""
        if self.prompt_tokens is None:
            self.prompt_tokens = len(input_ids)
        if len(input_ids) - self.prompt_tokens < self.min_tokens:
            scores[self.token_eos] = -np.inf
        return scores
