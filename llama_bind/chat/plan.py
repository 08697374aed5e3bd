"""A chat request as a whole: from messages and options to a prompt, and to how the answer is read and what it must be.

Pure: whoever runs requests tokenizes the prompt, turns `ChatPlan.grammar` and `budget` into a constraint, and feeds the
output to `ChatPlan.reader()`. Not for: any of that, or ``response_format``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from llama_bind.chat.abilities import Abilities, abilities_of
from llama_bind.chat.declared import Declared, read_tools
from llama_bind.chat.instructions import tell_tools, with_declarations, write_out
from llama_bind.chat.messages import check_messages, roles_of
from llama_bind.chat.prompt import ChatPrompt, ChatSource, PromptOptions, check_continued, render_prompt
from llama_bind.chat.reasoning import Reasoning, ReasoningFormat
from llama_bind.chat.router import Router
from llama_bind.chat.thinking import Thinking, opened_at, read_thinking, with_block
from llama_bind.chat.tools.base import ChannelFormat, Tool, ToolFormat, ToolGrammar
from llama_bind.chat.tools.generic import INSTRUCTIONS
from llama_bind.chat.tools.registry import find_format
from llama_bind.errors import InputError, UnsupportedError
from llama_bind.params import ChatParams

if TYPE_CHECKING:
    from llama_bind.chat.templates import ChatTemplate

__all__ = ["ChatPlan", "plan_chat"]


@dataclasses.dataclass(frozen=True)
class ChatPlan:
    """What a chat request comes to.

    Attributes:
        prompt: The prompt's segments, stop strings and BOS.
        format: How the model writes calls (and, for some families, everything).
        tools: What may be called; none: nothing that the model writes is a call.
        parallel: Whether one answer may hold several calls; if not, the reader is `done` after the first.
        legacy: The caller declared ``functions``: a call is a ``function_call``.
        grammar: What holds the output to the tools; None where nothing does.
        forbidden: Texts that must not be written: what begins a call, where none is wanted.
        reasoning: Tags of the reasoning; None for models without, and for formats that read it themselves.
        reasoning_format: What becomes of it.
        opened: What of the prompt has opened the reasoning; "" where it is not open at the prompt's end. For a format
            that reads the reasoning itself: what of the prompt belongs to the answer.
        continues: The prompt ends within a message that is continued; the answer is what is new of it.
        budget: Most tokens of reasoning; None for no limit.
        markers: Texts of control tokens that must show in the output, for the reader needs them.
    """

    prompt: ChatPrompt
    format: ToolFormat
    tools: tuple[Tool, ...] = ()
    parallel: bool = True
    legacy: bool = False
    grammar: ToolGrammar | None = None
    forbidden: tuple[str, ...] = ()
    reasoning: Reasoning | None = None
    reasoning_format: ReasoningFormat = "auto"
    opened: str = ""
    continues: bool = False
    budget: int | None = None
    markers: tuple[str, ...] = ()

    @property
    def after(self) -> tuple[str, ...]:
        """The texts after which a demand on the answer begins to hold: the end of open reasoning; none: at once."""
        return (self.reasoning.closing,) if self.reasoning is not None and self.opened else ()

    @property
    def answers(self) -> tuple[str, ...]:
        """Likewise for formats whose every text stands in a channel: what opens that of the answer."""
        return cast(ChannelFormat, self.format).answers if self.format.reads_reasoning else ()

    def reader(self, *, streaming: bool = False, json_text: bool = False) -> Router:
        """What reads one answer.

        Args:
            streaming: Its events go out one by one.
            json_text: The answer is to be JSON: a code fence around it is taken off.
        """
        reasoning, opened = self.reasoning, self.opened
        if self.continues and opened and reasoning is not None:
            # What opened the reasoning is no news to the caller, who wrote it.
            opened = " "
            reasoning = None if self.reasoning_format == "none" else reasoning
        return Router(
            self.format,
            self.tools,
            parallel=self.parallel,
            reasoning=reasoning,
            reasoning_format=self.reasoning_format,
            opened=opened,
            streaming=streaming,
            json_text=json_text,
        )


def plan_chat(
    source: ChatSource,
    messages: Sequence[Mapping[str, Any]],
    options: ChatParams | None = None,
    *,
    add_bos: bool = False,
    forced: bool = False,
) -> ChatPlan:
    """Plan a chat request.

    Args:
        source: The model's template, from `choose_source`.
        messages: In OpenAI's shape.
        options: What the request asks for.
        add_bos: The vocabulary adds BOS itself (see `build_prompt`).
        forced: The answer must have a form from its beginning (``response_format``): a model that may think first has
            its reasoning opened by the prompt, so that it is clear where the answer begins.

    Raises:
        MessageError: Messages of the wrong shape.
        InputError: Options of the wrong shape, or that contradict each other.
        TemplateError: The template failed.
        UnsupportedError: Documents for a template that shows none; a part that is not text.
    """
    options = options or ChatParams()
    declared = read_tools(
        options.tools, options.tool_choice, options.parallel_tool_calls, options.functions, options.function_call
    )
    source = source.chosen(options.chat_template, tools=bool(declared.definitions))
    template = source.template
    abilities, form = abilities_of(template), find_format(template.source)
    checked, continues = _continued(
        check_messages(messages, roles=roles_of(template.source)),
        options,
        can_think=abilities.reasoning is not None or abilities.shows_thoughts,
    )
    checked, shown = _with_declared(checked, declared, abilities, form)
    thinking = read_thinking(
        abilities,
        enable_thinking=options.enable_thinking,
        reasoning_effort=options.reasoning_effort,
        reasoning_budget=options.reasoning_budget,
        template_kwargs=options.chat_template_kwargs,
    )
    asked = _prompt_options(template, abilities, options, declared, shown, thinking, continues)
    prompt = render_prompt(source, checked, asked, add_bos=add_bos)
    reasoning = None if form.reads_reasoning else abilities.reasoning
    if options.add_generation_prompt and not continues:
        sure = reasoning is not None and (forced or declared.mode == "required")
        prompt = _thinking_opened(prompt, abilities, thinking, sure=sure)
    plan = ChatPlan(
        prompt=prompt,
        format=form,
        legacy=declared.legacy,
        reasoning=reasoning,
        reasoning_format=cast(ReasoningFormat, options.reasoning_format),
        opened=_opened(prompt, form, reasoning, checked[-1] if continues else None),
        continues=continues,
        budget=thinking.budget,
        markers=() if reasoning is None else _tags(reasoning),
    )
    return _with_tools(plan, declared, abilities, shown=shown)


def _with_declared(
    messages: Sequence[Mapping[str, Any]], declared: Declared, abilities: Abilities, form: ToolFormat
) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """The messages with what the template does not show of tools and calls, and whether the tools are shown."""
    history = any(message.get("tool_calls") for message in messages)
    # Without calls so far, what must not be called need not be known. With calls, the prompt's beginning stays as it
    # was, and what it has computed with it.
    shown = bool(declared.definitions) and (declared.mode != "none" or history)
    if history and not (abilities.calls and abilities.results):
        messages = write_out(messages, form, calls=not abilities.calls, results=not abilities.results)
    if shown and abilities.tools_variable == "message":
        messages = with_declarations(messages, _as_text(declared.definitions))
    elif shown and not abilities.tools_variable:
        messages = tell_tools(messages, declared, abilities, INSTRUCTIONS if not abilities.example_call else "")
    return messages, shown


def _thinking_opened(prompt: ChatPrompt, abilities: Abilities, thinking: Thinking, *, sure: bool) -> ChatPrompt:
    """The prompt with reasoning opened or closed at its end; `sure`: it must be clear where the answer begins."""
    must_open = sure and (abilities.switch is not None or thinking.wanted is True)
    segments = with_block(prompt.segments, abilities, thinking.wanted, must_open=must_open)
    return dataclasses.replace(prompt, segments=segments)


def _opened(
    prompt: ChatPrompt, form: ToolFormat, reasoning: Reasoning | None, continued: Mapping[str, Any] | None
) -> str:
    """What of the prompt has opened the reasoning, as `ChatPlan.opened`; `continued`: the message it ends in."""
    if reasoning is not None:
        return opened_at(prompt.segments, reasoning, -1 if continued is None else _length(continued))
    return cast(ChannelFormat, form).opened_by(prompt.text) if form.reads_reasoning else ""


def _tags(reasoning: Reasoning) -> tuple[str, ...]:
    """The texts of control tokens in the tags of reasoning: of "<|channel>thought" the first part is one."""
    opening = reasoning.opening.strip()
    return tuple(dict.fromkeys((opening, *re.findall(r"^<[^<>]+>", opening), reasoning.closing)))


def _with_tools(plan: ChatPlan, declared: Declared, abilities: Abilities, *, shown: bool) -> ChatPlan:
    form = plan.format
    markers = tuple(dict.fromkeys((*plan.markers, *(form.markers if shown or form.reads_reasoning else ()))))
    if declared.mode == "none" or not declared.tools:
        forbidden = form.grammar(declared.tools, required=False, parallel=True).triggers if shown else ()
        # What is no marker, such as the beginning of a JSON object, may well stand in an answer.
        return dataclasses.replace(
            plan, markers=markers, forbidden=tuple(text for text in forbidden if text in form.markers)
        )
    parallel = declared.parallel
    if parallel is None:
        parallel = abilities.several_calls if abilities.calls else True
    grammar = form.grammar(declared.tools, required=declared.mode == "required", parallel=parallel)
    return dataclasses.replace(plan, markers=markers, tools=declared.tools, parallel=parallel, grammar=grammar)


def _continued(
    checked: Sequence[Mapping[str, Any]], options: ChatParams, *, can_think: bool
) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Whether the last message is continued. One without anything to go on with is left out: it asks for an answer."""
    last = checked[-1]
    if options.continue_final_message:
        check_continued(checked)
    if options.continue_final_message is not None:
        return checked, options.continue_final_message
    if last["role"] != "assistant" or last.get("tool_calls") or not options.add_generation_prompt:
        return checked, False
    if last.get("content") or (can_think and last.get("reasoning_content")):
        return checked, True
    return (checked[:-1], False) if len(checked) > 1 else (checked, False)


