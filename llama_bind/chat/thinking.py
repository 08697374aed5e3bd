"""Whether, how hard and how long the model should think: options to template variables and to the end of the prompt.

Not for: which tags a family uses (``reasoning.py``), or enforcing a budget (the engine's constraint).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.chat.abilities import EFFORTS, Abilities
from llama_bind.chat.reasoning import Reasoning
from llama_bind.chat.segments import Segment, text_of
from llama_bind.errors import InputError

__all__ = ["Thinking", "opened_at", "read_thinking", "with_block"]

_WORDS = ("enable_thinking", "thinking")


@dataclasses.dataclass(frozen=True)
class Thinking:
    """What a request says about thinking.

    Attributes:
        wanted: True or False; None: as the template does by itself.
        budget: Most tokens of it; None: no limit.
        variables: For the template.
    """

    wanted: bool | None = None
    budget: int | None = None
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_thinking(
    abilities: Abilities,
    *,
    enable_thinking: bool | None = None,
    reasoning_effort: str | None = None,
    reasoning_budget: int | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Thinking:
    """Bring the options about thinking together.

    Args:
        abilities: Of the template.
        enable_thinking: See `Thinking.wanted`.
        reasoning_effort: "none" turns thinking off, any other degree on; "minimal" turns it off where the template
            does not know degrees. A degree that the template refuses becomes the nearest one that it takes.
        reasoning_budget: Tokens; 0 turns thinking off.
        template_kwargs: The caller's own variables, which win, and count as `enable_thinking` where they set that.

    Raises:
        InputError: Options that contradict each other.
    """
    own = template_kwargs or {}
    switch = abilities.switch
    said: dict[str, bool] = {}
    if enable_thinking is not None:
        said["enable_thinking"] = enable_thinking
    if reasoning_effort is not None:
        knows = bool(abilities.effort_variables)
        said["reasoning_effort"] = reasoning_effort != "none" and (knows or reasoning_effort != "minimal")
    if reasoning_budget is not None:
        said["reasoning_budget"] = reasoning_budget > 0
    for name in _WORDS:
        if isinstance(own.get(name), bool):
            said[f"chat_template_kwargs[{name!r}]"] = own[name]
    if len(set(said.values())) > 1:
        shown = ", ".join(f"{name} turns thinking {'on' if value else 'off'}" for name, value in said.items())
        raise InputError(f"these options contradict each other: {shown}", param=next(iter(said)))
    wanted = next(iter(said.values()), None)
    variables: dict[str, Any] = {}
    if reasoning_effort is not None or wanted is False:
        variables.update(abilities.effort(reasoning_effort if reasoning_effort in EFFORTS else EFFORTS[0]))
    # An effort that was asked for may itself be what turns thinking on.
    if switch is not None and wanted is not None and not (wanted and switch.name in variables):
        variables[switch.name] = switch.on if wanted else switch.off
    if switch is not None and switch.name == "thinking_budget" and reasoning_budget:
        variables[switch.name] = reasoning_budget
    return Thinking(wanted, reasoning_budget or None, variables)


def opened_at(segments: Sequence[Segment], reasoning: Reasoning, continued: int = -1) -> str:
    """The end of a prompt that leaves the reasoning open: the tag and the white space behind it; "" where it does not.

    Tags in what a user says mean nothing: only what stands behind the last message from outside counts, or, where the
    last message is continued, that message.

    Args:
        segments: The prompt.
        reasoning: The tags.
        continued: Characters of the message that is continued; -1 for none.
    """
    tail: list[str] = []
    left = continued
    for segment in reversed(segments):
        if not segment.special:
            left -= len(segment.text)
            if left < 0:
                break
        tail.append(segment.text)
    text = "".join(reversed(tail))
    if continued < 0:
        return reasoning.opened_by(text)
    opening = reasoning.opening.rstrip()
    place = text.rfind(opening)
    if place < 0 or reasoning.closing in text[place + len(opening) :]:
        return ""
    return reasoning.opened_by(text[: place + len(opening)])


def with_block(
    segments: Sequence[Segment], abilities: Abilities, wanted: bool | None, *, must_open: bool = False
) -> tuple[Segment, ...]:
    """Close the reasoning in a prompt whose template did not when it was told to, or open it.

    Args:
        segments: A prompt that asks for an answer.
        abilities: Of its template.
        wanted: See `Thinking`.
        must_open: The model must not be free to leave its thoughts out.
    """
    block, reasoning = abilities.block, abilities.reasoning
    if block is None or reasoning is None:
        return tuple(segments)
    end = text_of(segments[-2:]).rstrip()
    opened = end.endswith(reasoning.opening.rstrip())
    closed = end.endswith(reasoning.closing)
    if wanted is False and opened:
        return (*segments, Segment(block.closing, True))
    if wanted is False and not closed and abilities.switch is None:
        return (*segments, Segment(block.opening + block.closing, True))
    if must_open and not opened and not closed and (wanted or (wanted is None and abilities.thinks)):
        return (*segments, Segment(block.opening, True))
    return tuple(segments)
