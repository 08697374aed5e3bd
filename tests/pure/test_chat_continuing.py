"""How prompts end when a message is continued, or thinking is on."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from llama_bind.chat.plan import plan_chat
from llama_bind.chat.prompt import choose_source
from llama_bind.errors import MessageError, TemplateError
from llama_bind.params import ChatParams
from tests.vectors.chat_prompts import PromptEnd, prompt_ends

ENDS = prompt_ends()
USER = {"role": "user", "content": "Hello"}


def test_the_extractor_finds_all() -> None:
    assert Counter(end.kind for end in ENDS) == {"basic": 15, "continuation_content": 15, "continuation_reasoning": 15}


# Where the prompt ends otherwise than llama.cpp's: its parsers write tags of thoughts that these templates do not know.
DEVIATIONS = {
    ("meetkai-functionary-medium-v3.2", "continuation_reasoning"): "no thoughts to go on with: asked for an answer",
    ("moonshotai-Kimi-K2", "continuation_content"): "the thoughts are left out",
    ("moonshotai-Kimi-K2", "continuation_reasoning"): "no thoughts to go on with: asked for an answer",
    ("LFM2-8B-A1B", "continuation_content"): "the thoughts are left out",
    ("LFM2-8B-A1B", "continuation_reasoning"): "no thoughts to go on with: asked for an answer",
}


def bare(text: str) -> str:
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{end.template}-{end.kind}")
def test_llama_cpp_s_ends_of_prompts(end: PromptEnd) -> None:
    """White space aside: templates trim what they show, llama.cpp does not."""
    source = choose_source(None, end.source)
    prompt = plan_chat(source, end.messages, ChatParams(enable_thinking=True)).prompt.text
    assert "You are a helpful assistant." in prompt
    same = bare(prompt).endswith(bare(end.expected))
    assert same is ((end.template, end.kind) not in DEVIATIONS), repr(prompt[-120:])


THINKING = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant><think>{% endif %}"
)
PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def planned(template: str, last: dict[str, Any], **options: Any) -> Any:
    return plan_chat(choose_source(None, template), [USER, {"role": "assistant", **last}], ChatParams(**options))


@pytest.mark.parametrize(
    ("template", "last", "text", "opened"),
    [
        (PLAIN, {"content": "Once "}, "<assistant>Once ", ""),
        (PLAIN, {"content": ""}, "<user>Hello<assistant>", ""),
        (PLAIN, {"content": None}, "<user>Hello<assistant>", ""),
        (PLAIN, {"content": "", "reasoning_content": "Hm"}, "<user>Hello<assistant>", ""),
        (PLAIN, {"content": [{"type": "text", "text": "Once"}]}, "<assistant>Once", ""),
        (THINKING, {"content": "Once "}, "<assistant>Once ", ""),
        (THINKING, {"content": "Once", "reasoning_content": "Hm"}, "<assistant><think>Hm</think>Once", ""),
        (THINKING, {"content": "", "reasoning_content": "Hm "}, "<assistant><think>Hm ", "<think>"),
        (THINKING, {"content": "<think>Hm"}, "<assistant><think>Hm", "<think>"),
        (THINKING, {"content": "a </think> b"}, "<assistant>a </think> b", ""),
        (THINKING, {"content": ""}, "<user>Hello<assistant><think>", "<think>"),
    ],
)
def test_an_assistant_s_last_message_is_continued(template: str, last: Any, text: str, opened: str) -> None:
    plan = planned(template, last)
    assert plan.prompt.text.endswith(text)
    assert (plan.opened, plan.after) == (opened, ("</think>",) if opened else ())


def test_unless_the_caller_says_otherwise() -> None:
    assert planned(PLAIN, {"content": "Once"}, continue_final_message=False).prompt.text.endswith("Once<assistant>")
    assert planned(PLAIN, {"content": "Once"}, add_generation_prompt=False).prompt.text == "<user>Hello<assistant>Once"
    calls = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert planned(PLAIN, {"tool_calls": calls}).prompt.text.endswith("<assistant>")
    with pytest.raises(MessageError, match="tool calls cannot be continued"):
        planned(PLAIN, {"tool_calls": calls}, continue_final_message=True)
    with pytest.raises(MessageError, match="only an assistant"):
        plan_chat(choose_source(None, PLAIN), [USER], ChatParams(continue_final_message=True))
    with pytest.raises(TemplateError, match="does not show"):
        planned("{{ messages[0].content }}", {"content": "x"}, continue_final_message=True)


def test_a_template_that_hides_the_last_message() -> None:
    hides = "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}Answer:"
    assert planned(hides, {"content": "Once"}).prompt.text == "[Hello]Answer:Once"
    assert [segment.special for segment in planned(hides, {"content": "Once"}).prompt.segments][-1] is False
