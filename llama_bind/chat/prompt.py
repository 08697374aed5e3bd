"""Messages to a prompt: the one entry that the facades call.

Not for: tokenizing the prompt. A caller tokenizes `ChatPrompt.pieces` in order, each with ``parse_special`` as it says,
and lets the vocabulary add its BOS to the first alone; the prompt never brings a second one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.chat.abilities import abilities_of
from llama_bind.chat.formats import DEFAULT_FORMAT, get_format
from llama_bind.chat.messages import check_messages, roles_of, template_messages, without_system
from llama_bind.chat.rendering import PromptOptions, continued, rendered
from llama_bind.chat.segments import ControlTexts, Segment, protect, text_of
from llama_bind.errors import InputError, MessageError

if TYPE_CHECKING:
    from llama_bind.chat.templates import ChatTemplate

__all__ = [
    "ChatPrompt",
    "ChatSource",
    "PromptOptions",
    "build_prompt",
    "check_continued",
    "choose_source",
    "render_prompt",
]


@dataclasses.dataclass(frozen=True)
class ChatSource:
    """Where prompts come from.

    Attributes:
        name: Name of the format; "template" for a model's own.
        template: What is rendered.
        stop: Stop strings of the format.
        named: The model's further templates by name, such as "tool_use".
    """

    name: str
    template: ChatTemplate
    stop: tuple[str, ...] = ()
    named: Mapping[str, ChatTemplate] = dataclasses.field(default_factory=dict)

    def chosen(self, wanted: str | None, *, tools: bool) -> ChatSource:
        """The source for one request.

        Args:
            wanted: A template in place of this one: a name out of `named`, or Jinja text. None: this one.
            tools: Tools are declared: "tool_use" is taken where there is one.

        Raises:
            InputError: `wanted` is neither.
            TemplateError: It is too long.
        """
        from llama_bind.chat.templates import ChatTemplate

        own = self.template
        if wanted is None:
            found = self.named.get("tool_use", own) if tools else own
            return self if found is own else dataclasses.replace(self, template=found)
        if wanted in self.named:
            return dataclasses.replace(self, template=self.named[wanted])
        if "{" not in wanted:
            names = ", ".join(sorted(self.named)) or "none"
            raise InputError(
                f"chat_template is {wanted!r}: no Jinja text, and no template of the model (named ones: {names})",
                param="chat_template",
            )
        return ChatSource("template", ChatTemplate(wanted, own.bos_token, own.eos_token))


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
    named: Mapping[str, str] | None = None,
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
        named: The model's further templates by name; "tool_use" stands in for a missing `model_template`.
        bos_token: Text of the model's BOS token ("" when it has none).
        eos_token: Likewise EOS.
        control_texts: Texts of the vocabulary's control tokens.

    Raises:
        InputError: There is no such format.
        TemplateError: The template is too long.
    """
    from llama_bind.chat.templates import ChatTemplate

    model_template = model_template or (named or {}).get("tool_use")
    if chat_format is None and model_template:
        more = {name: ChatTemplate(text, bos_token, eos_token) for name, text in (named or {}).items()}
        return ChatSource("template", ChatTemplate(model_template, bos_token, eos_token), named=more)
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
    checked = check_messages(messages, roles=roles_of(source.template.source))
    return render_prompt(source, checked, options, add_bos=add_bos)


def render_prompt(
    source: ChatSource,
    checked: Sequence[Mapping[str, Any]],
    options: PromptOptions | None = None,
    *,
    add_bos: bool = False,
) -> ChatPrompt:
    """`build_prompt` for messages that `check_messages` has checked."""
    options = options or PromptOptions()
    taken = sorted({"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "bos_token",
                    "eos_token"} & options.template_kwargs.keys())  # fmt: skip
    if taken:
        raise InputError(f"chat_template_kwargs may not set {', '.join(taken)}", param="chat_template_kwargs")
    if options.continue_final_message:
        check_continued(checked)
    template = source.template
    shaped = _shaped(template, checked)
    write = continued if options.continue_final_message else rendered
    segments = write(template, shaped, options)
    bos = template.bos_token
    removed = bool(add_bos and bos and segments and segments[0].special and segments[0].text.startswith(bos))
    if removed:
        segments[0] = Segment(segments[0].text[len(bos) :], True)
    return ChatPrompt(tuple(segment for segment in segments if segment.text), source.stop, removed)


def check_continued(checked: Sequence[Mapping[str, Any]]) -> None:
    """Raise `MessageError` unless the last of checked messages can be continued."""
    if checked[-1]["role"] != "assistant":
        raise MessageError("only an assistant's message can be continued", index=len(checked) - 1)
    if checked[-1].get("tool_calls"):
        raise MessageError("a message with tool calls cannot be continued", index=len(checked) - 1)


def _shaped(template: ChatTemplate, checked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    abilities = abilities_of(template)
    calls = any(message.get("tool_calls") for message in checked)
    shaped = template_messages(
        checked,
        developer="developer" in template.source,
        parts=template.takes_parts,
        arguments_as_text=calls and abilities.calls == "text",
        short_ids=abilities.short_ids,
        reasoning_names=abilities.reasoning_names,
    )
    return without_system(shaped) if shaped[0]["role"] == "system" and not template.takes_system else shaped