def _length(message: Mapping[str, Any]) -> int:
    content = message.get("content") or ""
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    return sum(map(len, texts)) + len(message.get("reasoning_content") or "")


def _prompt_options(
    template: ChatTemplate,
    abilities: Abilities,
    options: ChatParams,
    declared: Declared,
    shown: bool,
    thinking: Thinking,
    continues: bool,
) -> PromptOptions:
    variables = dict(thinking.variables)
    name = abilities.tools_variable
    definitions = list(declared.definitions) if shown else []
    if name == "functions":
        variables[name] = _as_text(definitions)
    elif name not in ("tools", "message", "") and definitions:
        variables[name] = definitions
    if "datetime" in template.variables:
        variables["datetime"] = _today()
    return PromptOptions(
        tools=definitions if name == "tools" else None,
        documents=_documents(options.documents, template),
        add_generation_prompt=options.add_generation_prompt,
        continue_final_message=continues,
        template_kwargs=options.chat_template_kwargs or {},
        variables=variables,
    )


def _as_text(definitions: Sequence[Mapping[str, Any]]) -> str:
    import json

    return json.dumps([one["function"] for one in definitions], ensure_ascii=False, indent=4)


def _today() -> str:
    from datetime import datetime

    return datetime.now().astimezone().strftime("%b %d %Y")


def _documents(documents: Any, template: ChatTemplate) -> list[Mapping[str, Any]] | None:
    """Texts to answer from, as dicts with ``text`` (and ``title``, as the caller gave it)."""
    if documents is None:
        return None
    if isinstance(documents, (str, bytes, Mapping)) or not isinstance(documents, Sequence):
        raise InputError("documents must be a list of dicts with 'text' and 'title', or of strings", param="documents")
    found = [{"text": one} if isinstance(one, str) else one for one in documents]
    for number, one in enumerate(found):
        if not isinstance(one, Mapping):
            raise InputError(
                f"documents[{number}] must be a dict or a str, not {type(one).__name__}", param="documents"
            )
    if found and "documents" not in template.variables:
        raise UnsupportedError("this model's chat template shows no documents; put them into a message")
    return found
