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
    """

    opening: str
    closing: str

    def opened_by(self, prompt: str) -> str:
        """The end of a prompt that leaves the reasoning open; "" where it does not.

        Only the tag and the white space behind it: what the caller has written of the reasoning is the caller's own.
        """
        at = prompt.rfind(self.opening)
        if at < 0 or self.closing in prompt[at + len(self.opening) :]:
            return ""
        end = at + len(self.opening)
        while end < len(prompt) and prompt[end].isspace():
            end += 1
        return prompt[at:end]


REASONING: tuple[Reasoning, ...] = (
    Reasoning("<seed:think>", "</seed:think>"),
    Reasoning("<mm:think>", "</mm:think>"),
    Reasoning("[THINK]", "[/THINK]"),
    Reasoning("<|START_THINKING|>", "<|END_THINKING|>"),
    Reasoning("<|inner_prefix|>", "<|inner_suffix|>"),
    Reasoning("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
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
