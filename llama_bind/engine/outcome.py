"""What a step gave one sequence. Not for: what follows from it (loop)."""

from __future__ import annotations

import dataclasses

from llama_bind.engine.sequence import Sequence
from llama_bind.values import TokenLogprob

__all__ = ["Sampled"]


@dataclasses.dataclass(slots=True)
class Sampled:
    """A token (-1: none was wanted), or the error of this sequence alone, such as a callback that raised.

    `stop`: a stopping criterion said so.
    """

    sequence: Sequence
    token: int = -1
    logprob: TokenLogprob | None = None
    stop: bool = False
    error: BaseException | None = None
