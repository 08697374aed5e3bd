"""What a step gave one sequence. Not for: what follows from it (loop)."""

from __future__ import annotations

import dataclasses

from llama_bind.engine.sequence import Sequence
from llama_bind.values import TokenLogprob

__all__ = ["Sampled"]


@dataclasses.dataclass(slots=True)
class Sampled:
    """A token (-1: none was wanted), or the error of this sequence alone, such as a callback that raised.

    `stop`: the text ends with it; a stopping criterion said so, or it completes what the text is held to. `forced`: it
    was not drawn, and is not computed yet like those before it.
    """

    sequence: Sequence
    token: int = -1
    logprob: TokenLogprob | None = None
    stop: bool = False
    error: BaseException | None = None
    forced: bool = False
