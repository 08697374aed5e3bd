"""What an output must be, as a value: hashable, so that its compiled form can be kept; picklable, for engine processes.

Not for: compiling it (``matcher.py``), or making it out of JSON schemas (``schema.py``) and tool declarations (chat).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["Spec", "ThinkingBudget"]


@dataclasses.dataclass(frozen=True)
class ThinkingBudget:
    """Most tokens of reasoning.

    Attributes:
        tokens: So many may stand between `opening` and `closing`; 0 closes the block at once.
        closing: Text that ends the block; forced, token by token, when the budget is used up.
        opening: Text that begins it; "" where the prompt has opened it already.
        end: What the model itself ends a block with; "" for `closing` without the blanks around it.
        opened: Whether the prompt has opened a block, where `opening` is given for those that follow.
    """

    tokens: int
    closing: str
    opening: str = ""
    end: str = ""
    opened: bool = False


@dataclasses.dataclass(frozen=True)
class Spec:
    """A demand on the output.

    Attributes:
        lark: Grammar in llguidance's dialect of Lark; "" for none (only a thinking budget).
        start: Its start rule.
        markers: (rule name, text) of markers that may be one control token or plain text in the vocabulary; the
            compiler defines these rules.
        triggers: Empty: the grammar holds from the first token. Else: from the beginning of the first of these texts
            that appears; before it anything may be written, and after a match anything again, until the next.
        once: With triggers: the output ends with the first match.
        after: The grammar holds only after one of these texts has appeared (the end of the reasoning); none: at once.
        thinking: See there; None for no limit.
        options: In place of `lark`: the output is one of these, of each of which only grammar and markers count.
        kind: What the caller asked for, to word errors.
    """

    lark: str = ""
    start: str = "start"
    markers: tuple[tuple[str, str], ...] = ()
    triggers: tuple[str, ...] = ()
    once: bool = False
    after: tuple[str, ...] = ()
    thinking: ThinkingBudget | None = None
    options: tuple[Spec, ...] = ()
    kind: Literal["json_schema", "json_object", "regex", "choice", "grammar", "lark", "tools", "thinking"] = "lark"
