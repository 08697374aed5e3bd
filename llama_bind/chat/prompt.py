"""Messages to a prompt: the one entry that the facades call.

Not for: tokenizing the prompt. A caller tokenizes `ChatPrompt.pieces` in order, each with ``parse_special`` as it says,
and lets the vocabulary add its BOS to the first alone; the prompt never brings a second one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.chat.formats import DEFAULT_FORMAT, get_format
from llama_bind.chat.messages import check_messages, roles_of, template_messages, without_system
from llama_bind.chat.segments import ControlTexts, Segment, protect, text_of
from llama_bind.errors import InputError, MessageError

if TYPE_CHECKING:
    from llama_bind.chat.templates import ChatTemplate

__all__ = ["ChatPrompt", "ChatSource", "PromptOptions", "build_prompt", "choose_source"]


@dataclasses.dataclass(frozen=True)
class ChatSource:
    """Where prompts come from: a template, its name ("template" for a model's own) and its stop strings."""

    name: str
    template: ChatTemplate
    stop: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class PromptOptions:
    """What a request may say about its prompt.

    Attributes:
        tools: Tool definitions in OpenAI's shape.
        documents: For templates with retrieval.
        add_generation_prompt: End with the beginning of an assistant's message.
        continue_final_message: The model goes on with the last message; no generation prompt then.
        template_kwargs: More variables for the template (``chat_template_kwargs``).
    """

    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    template_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ChatPrompt:
    """A prompt.

    Attributes:
        segments: The text by origin: `special` is what the template wrote.
        stop: Stop strings of the format.
        bos_removed: The text began with the BOS token's text, which was taken off.
    """

    segments: tuple[Segment, ...]
    stop: tuple[str, ...] = ()
    bos_removed: bool = False

    @property
    def text(self) -> str:
        """The whole text."""
        return text_of(self.segments)

    def pieces(self, controls: ControlTexts) -> list[Segment]:
        """What to tokenize, in order: one piece, unless text from outside looks like a control token.

        Args:
            controls: The texts of the vocabulary's control tokens.
        """
        return protect(self.segments, controls)


def choose_source(
    chat_format: str | None,
    model_template: str | None,
    *,
    bos_token: str = "",
    eos_token: str = "",
    control_texts: Collection[str] = (),
) -> ChatSource:
    """Decide which template a model's chats use.

    A named format wins; else the model's own template; else "chatml" where the vocabulary has ``<|im_start|>``; else
    `formats.DEFAULT_FORMAT`. The template is compiled at its first use, so a broken one does not keep a model from
    loading.

    Args:
        chat_format: Name of a format, or None.
        model_template: Jinja text from the model file, or None.
        bos_token: Text of the model's BOS token ("" when it has none).
        eos_token: Likewise EOS.
        control_texts: Texts of the vocabulary's control tokens.

    Raises:
        InputError: There is no such format.
        TemplateError: The template is too long.
    """
    from llama_bind.chat.templates import ChatTemplate

    if chat_format is None and model_template:
        return ChatSource("template", ChatTemplate(model_template, bos_token, eos_token))
    name = chat_format or ("chatml" if "<|im_start|>" in control_texts else DEFAULT_FORMAT)
    chosen = get_format(name)
    return ChatSource(name, ChatTemplate(chosen.template, bos_token, eos_token), chosen.stop)


def build_prompt(
    source: ChatSource,
    messages: Sequence[Mapping[str, Any]],
    options: PromptOptions | None = None,
    *,
    add_bos: bool = False,
) -> ChatPrompt:
    """Check messages, render them, and keep apart what must not become a control token.

    A template that knows no system message gets it as part of the first user's message.

    Args:
        source: From `choose_source`.
        messages: In OpenAI's shape.
        options: See there.
        add_bos: The vocabulary adds BOS itself when tokenizing (``llama_vocab_get_add_bos``): the template's own is
            then taken off.

    Raises:
        MessageError: Messages of the wrong shape.
        InputError: A template variable that is set by other means.
        TemplateError: The template failed.
        UnsupportedError: A part that is not text.
    """
    options = options or PromptOptions()
    taken = sorted({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "bos_token",
                    "eos_token"} & options.template_kwargs.keys())  # fmt: skip
    if taken:
        raise InputError(f"chat_template_kwargs may not set {', '.join(taken)}", param="chat_template_kwargs")
    template = source.template
    checked = check_messages(messages, roles=roles_of(template.source))
    if options.continue_final_message and checked[-1]["role"] != "assistant":
        raise MessageError("only an assistant's message can be continued", index=len(checked) - 1)
    shaped = template_messages(checked, developer="developer" in template.source, parts=template.takes_parts)
    if shaped[0]["role"] == "system" and not template.takes_system:
        shaped = without_system(shaped)
    segments = template.render_segments(
        shaped,
        tools=options.tools,
        documents=options.documents,
        add_generation_prompt=options.add_generation_prompt,
        continue_final_message=options.continue_final_message,
        **options.template_kwargs,
    )
    bos = template.bos_token
    removed = bool(add_bos and bos and segments and segments[0].special and segments[0].text.startswith(bos))
    if removed:
        segments[0] = Segment(segments[0].text[len(bos) :], True)
    return ChatPrompt(tuple(segment for segment in segments if segment.text), source.stop, removed)
