"""The named chat formats: prompt layouts of model families, for model files that bring no template.

A format is data (what stands before and after each kind of message) from which a small Jinja template is made. The
layouts are those that the models' publishers document. Not for: templates out of model files (``templates.py``).
"""

from __future__ import annotations

import dataclasses
import difflib

from llama_bind.errors import InputError

__all__ = ["DEFAULT_FORMAT", "FORMATS", "ChatFormat", "get_format"]


@dataclasses.dataclass(frozen=True)
class ChatFormat:
    """A named format.

    Attributes:
        name: As in ``chat_format="..."``.
        template: Jinja text for `templates.ChatTemplate`.
        stop: Strings that end an answer, beyond the model's own end-of-generation tokens.
    """

    name: str
    template: str
    stop: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What stands around the contents; ``{bos}`` and ``{eos}`` stand for the model's tokens.

    Attributes:
        user: Before and after a user's content.
        assistant: Before and after an assistant's.
        ask: What asks the model to answer.
        system: Before and after a system message.
        begin: At the very beginning.
        default: System message when there is none.
        inside: System messages stand inside the next user's turn.
        trim: Contents lose white space at both ends.
        stop: See `ChatFormat`.
    """

    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str
    system: tuple[str, str] = ("", "\n\n")
    begin: str = ""
    default: str = ""
    inside: bool = False
    trim: bool = False
    stop: tuple[str, ...] = ()


def _expression(text: str) -> str:
    """A Jinja expression for a text with ``{bos}`` and ``{eos}`` in it."""
    parts = [
        repr(part) for part in text.replace("{bos}", "\0{bos}\0").replace("{eos}", "\0{eos}\0").split("\0") if part
    ]
    return " ~ ".join({"'{bos}'": "bos_token", "'{eos}'": "eos_token"}.get(part, part) for part in parts) or "''"


def _source(layout: _Layout) -> str:
    """The template of a layout. Results of tools are shown as a user's turn."""
    content = "message.content | trim" if layout.trim else "message.content"
    around = {
        kind: (_expression(pair[0]), _expression(pair[1]))
        for kind, pair in (("system", layout.system), ("user", layout.user), ("assistant", layout.assistant))
    }
    system = f"{around['system'][0]} ~ ({content}) ~ {around['system'][1]}"
    default = f"{around['system'][0]} ~ {layout.default!r} ~ {around['system'][1]}"
    # A system message that no user's message follows becomes a turn of its own.
    turn = " ~ ".join((around["user"][0], "ns.head", around["user"][1]))
    rest = "{% if ns.head %}{{ " + turn + " }}{% set ns.head = '' %}{% endif %}" if layout.inside else ""
    put = "{%% set ns.head = ns.head ~ %s %%}" if layout.inside else "{{ %s }}"
    lines = [
        "{% set ns = namespace(head='') %}",
        "{{ " + _expression(layout.begin) + " }}",
        "{% if messages[0].role != 'system' %}" + put % default + "{% endif %}" if layout.default else "",
        "{% for message in messages %}",
        "{% if message.role == 'system' %}" + put % system,
        "{% elif message.role == 'assistant' %}" + rest,
        "{{ " + f"{around['assistant'][0]} ~ ({content}) ~ {around['assistant'][1]}" + " }}",
        "{% else %}",
        "{{ " + f"{around['user'][0]} ~ ns.head ~ ({content}) ~ {around['user'][1]}" + " }}{% set ns.head = '' %}",
        "{% endif %}{% endfor %}",
        rest + "{% if add_generation_prompt %}{{ " + _expression(layout.ask) + " }}{% endif %}",
    ]
    return "".join(lines)


_CHATML = _Layout(
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>\n"),
    ask="<|im_start|>assistant\n",
    stop=("<|im_end|>",),
)

