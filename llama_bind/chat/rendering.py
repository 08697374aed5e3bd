"""Shaped messages to segments: with tools that a template can show, and ending within the last message.

Not for: what the messages look like (``messages.py``), or a request's options (``plan.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.chat.abilities import abilities_of
from llama_bind.chat.reasoning import Reasoning
from llama_bind.chat.segments import Segment, text_of
from llama_bind.chat.thinking import opened_at
from llama_bind.errors import TemplateError

if TYPE_CHECKING:
    from llama_bind.chat.templates import ChatTemplate

__all__ = ["PromptOptions", "continued", "rendered"]


@dataclasses.dataclass(frozen=True)
class PromptOptions:
    """What a request may say about its prompt.

    Attributes:
        tools: Tool definitions in OpenAI's shape.
        documents: For templates with retrieval.
        add_generation_prompt: End with the beginning of an assistant's message.
        continue_final_message: The model goes on with the last message; no generation prompt then.
        template_kwargs: More variables for the template (``chat_template_kwargs``).
        variables: Likewise, from other options; those of the caller win.
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    variables: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def rendered(template: ChatTemplate, messages: Sequence[Mapping[str, Any]], options: PromptOptions) -> list[Segment]:
    """The conversation's segments.

    Some templates expect of every parameter a type and a description: where one fails, it gets tools that have them.
    """
    try:
        return _render(template, messages, options, options.tools)
    except TemplateError as error:
        # A limit that was passed has no line, and would be passed again.
        if not options.tools or error.line is None:
            raise
        complete = [_complete(tool) for tool in options.tools]
        try:
            return _render(template, messages, options, complete)
        except TemplateError:
            pass
        raise


def _render(
    template: ChatTemplate,
    messages: Sequence[Mapping[str, Any]],
    options: PromptOptions,
    tools: Sequence[Mapping[str, Any]] | None,
) -> list[Segment]:
    return template.render_segments(
        messages,
        tools=tools,
        documents=options.documents,
        add_generation_prompt=options.add_generation_prompt,
        continue_final_message=options.continue_final_message,
        **{**options.variables, **options.template_kwargs},
    )


def _complete(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(tool.get("function", {}))
    parameters = dict(function.get("parameters") or {"type": "object"})
    properties = parameters.get("properties") or {}
    parameters["properties"] = {
        name: {"type": "any", "description": "", **(schema if isinstance(schema, dict) else {})}
        for name, schema in properties.items()
    }
    parameters.setdefault("required", [])
    return {**tool, "function": {"description": "", **function, "parameters": parameters}}


def continued(template: ChatTemplate, messages: Sequence[Mapping[str, Any]], options: PromptOptions) -> list[Segment]:
    """The conversation's segments, ending within the last message.

    Where a template hides that message, or its thoughts, the prompt for an answer is taken instead and the message
    put behind it, as llama.cpp does.
    """
    last = messages[-1]
    content = last.get("content") or ""
    said = content if isinstance(content, str) else "".join(part["text"] for part in content)
    thought = last.get("reasoning_content") or ""
    abilities = abilities_of(template)
    try:
        segments = rendered(template, messages, options)
        if _shows(segments, abilities.reasoning, thought.strip(), said):
            return segments
    except TemplateError as error:
        hidden: TemplateError | None = error
    else:
        hidden = None
    switch = abilities.switch
    thinking = {switch.name: switch.on} if switch is not None and thought else {}
    fresh = dataclasses.replace(options, continue_final_message=False, add_generation_prompt=True)
    fresh = dataclasses.replace(fresh, variables={**options.variables, **thinking})
    asked = rendered(template, messages[:-1], fresh) if len(messages) > 1 else []
    if asked and asked[-1].special and (said or abilities.block is not None):
        return asked + _written(abilities.block, asked, thought, said)
    if hidden is None:
        return segments
    raise hidden


def _shows(segments: Sequence[Segment], reasoning: Reasoning | None, thought: str, said: str) -> bool:
    """Whether thoughts are shown, and text stands outside of them."""
    if reasoning is None:
        return True
    text = text_of(segments[-8:])
    if thought and (thought not in text or reasoning.opening.rstrip() not in text):
        return False
    if not said or reasoning.opening.rstrip() in said:
        return True
    return not opened_at(segments, reasoning, len(thought) + len(said))


def _written(block: Reasoning | None, asked: Sequence[Segment], thought: str, said: str) -> list[Segment]:
    """Thoughts and text behind a prompt that asks for an answer."""
    if block is None:
        return [Segment(said, False)]
    opened = text_of(asked[-2:]).rstrip().endswith(block.opening.rstrip())
    pieces = [Segment(block.opening, True)] if thought and not opened else []
    pieces.append(Segment(thought, False))
    if said and (thought or opened):
        pieces.append(Segment(block.closing, True))
    return [*pieces, Segment(said, False)]
