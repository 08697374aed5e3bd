"""How model families mark what they think before they answer, found by what the chat template contains.

Not for: taking it out of an output (``router.py``); formats that interleave it with other channels read it themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["REASONING", "Reasoning", "ReasoningFormat", "find_reasoning"]

ReasoningFormat = Literal["auto", "none", "deepseek", "deepseek-legacy"]
"""What becomes of reasoning, in llama-server's words: "auto" and "deepseek" give it apart, "none" leaves it in the
text with its tags, "deepseek-legacy" does that in streams only.
"""


@dataclasses.dataclass(frozen=True)
class Reasoning:
    """The tags of one family.

    Attributes:
        opening: Begins the reasoning.
        closing: Ends it.
        spoken: The opening is a sentence of the reasoning itself: where the prompt opens it, it is shown with it.
    """

    opening: str
    closing: str
    spoken: bool = False

    def opened_by(self, prompt: str) -> str:
        """The end of a prompt that leaves the reasoning open: the tag and the white space behind it; else ""."""
        solid = prompt.rstrip()
        opening = self.opening.rstrip()
        return prompt[len(solid) - len(opening) :] if solid.endswith(opening) else ""


REASONING: tuple[Reasoning, ...] = (
    Reasoning("<seed:think>", "</seed:think>"),
    Reasoning("<mm:think>", "</mm:think>"),
    Reasoning("[THINK]", "[/THINK]"),
    Reasoning("<|START_THINKING|>", "<|END_THINKING|>"),
    Reasoning("<|inner_prefix|>", "<|inner_suffix|>"),
    Reasoning("<|channel>thought\n", "<channel|>"),
    Reasoning("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]", spoken=True),
    Reasoning("<think>", "</think>"),
)
"""The tags that are known; what a template contains first in this order is taken."""


def find_reasoning(template: str) -> Reasoning | None:
    """The tags that a template (its Jinja source) speaks of; None for a model that does not think."""
    for known in REASONING:
        if known.closing in template and (known.opening in template or known.opening.rstrip() in template):
            return known
    # Templates that only cut the reasoning off old answers name its end alone.
    for known in REASONING:
        if known.closing in template:
            return known
    return None
