"""Whether a greedy text is one that the model could have chosen, when another run chose another. Pure.

Greedy texts of two runs may differ and both be right: sums in another order (a batch of another size, a prompt computed
in other pieces) shift every logit a little, and where two tokens are nearly equally likely the other one wins. What
follows then is another text. So what matters is how far apart the two tokens were where the texts part.

Not for: judging texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["gap_where_texts_part"]


def gap_where_texts_part(text: str, tokens: Sequence[str], tops: Sequence[Mapping[str, float]]) -> float:
    """How much less likely than the best token the one was that `text` chose where it leaves a reference, in nats.

    Args:
        text: The text to judge.
        tokens: The reference: its tokens, as text.
        tops: For each of them the likeliest tokens there with their log probabilities.

    Returns:
        0.0 where the texts are the same as far as both go; infinity where none of the likeliest tokens goes on like
        `text`.
    """
    rest = text
    for token, top in zip(tokens, tops, strict=True):
        if not rest:
            return 0.0
        if rest.startswith(token):
            rest = rest[len(token) :]
            continue
        chosen = [logprob for other, logprob in top.items() if other and rest.startswith(other)]
        return max(top.values()) - max(chosen) if chosen else math.inf
    return 0.0