_LAYOUTS: dict[str, _Layout] = {
    "alpaca": _Layout(
        user=("### Instruction:\n", "\n\n"),
        assistant=("### Response:\n", "\n\n"),
        ask="### Response:\n",
        default="Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.",
        stop=("### Instruction:",),
    ),
    "baichuan": _Layout(
        system=("", ""),
        user=("<reserved_102>", ""),
        assistant=("<reserved_103>", ""),
        ask="<reserved_103>",
        stop=("<reserved_102>",),
    ),
    "baichuan-2": _Layout(
        system=("", ""),
        user=("<reserved_106>", ""),
        assistant=("<reserved_107>", ""),
        ask="<reserved_107>",
        stop=("<reserved_106>",),
    ),
    "chatglm3": _Layout(
        system=("<|system|>\n ", ""),
        user=("<|user|>\n ", ""),
        assistant=("<|assistant|>\n ", ""),
        ask="<|assistant|>",
        stop=("<|user|>", "<|observation|>"),
    ),
    "chatml": _CHATML,
    "gemma": _Layout(
        begin="{bos}",
        system=("", "\n\n"),
        user=("<start_of_turn>user\n", "<end_of_turn>\n"),
        assistant=("<start_of_turn>model\n", "<end_of_turn>\n"),
        ask="<start_of_turn>model\n",
        inside=True,
        trim=True,
        stop=("<end_of_turn>",),
    ),
    "intel": _Layout(
        system=("### System:\n", "\n"),
        user=("### User:\n", "\n"),
        assistant=("### Assistant:\n", "\n"),
        ask="### Assistant:\n",
        stop=("### User:",),
    ),
    "llama-2": _Layout(
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        user=("{bos}[INST] ", " [/INST]"),
        assistant=(" ", " {eos}"),
        ask="",
        inside=True,
        trim=True,
    ),
    "llama-3": _Layout(
        begin="{bos}",
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        assistant=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
        ask="<|start_header_id|>assistant<|end_header_id|>\n\n",
        trim=True,
        stop=("<|eot_id|>",),
    ),
    "mistral-instruct": _Layout(
        begin="{bos}",
        system=("", "\n\n"),
        user=("[INST] ", " [/INST]"),
        assistant=(" ", "{eos}"),
        ask="",
        inside=True,
    ),
    "mistrallite": _Layout(
        system=("<|system|>", "{eos}"),
        user=("<|prompter|>", "{eos}"),
        assistant=("<|assistant|>", "{eos}"),
        ask="<|assistant|>",
        stop=("<|prompter|>",),
    ),
    "oasst_llama": _Layout(
        system=("<|system|>", "{eos}"),
        user=("<|prompter|>", "{eos}"),
        assistant=("<|assistant|>", "{eos}"),
        ask="<|assistant|>",
        stop=("<|prompter|>",),
    ),
    "open-orca": _Layout(
        system=("", "<|end_of_turn|>\n"),
        user=("User: ", "<|end_of_turn|>\n"),
        assistant=("Assistant: ", "<|end_of_turn|>\n"),
        ask="Assistant:",
        stop=("<|end_of_turn|>", "\nUser:"),
    ),
    "openbuddy": _Layout(
        user=("User: ", "\n"),
        assistant=("Assistant: ", "\n"),
        ask="Assistant:",
        stop=("\nUser:",),
    ),
    "openchat": _Layout(
        begin="{bos}",
        system=("", "<|end_of_turn|>"),
        user=("GPT4 Correct User: ", "<|end_of_turn|>"),
        assistant=("GPT4 Correct Assistant: ", "<|end_of_turn|>"),
        ask="GPT4 Correct Assistant:",
        stop=("<|end_of_turn|>",),
    ),
    "phind": _Layout(
        system=("### System Prompt\n", "\n\n"),
        user=("### User Message\n", "\n\n"),
        assistant=("### Assistant\n", "\n\n"),
        ask="### Assistant\n",
        default="You are an intelligent programming assistant.",
        stop=("### User Message",),
    ),
    "plain": _Layout(user=("User: ", "\n"), assistant=("Assistant: ", "\n"), ask="Assistant:", stop=("\nUser:",)),
    "pygmalion": _Layout(
        system=("<|system|>", ""),
        user=("<|user|>", ""),
        assistant=("<|model|>", ""),
        ask="<|model|>",
        stop=("<|user|>",),
    ),
    "qwen": dataclasses.replace(_CHATML, default="You are a helpful assistant.", stop=("<|im_end|>", "<|endoftext|>")),
    "redpajama-incite": _Layout(
        user=("<human>: ", "\n"), assistant=("<bot>: ", "\n"), ask="<bot>:", stop=("\n<human>:",)
    ),
    "saiga": _Layout(
        system=("{bos}system\n", "{eos}"),
        user=("{bos}user\n", "{eos}"),
        assistant=("{bos}bot\n", "{eos}"),
        ask="{bos}bot\n",
    ),
    "snoozy": _Layout(
        system=("### Instruction:\n", "\n"),
        user=("### Prompt:\n", "\n"),
        assistant=("### Response:\n", "\n"),
        ask="### Response:\n",
        stop=("### Prompt:",),
    ),
    "vicuna": _Layout(
        begin="{bos}",
        system=("", " "),
        user=("USER: ", " "),
        assistant=("ASSISTANT: ", "{eos}"),
        ask="ASSISTANT:",
        default="A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions.",
        stop=("USER:",),
    ),
    "zephyr": _Layout(
        system=("<|system|>\n", "{eos}\n"),
        user=("<|user|>\n", "{eos}\n"),
        assistant=("<|assistant|>\n", "{eos}\n"),
        ask="<|assistant|>\n",
    ),
}

FORMATS = tuple(sorted(_LAYOUTS))
"""The names of all formats."""

DEFAULT_FORMAT = "plain"
"""For a model without a template and without ChatML's tokens: a transcript in plain words, which any can go on."""


def get_format(name: str) -> ChatFormat:
    """The format of that name.

    Raises:
        InputError: There is none; the message names the nearest.
    """
    layout = _LAYOUTS.get(name)
    if layout is None:
        near = difflib.get_close_matches(str(name), FORMATS, 1, 0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"unknown chat format {name!r}{hint} (formats: {', '.join(FORMATS)})", param="chat_format")
    return ChatFormat(name, _source(layout), layout.stop)
